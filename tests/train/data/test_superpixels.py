from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.modality import Modality
from medsam_edge_train.data.augment import Augmentation
from medsam_edge_train.data.cases import find_unlabelled, read_case
from medsam_edge_train.data.datasets import TrainingData
from medsam_edge_train.data.superpixels import LARGEST, MINIMUM_PIXELS, SLIVER, superpixels
from tests.train.data.images import discs, write_case

SCALES = (20.0, 500.0)


def test_flat_regions_are_the_superpixels() -> None:
    """Two squares on a dark ground; the ground is more than a third of the image, and no object."""
    image = np.zeros((64, 64), np.uint8)
    image[8:24, 8:24], image[30:60, 34:60] = 120, 250
    labels = superpixels(image, (300.0, 300.0), np.random.default_rng(0))
    for square in (image == 120, image == 250):  # smoothing takes their edges
        value = np.bincount(labels[square]).argmax()
        assert (labels == value)[square].mean() > 0.65
        assert not (labels == value)[~square].any()
    assert labels[16, 16] > 0 and labels[45, 45] > 0 and labels[16, 16] != labels[45, 45]
    assert labels[2, 60] == 0


def test_superpixels_are_of_sizes_and_shapes_that_objects_have() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (96, 80, 3), dtype=np.uint8), (0, 0), 3)
    for seed in range(5):
        labels = superpixels(image, SCALES, np.random.default_rng(seed))
        for value in np.unique(labels[labels > 0]):
            mask = labels == value
            _, _, width, height = cv2.boundingRect(mask.astype(np.uint8))
            assert MINIMUM_PIXELS / 2 < mask.sum() <= 1.2 * LARGEST * labels.size  # closing adds and takes a little
            assert mask.sum() >= 0.8 * SLIVER * width * height


def test_the_same_generator_gives_the_same_superpixels() -> None:
    image, _ = discs()
    first, again, other = (superpixels(image, SCALES, np.random.default_rng(seed)) for seed in (0, 0, 3))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_flat_image_has_no_superpixels() -> None:
    assert not superpixels(np.full((40, 40), 7, np.uint8), SCALES, np.random.default_rng(0)).any()


def write_unlabelled(root: Path) -> Path:
    image, _ = discs()
    for name in ("CT/a/2.png", "CT/a/1.jpg", "mri/b/x.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / name), image)
    (root / "CT/a/notes.txt").write_text("no image")
    return root


def test_pictures_without_masks_are_found(tmp_path: Path) -> None:
    cases = find_unlabelled(write_unlabelled(tmp_path))
    assert [(case.key, case.modality, case.dataset, case.mask) for case in cases] == [
        ("CT/a/1", Modality.CT, "a", None),
        ("CT/a/2", Modality.CT, "a", None),
        ("mri/b/x", Modality.MR, "b", None),
    ]
    image, labels = read_case(cases[1])
    assert image.shape == labels.shape == (60, 80)
    assert labels.dtype == np.int32 and not labels.any()


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="unlabelled: expected a folder"):
        find_unlabelled(tmp_path / "nowhere")
    (tmp_path / "CT").mkdir()
    with pytest.raises(ImageError, match=r"unlabelled: expected .*, found none"):
        find_unlabelled(tmp_path)


@pytest.mark.parametrize("first", [0, 7], ids=["crops", "whole images"])
def test_an_image_without_a_mask_gives_superpixels(tmp_path: Path, first: int) -> None:
    cases = find_unlabelled(write_unlabelled(tmp_path))
    data = TrainingData(cases, 128, 3, 0, Augmentation(), crop_size=64, batch_size=4)
    side = 64 if first == 0 else 128
    for position in range(4 * first, 4 * first + 4):
        sample = data[0, position, position % 3]
        assert sample.masks.shape[1:] == (side, side)
        assert 1 <= len(sample.boxes) <= 3
        assert (sample.masks.flatten(1).sum(1) >= 10).all()
        again = data[0, position, position % 3]
        assert (again.masks == sample.masks).all() and (again.image == sample.image).all()


def test_the_share_of_synthetic_labels(tmp_path: Path) -> None:
    """The mask is one square of a texture; superpixels of the texture are never as large."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 255, (128, 128), dtype=np.uint8), (0, 0), 2)
    labels = np.zeros((128, 128), np.int32)
    labels[4:124, 4:124] = 1
    case = write_case(tmp_path, "CT/a/x.png", image, labels)
    still = Augmentation(plain=1.0, color_p=0, noise_p=0)
    for share in (0.0, 0.5, 1.0):
        data = TrainingData([case], 128, 1, 0, still, synthetic=share, scales=(20, 60))
        real = np.mean([data[3, position, 0].masks.sum() == 120 * 120 for position in range(40)])
        assert real == pytest.approx(1 - share, abs=0.2 if share == 0.5 else 0)
