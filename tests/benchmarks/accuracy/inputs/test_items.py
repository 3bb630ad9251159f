from __future__ import annotations

import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from medsam_edge.errors import FileMissingError, ImageError, InputError
from medsam_edge.modality import Modality
from medsam_edge_benchmarks.accuracy.inputs.items import Item, Loaded, choose, find_items, mosaics
from tests.benchmarks.helpers import write_volume

VOLUME = np.zeros((3, 8, 10), np.uint8)
VOLUME[1:, 2:5, 3:9] = 1


def test_spacing_is_in_the_order_of_the_axes(tmp_path: Path) -> None:
    """Both files have x, y, z; npz by the challenge's habit, NIfTI by SimpleITK's."""
    np.savez(tmp_path / "3DBox_MR_a.npz", imgs=VOLUME * 200, gts=VOLUME, spacing=np.array([0.5, 0.7, 5.0]))
    write_volume(tmp_path / "CT", "b", VOLUME, (0.5, 0.75, 5.0))
    items = {item.modality: item.load() for item in find_items(tmp_path)}
    assert items[Modality.MR].spacing == (5.0, 0.7, 0.5)
    assert items[Modality.CT].spacing == (5.0, 0.75, 0.5)
    for loaded in items.values():
        assert loaded.image.dtype == np.uint8
        assert np.array_equal(loaded.labels, VOLUME)
    assert np.unique(items[Modality.CT].image).tolist() == [102, 166]  # 0 and 100 HU in the window from -160 to 240


def test_images_of_the_challenge_have_no_spacing(tmp_path: Path) -> None:
    folder = tmp_path / "test"  # measuring is what a test split is for
    folder.mkdir()
    grey = np.repeat(VOLUME[1][:, :, None] * 9, 3, axis=2)
    np.savez(folder / "2DBox_US_a.npz", imgs=grey, gts=VOLUME[1], spacing=np.array([0.5, 0.7, 5.0]))
    np.savez(folder / "b.npz", imgs=grey + np.arange(3, dtype=np.uint8), gts=VOLUME[1])
    first, second = find_items(tmp_path, Modality.ENDOSCOPY)
    assert (first.modality, second.modality) == (Modality.US, Modality.ENDOSCOPY)
    assert (first.load().spacing, first.load().image.shape) == ((1.0, 1.0), (8, 10))
    assert second.load().image.shape == (8, 10, 3)
    assert len({first.key, second.key}) == 2
    assert [item.modality for item in find_items(folder)] == [Modality.US]  # and the other is told of


def test_folders_of_images_and_masks_are_read_as_training_reads_them(tmp_path: Path) -> None:
    for kind, picture in (("images", VOLUME[1] * 50), ("masks", VOLUME[1])):
        (tmp_path / "CT" / "set" / kind).mkdir(parents=True)
        for name in "abcde":
            cv2.imwrite(str(tmp_path / "CT" / "set" / kind / f"{name}.png"), picture)
    items = find_items(tmp_path)
    assert [item.key for item in items] == [f"CT/set/{name}" for name in "abcde"]
    assert items[0].dataset == "set"
    assert items[0].load().spacing == (1.0, 1.0)
    assert [item.key[-1] for item in choose(items, 3)] == ["a", "c", "e"]
    assert choose(items, None) == items
    with tarfile.open(tmp_path / "0.tar", "w") as shard:  # where there are shards, they are what is read
        about = tmp_path / "about.json"
        about.write_text('{"modality": "CT", "dataset": "set"}')
        for part, source in (("image.png", "images/a.png"), ("mask.png", "masks/a.png")):
            shard.add(tmp_path / "CT" / "set" / source, f"CT-set-a.{part}")
        shard.add(about, "CT-set-a.json")
    (found,) = find_items(tmp_path)
    assert np.array_equal(found.load().labels, VOLUME[1])
    assert (found.dataset, found.modality) == ("set", Modality.CT)


@pytest.mark.parametrize("spacing", [np.array([1.0, 2.0]), np.array([1.0, 0.0, 1.0]), np.array(["a", "b", "c"])])
def test_a_spacing_that_is_none_is_refused(tmp_path: Path, spacing: np.ndarray) -> None:
    np.savez(tmp_path / "3DBox_MR_a.npz", imgs=VOLUME, gts=VOLUME, spacing=spacing)
    with pytest.raises(ImageError, match="spacing: expected three positive numbers"):
        find_items(tmp_path)[0].load()


def test_nothing_found_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="found no pair"):
        find_items(tmp_path)
    with pytest.raises(FileMissingError, match="data"):
        find_items(tmp_path / "none")


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
