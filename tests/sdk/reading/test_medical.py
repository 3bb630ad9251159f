"""NIfTI, NRRD and MetaImage files give the values and the frame that other readers give."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge.errors import ImageError
from medsam_edge.reading.read import read_image
from tests.sdk.reading.crafted import GREY, NRRD, RGB, VOLUME


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_medical_slice_keeps_values_and_frame(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray((GREY.astype(np.int16) - 1000)[None])
    image.SetSpacing((0.5, 0.6, 5.0))
    image.SetOrigin((10.0, 20.0, -30.0))
    sitk.WriteImage(image, str(tmp_path / f"slice{suffix}"))
    loaded = read_image(tmp_path / f"slice{suffix}")
    assert loaded.frame is not None
    assert (loaded.pixels == GREY.astype(np.int16) - 1000).all()
    assert loaded.frame.spacing_mm == pytest.approx((0.5, 0.6, 5.0))
    assert loaded.frame.origin_mm == pytest.approx((10.0, 20.0, -30.0))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_medical_volume_keeps_values_and_frame(tmp_path: Path, suffix: str) -> None:
    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5) - 1000
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.5, 0.6, 5.0))
    sitk.WriteImage(image, str(tmp_path / f"volume{suffix}"))
    loaded = read_image(tmp_path / f"volume{suffix}")
    assert (loaded.pixels == volume).all()
    assert loaded.frame is not None
    assert loaded.frame.spacing_mm == pytest.approx((0.5, 0.6, 5.0))


def test_too_large_a_volume_is_refused_by_its_header(tmp_path: Path) -> None:
    """The file is a header without values."""
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 2048 2048 2048\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "huge.mha").write_text(header)
    with pytest.raises(
        ImageError, match=r"size \(2048, 2048, 2048\): 17179869184 bytes of values, more than 2147483648"
    ):
        read_image(tmp_path / "huge.mha")


NIBABEL: dict[str, tuple[int, ...] | str] = {
    "anatomical.nii": (25, 41, 33),
    "example4d.nii.gz": "two or three dimensions",
    "example_nifti2.nii.gz": "expected NIfTI-1",
    "functional.nii": "two or three dimensions",
    "reoriented_anat_moved.nii": (22, 26, 21),
    "resampled_anat_moved.nii": (3, 21, 17),  # with NaN
    "row_major.dconn.nii": "expected NIfTI-1",
    "standard.nii.gz": (7, 5, 4),
    "analyze.hdr": "expected one of",
    "nifti1.hdr": "expected one of",
    "nifti2.hdr": "expected one of",
}


def test_nibabels_samples_are_read_as_nibabel_reads_them_or_refused() -> None:
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    assert {file.name for file in folder.iterdir() if file.name.endswith((".nii", ".nii.gz", ".hdr"))} == NIBABEL.keys()
    for name, expected in NIBABEL.items():
        if isinstance(expected, str):
            with pytest.raises(ImageError, match=expected):
                read_image(folder / name)
        else:
            loaded, theirs = read_image(folder / name), nibabel.load(folder / name)
            assert loaded.pixels.shape == expected
            np.testing.assert_array_equal(loaded.pixels, np.squeeze(theirs.get_fdata()).T)
            assert loaded.frame is not None
            np.testing.assert_allclose(loaded.frame.spacing_mm, theirs.header.get_zooms()[:3], rtol=1e-5)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_values_and_frame_are_those_of_itk(tmp_path: Path, suffix: str) -> None:
    rng, path = np.random.default_rng(2), tmp_path / f"x{suffix}"
    dtypes = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
    for index, dtype in enumerate(dtypes):
        image = sitk.GetImageFromArray(rng.integers(0, 100, (4, 5, 6)).astype(dtype))
        matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        image.SetDirection((matrix * np.sign(np.linalg.det(matrix))).ravel())
        image.SetSpacing(rng.uniform(0.1, 5, 3))
        image.SetOrigin(rng.uniform(-200, 200, 3))
        sitk.WriteImage(image, str(path), index % 2 == 1)
        loaded, theirs = read_image(path), sitk.ReadImage(str(path))
        assert loaded.pixels.dtype == dtype
        np.testing.assert_array_equal(loaded.pixels, sitk.GetArrayFromImage(theirs))
        assert loaded.frame is not None
        np.testing.assert_allclose(loaded.frame.spacing_mm, theirs.GetSpacing(), atol=1e-12)
        np.testing.assert_allclose(loaded.frame.origin_mm, theirs.GetOrigin(), atol=1e-12)
        np.testing.assert_allclose(loaded.frame.direction, theirs.GetDirection(), atol=1e-12)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_colour_slices_are_read_with_channels_first_or_last(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(RGB, isVector=True), str(tmp_path / f"x{suffix}"))
    np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}").pixels, RGB)


@pytest.mark.parametrize("space", ["RAS", "left-anterior-superior", "LPS", "scanner-xyz", ""])
def test_nrrd_spaces_are_those_of_itk(tmp_path: Path, space: str) -> None:
    where = f"space: {space}\n" if space else "space dimension: 3\n"
    where += "space directions: (0,2,0) (0.5,0.1,0) (0,0,-3)\nspace origin: (7,8,9)\n\n"
    (tmp_path / "x.nrrd").write_bytes(NRRD + where.encode() + VOLUME.tobytes())
    frame, theirs = read_image(tmp_path / "x.nrrd").frame, sitk.ReadImage(str(tmp_path / "x.nrrd"))
    assert frame is not None
    np.testing.assert_allclose(frame.spacing_mm, theirs.GetSpacing())
    np.testing.assert_allclose(frame.origin_mm, theirs.GetOrigin())
    np.testing.assert_allclose(frame.direction, theirs.GetDirection())
