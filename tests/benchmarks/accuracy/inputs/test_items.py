from __future__ import annotations

import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.modality import Modality
from medsam_edge_benchmarks.accuracy.inputs.items import choose, find_items
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
