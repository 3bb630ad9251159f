"""A block keeps its position in the patient in all 48 orientations of the stored voxels, half of them left-handed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from medsam_edge import Segmenter, VolumeSegmentation
from medsam_edge.inference import propagation
from medsam_edge.networks.model import Model
from medsam_edge.reading.read import read_image
from tests.sdk.fake import SIZE, SeeingDecoder, SeeingEncoder

pytestmark = pytest.mark.usefixtures("no_narrowing")

SIZES = np.array([16, 8, 4])
"""Voxels along the patient's x, y, z. Each number divides the network's side, so that masks are exact."""
LOW, HIGH = np.array([3, 1, 1]), np.array([9, 6, 3])
"""Corners of the block in voxels; it has no symmetry."""
FIRST = np.array([-31.5, 12.25, 40.75])
"""Centre of the voxel that is first along x, y and z, in mm."""
SPACINGS = [(1.5, 1.5, 1.5), (0.7, 0.8, 2.5), (0.35, 0.9, 10.0)]
ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@pytest.fixture(autouse=True)
def no_narrowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box bounds all its slices alike, so that the masks of the fake can be worked out by hand."""
    monkeypatch.setattr(propagation, "NARROWING", 0.0)


@dataclass(frozen=True, eq=False)
class Stored:
    """The volume as one orientation stores it; `order` and `signs` give the directions of the patient's axes."""

    order: tuple[int, ...]
    signs: tuple[int, ...]
    spacing: npt.NDArray[np.float64]  # along the patient's axes

    def array(self, volume: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[x, y, z] of the patient → the array (D, H, W) whose last axis is the file's first."""
        turned = volume.transpose(self.order)[tuple(slice(None, None, sign) for sign in self.signs)]
        return np.ascontiguousarray(turned.transpose())

    def image(self, volume: npt.NDArray[Any]) -> Any:
        direction, origin = np.zeros((3, 3)), FIRST.copy()
        for column, (axis, sign) in enumerate(zip(self.order, self.signs, strict=True)):
            direction[axis, column] = sign
            if sign < 0:
                origin[axis] += (SIZES[axis] - 1) * self.spacing[axis]
        image = sitk.GetImageFromArray(self.array(volume))
        image.SetSpacing(self.spacing[list(self.order)].tolist())
        image.SetOrigin(origin.tolist())
        image.SetDirection(direction.ravel().tolist())
        return image


def block() -> npt.NDArray[np.uint8]:
    volume = np.zeros(SIZES, np.uint8)
    volume[tuple(slice(*ends) for ends in zip(LOW, HIGH, strict=True))] = 200
    return volume


def cases() -> Iterator[tuple[Stored, npt.NDArray[np.float64]]]:
    """Every way to store the volume, with the block's box in mm in the patient."""
    for (order, signs), spacing in product(ORIENTATIONS, map(np.array, SPACINGS)):
        corners = [FIRST + (corner - 0.5) * spacing for corner in (LOW, HIGH)]
        yield Stored(order, signs, spacing), np.concatenate(corners)


def seeing() -> Segmenter:
    return Segmenter(Model(SeeingEncoder(), SeeingDecoder(0), SIZE, "seeing", SIZE))


def segment(image: Any, box: npt.NDArray[np.float64], space: Any) -> VolumeSegmentation:
    result = seeing().segment(image, [box], box_space=space, streams=0)
    assert isinstance(result, VolumeSegmentation)
    return result


def points(array: npt.NDArray[Any], spacing: Any, origin: Any, direction: Any) -> npt.NDArray[np.float64]:
    """Positions of the non-zero voxels by ITK's definition, in mm, sorted."""
    index = np.argwhere(array)[:, ::-1]  # x, y, z of the file
    places = index * np.array(spacing) @ np.reshape(direction, (3, 3)).T + origin
    return places[np.lexsort(places.round(3).T)]


def of(image: Any) -> tuple[tuple[float, ...], ...]:
    return image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def sheared(tangent: float) -> Any:
    image = Stored((0, 1, 2), (1, 1, 1), np.ones(3)).image(block())
    image.SetDirection((1.0, tangent / np.hypot(1, tangent), 0.0, 0.0, 1 / np.hypot(1, tangent), 0.0, 0.0, 0.0, 1.0))
    return image


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
def test_sheared_axes_are_kept(tmp_path: Path, name: str) -> None:
    """ITK's NIfTI drops the shear of 8 degrees: there it is written as sform, which ITK then does not read."""
    image = sheared(np.tan(np.deg2rad(8)))
    saved = segment(image, np.array([3, 1, 1, 9, 6, 3]), "pixel").save(tmp_path / name)
    frame = read_image(saved).frame
    assert frame is not None
    np.testing.assert_allclose(frame.direction, image.GetDirection(), atol=1e-6)
    if ".nii" not in name:
        np.testing.assert_allclose(sitk.ReadImage(str(saved)).GetDirection(), image.GetDirection())
    image.SetDirection((2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))  # an axis of length 2: NRRD makes it the spacing
    if ".nii" not in name:
        segment(image, np.array([3, 1, 1, 9, 6, 3]), "pixel").save(tmp_path / name)
    segment(sheared(1e-3), np.array([3, 1, 1, 9, 6, 3]), "pixel").save(tmp_path / name)


def test_there_are_48_orientations_half_of_them_left_handed() -> None:
    stored = [Stored(order, signs, np.ones(3)).image(block()) for order, signs in ORIENTATIONS]
    assert len({image.GetDirection() for image in stored}) == 48
    assert sum(np.linalg.det(np.reshape(image.GetDirection(), (3, 3))) < 0 for image in stored) == 24


def test_simpleitk_finds_the_block_in_every_orientation() -> None:
    """This checks the test's own data: the block's centres by SimpleITK alone."""
    for stored, box in cases():
        image = stored.image(block())
        for corner in (LOW, HIGH - 1):
            index = image.TransformPhysicalPointToIndex((FIRST + corner * stored.spacing).tolist())
            assert image[index] == 200
        places = points(sitk.GetArrayFromImage(image), *of(image))
        assert (places > box[:3]).all()
        assert (places < box[3:]).all()
        assert len(places) == np.prod(HIGH - LOW)


def test_masks_of_arrays_and_images_are_the_block() -> None:
    """Boxes in mm are the same for all orientations; boxes in voxels follow the array."""
    for stored, box in cases():
        truth = stored.array(block()) > 0
        corner = np.argwhere(truth)[:, ::-1]
        voxels = np.concatenate([corner.min(axis=0), corner.max(axis=0) + 1])
        for image, boxes, space in ((stored.array(block()), voxels, "pixel"), (stored.image(block()), box, "physical")):
            result = segment(image, boxes, space)
            assert np.array_equal(result.mask(0), truth)
            assert result.boxes.tolist() == [voxels.tolist()]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_masks_of_files_are_the_block_where_the_file_has_it(tmp_path: Path, suffix: str) -> None:
    """SimpleITK writes the file; it is segmented by a box in mm, saved, and read by our reader and by SimpleITK alone.

    NIfTI keeps 32 bits, hence the 1e-5. It and ITK keep left-handed directions too (NIfTI's qfac).
    """
    source, saved = tmp_path / f"volume{suffix}", tmp_path / f"labels{suffix}"
    for stored, box in cases():
        image = stored.image(block())
        expected = points(stored.array(block()), *of(image))
        sitk.WriteImage(image, str(source))
        result = segment(source, box, "physical")
        assert np.array_equal(result.mask(0), stored.array(block()) > 0)
        result.save(saved)
        alone, ours = sitk.ReadImage(str(saved)), read_image(saved)
        assert ours.frame is not None
        assert alone.GetSize() == image.GetSize() == ours.pixels.shape[::-1]
        frame = (ours.frame.spacing_mm, ours.frame.origin_mm, ours.frame.direction)
        for pixels, placed in ((sitk.GetArrayFromImage(alone), of(alone)), (ours.pixels, frame)):
            for got, meant in zip(placed, of(image), strict=True):
                np.testing.assert_allclose(got, meant, rtol=0, atol=1e-5)
            np.testing.assert_allclose(points(pixels, *placed), expected, rtol=0, atol=1e-5)
