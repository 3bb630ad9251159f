"""Phantoms are repeatable, labelled without gaps, of the right dtype and range, with as many objects as asked for."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import ImageError, InputError, ModalityError
from medsam_edge.modality import Modality
from medsam_edge.phantom import MIN_DEPTH, MIN_PIXELS, MIN_SIDE, Phantom, phantom, phantom_volume

ALL = list(Modality)
DTYPES = {Modality.CT: np.int16, Modality.MR: np.uint16, Modality.PET: np.float32, Modality.MAMMOGRAPHY: np.uint16}
VOLUMES = [Modality.CT, Modality.MR, Modality.PET]


def sizes(made: Phantom) -> np.ndarray:
    """Pixels of each object, in label order."""
    return np.bincount(made.labels.ravel())[1:]


def boxes_of_volume(labels: np.ndarray) -> np.ndarray:
    found = []
    for value in range(1, int(labels.max()) + 1):
        z, y, x = np.nonzero(labels == value)
        found.append((x.min(), y.min(), z.min(), x.max() + 1, y.max() + 1, z.max() + 1))
    return np.asarray(found, dtype=np.float32)


@pytest.mark.parametrize("modality", ALL)
class TestEveryModality:
    def test_same_arguments_same_bits(self, modality: Modality) -> None:
        first, second = phantom(modality, (96, 128), seed=3), phantom(modality, (96, 128), seed=3)
        assert first.image.tobytes() == second.image.tobytes()
        assert first.labels.tobytes() == second.labels.tobytes()

    def test_another_seed_is_another_picture(self, modality: Modality) -> None:
        first, second = phantom(modality, (96, 128), seed=0), phantom(modality, (96, 128), seed=1)
        assert (first.labels != second.labels).any()
        assert (first.image != second.image).mean() > 0.1

    @pytest.mark.parametrize("shape", [(MIN_SIDE, MIN_SIDE), (96, 250), (200, 90)])
    def test_shape_type_and_labels(self, modality: Modality, shape: tuple[int, int]) -> None:
        made = phantom(modality, shape)
        assert made.image.shape == ((*shape, 3) if modality.is_color else shape)
        assert made.image.dtype == DTYPES.get(modality, np.uint8)
        assert made.labels.shape == shape and made.labels.dtype == np.uint16
        assert made.modality is modality
        assert len(made.spacing_mm) == 2 and min(made.spacing_mm) > 0
        assert sizes(made).min() >= MIN_PIXELS

    @pytest.mark.parametrize("objects", [1, 2, 7, 34])
    def test_as_many_objects_as_asked(self, modality: Modality, objects: int) -> None:
        made = phantom(modality, (256, 256), seed=1, objects=objects)
        assert len(sizes(made)) == objects and sizes(made).min() >= MIN_PIXELS
        assert made.boxes.shape == (objects, 4)

    def test_boxes_are_tight(self, modality: Modality) -> None:
        made = phantom(modality, (120, 160), seed=2)
        assert made.boxes.dtype == np.float32
        np.testing.assert_array_equal(made.boxes, boxes_from_masks(made.labels))

    def test_objects_fill_their_boxes(self, modality: Modality) -> None:
        made = phantom(modality, seed=4, objects=12)
        x0, y0, x1, y1 = made.boxes.T
        assert (sizes(made) / ((x1 - x0) * (y1 - y0))).min() > 0.35

    def test_more_objects_than_fit_are_refused(self, modality: Modality) -> None:
        with pytest.raises(InputError, match=r"objects: .* fit"):
            phantom(modality, (MIN_SIDE, MIN_SIDE), objects=1000)


def test_ct_is_in_hounsfield_units() -> None:
    made = phantom("ct", seed=5)
    assert made.image.min() >= -1024 and made.image.max() <= 3071
    assert np.median(made.image[:8]) == pytest.approx(-1000, abs=30)  # air
    liver, spleen, kidney, _, vertebra, aorta = (float(np.median(made.image[made.labels == k])) for k in range(1, 7))
    assert all(30 <= organ <= 135 for organ in (liver, spleen, kidney, aorta))
    assert vertebra > 400


def test_fewer_objects_do_not_change_the_picture() -> None:
    whole, part = phantom("ct", seed=6), phantom("ct", seed=6, objects=2)
    np.testing.assert_array_equal(whole.image, part.image)
    np.testing.assert_array_equal(np.where(whole.labels <= 2, whole.labels, 0), part.labels)


@pytest.mark.parametrize(
    ("modality", "shape", "objects"),
    [("microscopy", (1920, 2560), 241), ("xray", (320, 640), 34), ("xray", (320, 640), 5), ("ct", (512, 512), 6)],
)
def test_the_scenes_of_the_benchmarks_can_be_drawn(modality: str, shape: tuple[int, int], objects: int) -> None:
    made = phantom(modality, shape, objects=objects)
    assert len(sizes(made)) == objects and sizes(made).min() >= MIN_PIXELS
    assert (made.boxes[:, 2:] > made.boxes[:, :2]).all()


def test_no_objects_give_no_boxes() -> None:
    empty = Phantom(np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint16), Modality.US, (1.0, 1.0))
    assert empty.boxes.shape == (0, 4)


def test_box_worked_out_by_hand() -> None:
    labels = np.zeros((3, 6, 8), np.uint16)
    labels[1:3, 2:5, 4:8] = 1
    made = Phantom(labels, labels, Modality.CT, (1.0, 1.0, 1.0))
    assert made.boxes.tolist() == [[4, 2, 1, 8, 5, 3]]


@pytest.mark.parametrize("modality", VOLUMES)
class TestVolume:
    def test_shape_type_labels_and_boxes(self, modality: Modality) -> None:
        made = phantom_volume(modality, (24, 80, 96), seed=1, objects=4)
        assert made.image.shape == made.labels.shape == (24, 80, 96)
        assert made.image.dtype == DTYPES[modality] and made.labels.dtype == np.uint16
        assert made.modality is modality and len(made.spacing_mm) == 3
        assert len(sizes(made)) == 4 and sizes(made).min() >= MIN_PIXELS
        np.testing.assert_array_equal(made.boxes, boxes_of_volume(made.labels))

    def test_repeatable_and_seeded(self, modality: Modality) -> None:
        first, again, other = (phantom_volume(modality, (10, 64, 64), seed=seed) for seed in (0, 0, 1))
        assert first.image.tobytes() == again.image.tobytes()
        assert first.labels.tobytes() == again.labels.tobytes()
        assert (first.labels != other.labels).any()

    def test_most_slices_hold_an_object(self, modality: Modality) -> None:
        made = phantom_volume(modality, (40, 64, 64))
        assert (made.labels > 0).any(axis=(1, 2)).mean() > 0.8

    def test_objects_change_smoothly_along_z(self, modality: Modality) -> None:
        made = phantom_volume(modality, (60, 128, 128), seed=2)
        area = (made.labels > 0).sum(axis=(1, 2))
        assert np.abs(np.diff(area)).max() < 0.35 * area.max()

    def test_objects_fit_the_smallest_volume(self, modality: Modality) -> None:
        made = phantom_volume(modality, (MIN_DEPTH, MIN_SIDE, MIN_SIDE), seed=3, objects=3)
        assert sizes(made).min() >= MIN_PIXELS

    def test_more_objects_than_fit_are_refused(self, modality: Modality) -> None:
        with pytest.raises(InputError, match=r"objects: .* fit"):
            phantom_volume(modality, (MIN_DEPTH, MIN_SIDE, MIN_SIDE), objects=500)


@pytest.mark.parametrize("shape", [(MIN_SIDE - 1, 256), (256, 0), (256,), (4, 256, 256), (256.0, 256), 256, None])
def test_a_bad_shape_is_refused(shape: object) -> None:
    with pytest.raises(ImageError, match="shape: expected 2"):
        phantom("ct", shape)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(MIN_DEPTH - 1, 64, 64), (16, 64, 63), (64, 64)])
def test_a_bad_volume_shape_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ImageError, match="shape: expected 3"):
        phantom_volume("ct", shape)


@pytest.mark.parametrize("modality", ["toaster", None, 7])
def test_an_unknown_modality_is_refused(modality: str) -> None:
    with pytest.raises(ModalityError):
        phantom(modality)
    with pytest.raises(ModalityError):
        phantom_volume(modality, (16, 64, 64))


@pytest.mark.parametrize("modality", [m for m in ALL if m not in VOLUMES])
def test_a_modality_without_volumes_is_refused(modality: Modality) -> None:
    with pytest.raises(InputError, match="modality: expected one with volumes"):
        phantom_volume(modality, (16, 64, 64))


@pytest.mark.parametrize("objects", [0, -1, 1.5, 2**16, True])
def test_a_bad_number_of_objects_is_refused(objects: int) -> None:
    with pytest.raises(InputError, match="objects: expected"):
        phantom("mr", objects=objects)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_bad_seed_is_refused(seed: int) -> None:
    with pytest.raises(InputError, match="seed: expected"):
        phantom("mr", seed=seed)
