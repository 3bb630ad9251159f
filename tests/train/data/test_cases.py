from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from medsam_edge.errors import FileMissingError, ImageError, ModalityError
from medsam_edge.modality import Modality
from medsam_edge_train.data.cases import find_cases, read_case, thin
from medsam_edge_train.data.shards import write_shard
from tests.train.data.images import UNEVEN_CASES, discs, named_case, shard_sample, write_case


def test_find_cases_reads_the_layout(tmp_path: Path) -> None:
    image, labels = discs()
    expected = [
        write_case(tmp_path, "CT/liver/b.png", image, labels),
        write_case(tmp_path, "X-Ray/chest/a.jpg", image, labels),
        write_case(tmp_path, "mri/brain/10.png", image, labels),
        write_case(tmp_path, "mri/brain/9.png", image, labels),
    ]
    cv2.imwrite(str(tmp_path / "CT/liver/images/no_mask.png"), image)
    cv2.imwrite(str(tmp_path / "CT/liver/masks/no_image.png"), image)
    (tmp_path / "CT/liver/notes.txt").write_text("not an image")
    (tmp_path / "LICENSE").write_text("not a modality")
    assert find_cases(tmp_path) == expected
    assert [case.modality for case in find_cases(tmp_path)] == [Modality.CT, Modality.XRAY, Modality.MR, Modality.MR]
    assert find_cases(tmp_path)[0].dataset == "liver"


def test_find_cases_takes_stems_literally(tmp_path: Path) -> None:
    image, labels = discs()
    expected = [write_case(tmp_path, f"CT/a/{stem}.png", image, labels) for stem in ("[1]", "a*", "b?c")]
    write_case(tmp_path, "CT/a/1.png", image, labels)
    write_case(tmp_path, "CT/a/ab.png", image, labels)
    assert [case for case in find_cases(tmp_path) if case.image.path.stem in ("[1]", "a*", "b?c")] == sorted(expected)
    assert all(case.image.path.stem == case.mask.path.stem for case in find_cases(tmp_path))


def test_find_cases_does_not_mistake_a_longer_name(tmp_path: Path) -> None:
    image, labels = discs()
    for name in ("case.png", "case.1.png", "case.1.b.png"):
        write_case(tmp_path, f"CT/a/{name}", image, labels)
    assert [(case.image.path.name, case.mask.path.name) for case in find_cases(tmp_path)] == [
        (name, name) for name in ("case.1.b.png", "case.1.png", "case.png")
    ]


def test_find_cases_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"expected a folder, got .*nowhere"):
        find_cases(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileMissingError, match="expected a folder"):
        find_cases(tmp_path / "file")


def test_find_cases_refuses_a_folder_without_pairs(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="found no pair"):
        find_cases(tmp_path)
    case = write_case(tmp_path, "CT/a/x.png", *discs())
    case.image.path.unlink()
    with pytest.raises(ImageError, match="found no pair"):
        find_cases(tmp_path)


def test_find_cases_refuses_folders_not_named_after_a_modality(tmp_path: Path) -> None:
    write_case(tmp_path, "CT/a/x.png", *discs()).image.path.parents[2].rename(tmp_path / "Scans")
    with pytest.raises(ModalityError, match="'Scans'"):
        find_cases(tmp_path)


def test_read_case_gives_grey_images_and_labels_as_stored(tmp_path: Path) -> None:
    image, labels = discs(values=(1, 700))
    read_image, read_labels = read_case(write_case(tmp_path, "CT/a/x.png", image, labels))
    assert (read_image.dtype, read_labels.dtype) == (np.uint8, np.int32)
    assert np.array_equal(read_image, image)
    assert np.array_equal(read_labels, labels)
    assert read_labels.max() == 700


def test_read_case_color_is_rgb(tmp_path: Path) -> None:
    image = np.zeros((5, 4, 3), dtype=np.uint8)
    image[..., 2] = 200  # OpenCV writes blue, green, red
    image[..., 0] = 10
    read, _ = read_case(write_case(tmp_path, "Fundus/a/x.png", image, np.ones((5, 4))))
    assert read.shape == (5, 4, 3)
    assert read[0, 0].tolist() == [200, 0, 10]


def test_read_case_refuses_different_sizes(tmp_path: Path) -> None:
    case = write_case(tmp_path, "CT/a/x.png", np.zeros((5, 4), dtype=np.uint8), np.zeros((4, 5)))
    with pytest.raises(ImageError, match=r"\(5, 4\), its mask \(4, 5\)"):
        read_case(case)


