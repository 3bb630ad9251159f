"""Label maps lie where the scan lies, in every program: nibabel reads qform and sform apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from medsam_edge.inference.physical import boxes_to_pixels
from medsam_edge.reading.read import read_image
from medsam_edge.writing.labels import write_labels

Q = np.array([[-1.0, 0, 0, 7], [0, 2, 0, -8], [0, 0, 3, 9], [0, 0, 0, 1]])
MOVED = np.array([[-1.0, 0, 0, 37], [0, 2, 0, -28], [0, 0, 3, 19], [0, 0, 0, 1]])
SHEARED = np.array([[-1, 0.05, 0, 7], [0, 2, 0, -8], [0, 0, 3, 9], [0, 0, 0, 1]])
SCAN = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
LABELS = (SCAN % 7).astype(np.uint16)


def scan(
    path: Path, q: npt.NDArray[Any] | None, q_code: int, s: npt.NDArray[Any] | None, s_code: int, order: str = "<"
) -> Path:
    header = nibabel.Nifti1Header(endianness=order)
    image = nibabel.Nifti1Image(SCAN.T, None, header)
    image.header.set_zooms((1, 2, 3))
    image.set_qform(q, q_code)
    image.set_sform(s, s_code)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "forms", [(Q, 1, MOVED, 2), (Q, 1, Q, 1), (Q, 1, None, 0), (None, 0, MOVED, 4), (None, 0, SHEARED, 1)]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_qform_and_sform_are_those_of_the_scan(tmp_path: Path, suffix: str, forms: Any, order: str) -> None:
    path = scan(tmp_path / f"scan{suffix}", *forms, order)
    loaded = read_image(path)
    assert (loaded.pixels == SCAN).all()
    write_labels(tmp_path / f"labels{suffix}", LABELS, loaded.frame)
    theirs, ours = nibabel.load(path), nibabel.load(tmp_path / f"labels{suffix}")
    assert (np.asarray(ours.dataobj).T == LABELS).all()
    assert ours.affine == pytest.approx(theirs.affine)
    for kind in ("qform", "sform"):
        (mine, code), (wanted, wanted_code) = (getattr(it, f"get_{kind}")(coded=True) for it in (ours, theirs))
        assert code == wanted_code
        assert (mine is None and wanted is None) or mine == pytest.approx(wanted)
    assert ours.header.get_zooms() == pytest.approx(theirs.header.get_zooms())
    assert ours.header.get_xyzt_units()[0] == "mm"
    again = read_image(tmp_path / f"labels{suffix}")
    assert again.frame == loaded.frame
    assert (again.pixels == LABELS).all()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([f"scan{suffix}", f"labels{suffix}"])


def test_a_slice_of_a_scan_stays_in_it(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(SCAN[:1].T, MOVED)
    nibabel.save(image, tmp_path / "slice.nii")
    loaded = read_image(tmp_path / "slice.nii")
    assert loaded.pixels.shape == (4, 5)
    write_labels(tmp_path / "labels.nii", LABELS[0], loaded.frame)
    assert nibabel.load(tmp_path / "labels.nii").shape == (5, 4, 1)
    assert nibabel.load(tmp_path / "labels.nii").affine == pytest.approx(MOVED)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_axes_a_degree_off_are_kept(tmp_path: Path, suffix: str) -> None:
    """By hand, in LPS: a step along y goes 2 mm to the back of RAS and 0.05 mm to the side."""
    loaded = read_image(scan(tmp_path / "scan.nii", None, 0, SHEARED, 1))
    write_labels(tmp_path / f"labels{suffix}", LABELS, loaded.frame)
    again = read_image(tmp_path / f"labels{suffix}")
    assert (again.pixels == LABELS).all()
    for frame in (loaded.frame, again.frame):
        assert frame is not None
        steps = np.reshape(frame.direction, (3, 3)) * frame.spacing_mm
        assert steps == pytest.approx(np.array([[1, -0.05, 0], [0, -2, 0], [0, 0, 3]]), abs=1e-5)
        assert frame.origin_mm == pytest.approx((-7, 8, 9))
    assert loaded.frame is not None
    centre = np.array([-7 + 2 - 0.05, 8 - 2, 9 + 3])  # of voxel 2, 1, 1
    box = boxes_to_pixels([[*(centre - 0.1), *(centre + 0.1)]], loaded.frame)[0]
    assert (box[:3] + box[3:]) / 2 == pytest.approx([2.5, 1.5, 1.5], abs=1e-5)


def test_a_sheared_nrrd_is_written_as_nifti(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(SCAN)
    image.SetSpacing((1, 2, 3))
    image.SetDirection((1, 0.04, 0, 0, 0.9992, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    loaded = read_image(tmp_path / "scan.nrrd")
    write_labels(tmp_path / "labels.nii.gz", LABELS, loaded.frame)
    affine = [[-1, -0.08, 0, 0], [0, -1.9984, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]
    assert nibabel.load(tmp_path / "labels.nii.gz").affine == pytest.approx(np.array(affine), abs=1e-5)
