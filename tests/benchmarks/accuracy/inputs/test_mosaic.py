from __future__ import annotations

import numpy as np
import pytest

from medsam_edge.errors import InputError
from medsam_edge.modality import Modality
from medsam_edge_benchmarks.accuracy.inputs.items import Item, Loaded
from medsam_edge_benchmarks.accuracy.inputs.mosaic import mosaics


class Pictures:
    """Items of given images whose loading is counted; every label map has one pixel of 9 and two of 4."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def item(self, key: str, image: np.ndarray, modality: Modality = Modality.US, dataset: str = "set") -> Item:
        labels = np.zeros(image.shape[:2], np.uint16)
        labels[0, 0], labels[1, :2] = 9, 4

        def load() -> Loaded:
            self.loaded.append(key)
            return Loaded(image, labels, (1.0, 1.0))

        return Item(key, modality, dataset, load)


def grey(height: int, width: int, value: int) -> np.ndarray:
    image = np.full((height, width), value + 1, np.uint8)
    image[-1, -1] = value
    return image


def test_images_stand_side_by_side_and_objects_stay_apart() -> None:
    pictures, color = Pictures(), np.full((3, 4, 3), (50, 60, 70), np.uint8)
    four = [grey(2, 5, 10), grey(3, 2, 20), grey(2, 2, 30), color]
    (mosaic,) = mosaics([pictures.item(name, image) for name, image in zip("abcd", four, strict=True)], 2)
    assert (mosaic.key, mosaic.modality, mosaic.dataset) == ("a + 3", Modality.US, "set")
    assert pictures.loaded == []
    image, labels, spacing = mosaic.load()
    assert pictures.loaded == list("abcd")
    assert (image.shape, image.dtype, labels.shape, spacing) == ((6, 10, 3), np.uint8, (6, 10), (1.0, 1.0))
    expected = np.array(
        [
            [11, 11, 11, 11, 11, 21, 21, 20, 20, 20],
            [11, 11, 11, 11, 10, 21, 21, 20, 20, 20],
            [10, 10, 10, 10, 10, 21, 20, 20, 20, 20],
            [31, 31, 30, 30, 30, 50, 50, 50, 50, 50],
            [31, 30, 30, 30, 30, 50, 50, 50, 50, 50],
            [30, 30, 30, 30, 30, 50, 50, 50, 50, 50],
        ]
    )
    assert np.array_equal(image[:, :, 0], expected)
    assert image[3, 5].tolist() == [50, 60, 70]
    assert image[3, 9].tolist() == [50, 50, 50]
    found = {value: np.argwhere(labels == value).tolist() for value in np.unique(labels[labels > 0]).tolist()}
    assert found == {
        1: [[1, 0], [1, 1]],
        2: [[0, 0]],
        3: [[1, 5], [1, 6]],
        4: [[0, 5]],
        5: [[4, 0], [4, 1]],
        6: [[3, 0]],
        7: [[4, 5], [4, 6]],
        8: [[3, 5]],
    }


def test_grey_stays_grey() -> None:
    pictures = Pictures()
    (mosaic,) = mosaics([pictures.item(str(number), grey(2, 2, number)) for number in range(4)], 2)
    assert mosaic.load().image.shape == (4, 4)


def test_a_mosaic_is_of_one_modality_and_dataset_and_full(capsys: pytest.CaptureFixture[str]) -> None:
    pictures = Pictures()
    of = {"U": (Modality.US, "set", 9), "V": (Modality.US, "other", 5), "C": (Modality.CT, "set", 3)}
    items = [
        pictures.item(f"{letter}{number}", grey(2, 2, 0), modality, dataset)
        for letter, (modality, dataset, count) in of.items()
        for number in range(count)
    ]
    assert [own.key for own in mosaics(items, 2)] == ["U0 + 3", "U4 + 3", "V0 + 3"]
    assert capsys.readouterr().err.splitlines() == [
        "US/set: 1 of 9 images fill no mosaic and are left out",
        "US/other: 1 of 5 images fill no mosaic and are left out",
        "CT/set: 3 of 3 images fill no mosaic and are left out",
    ]
    with pytest.raises(InputError, match="--mosaic 4: expected 16 images or more of one modality and dataset"):
        mosaics(items, 4)


def test_volumes_are_refused() -> None:
    volume = np.ones((2, 3, 4), np.uint8)
    items = [Item(name, Modality.CT, "set", lambda: Loaded(volume, volume, (1.0, 1.0, 1.0))) for name in "abcd"]
    (mosaic,) = mosaics(items, 2)
    with pytest.raises(InputError, match=r"--mosaic: expected pictures, a is a volume of shape \(2, 3, 4\)"):
        mosaic.load()