def test_read_case_refuses_a_color_mask(tmp_path: Path) -> None:
    case = write_case(tmp_path, "CT/a/x.png", np.zeros((5, 4), dtype=np.uint8), np.zeros((5, 4, 3)))
    with pytest.raises(ImageError, match="its mask"):
        read_case(case)


@pytest.mark.parametrize("part", ["image", "mask"])
def test_read_case_refuses_what_it_cannot_read(tmp_path: Path, part: str) -> None:
    case = write_case(tmp_path, "CT/a/x.png", *discs())
    path: Path = getattr(case, part).path
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match="cannot read") as caught:
        read_case(case)
    assert str(path) in str(caught.value)


def test_read_case_refuses_sixteen_bits(tmp_path: Path) -> None:
    """Which the reader of pictures would cut to their upper byte."""
    labels = np.ones((64, 64))
    case = write_case(tmp_path, "XRay/a/x.png", np.full((64, 64), 4000, dtype=np.uint16), labels)
    with pytest.raises(ImageError, match=r"data: expected 8 bits.*x\.png has uint16"):
        read_case(case)


@pytest.mark.parametrize(
    ("count", "per_modality", "kept"),
    [
        (10, 3, [0, 4, 9]),
        (5, 5, [0, 1, 2, 3, 4]),
        (3, 9, [0, 1, 2]),
        (7, 1, [0]),
        (9, 2, [0, 8]),
        (1, 1, [0]),
        (4, 0, []),
    ],
)
def test_thin_keeps_evenly_spaced_cases(count: int, per_modality: int, kept: list[int]) -> None:
    cases = [named_case(Modality.CT, index) for index in range(count)]
    assert thin(cases, per_modality) == [cases[index] for index in kept]


def test_thin_counts_each_modality_on_its_own() -> None:
    kept = Counter(case.modality for case in thin([*UNEVEN_CASES, named_case(Modality.MR, 0)], 5))
    assert kept == {Modality.CT: 5, Modality.US: 5, Modality.MR: 1}


def test_thin_keeps_the_order_given() -> None:
    cases = [
        named_case(Modality.US, 0),
        named_case(Modality.CT, 1),
        named_case(Modality.US, 2),
        named_case(Modality.CT, 3),
    ]
    assert thin(cases, 2) == cases


def test_find_cases_reads_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "CT-00001.tar", [("CT/liver/2", shard_sample(700))])
    write_shard(tmp_path / "CT-00000.tar", [("CT/liver/1/z0003", shard_sample())])
    write_shard(tmp_path / ".1.partial.CT-00002.tar", [("CT/liver/3", shard_sample())])
    cases = find_cases(tmp_path)
    assert [case.key for case in cases] == ["CT/liver/1/z0003", "CT/liver/2"]
    assert {(case.modality, case.dataset) for case in cases} == {(Modality.CT, "liver")}
    image, labels = read_case(cases[1])
    assert (image.shape, image.dtype, labels.dtype) == ((4, 6), np.uint8, np.int32)
    assert np.array_equal(image, np.arange(24).reshape(4, 6))
    assert labels[0].tolist() == [700, 700, 700, 0, 0, 0]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"json": b"{}"}, "expected image.png or image.jpg, mask.png and json of a, found json"),
        ({**shard_sample(), "image.jpg": b""}, "of a, found image.png, mask.png, json, image.jpg"),
        (shard_sample(about={"modality": "CT"}), "modality and dataset of a"),
        (shard_sample(about={"modality": "Scans", "dataset": "x"}), "modality and dataset of a"),
        (shard_sample(about=[1]), "modality and dataset of a"),
        ({**shard_sample(), "json": b"{"}, "modality and dataset of a"),
        ({**shard_sample(), "json": b"\xff"}, "modality and dataset of a"),
    ],
)
def test_find_cases_refuses_samples_without_image_mask_or_json(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    write_shard(tmp_path / "a.tar", [("a", members)])
    with pytest.raises(ImageError, match=message):
        find_cases(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_read_case_refuses_a_member_that_is_not_an_image(tmp_path: Path, content: bytes) -> None:
    write_shard(tmp_path / "a.tar", [("a", {**shard_sample(), "mask.png": content})])
    with pytest.raises(ImageError, match=r"cannot read .*a\.tar at byte"):
        read_case(find_cases(tmp_path)[0])
