from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from medsam_edge.errors import FileMissingError, ImageError, InputError, ModalityError
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom, phantom_volume
from medsam_edge_train.augment import Augmentation
from medsam_edge_train.data import Case, TrainingData, ValidationData, find_cases, read_case
from medsam_edge_train.prepare import parts
from medsam_edge_train.prepare.prepare import PROTOCOLS, PrepareConfig, fractions_of, make_plan, prepare
from medsam_edge_train.prepare.slices import choose_slices, drop_small_objects, shrink
from medsam_edge_train.prepare.sources import Pair, Skipped, find_pairs

Array = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def draw(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The report's picture takes most of a small run's time; only the tests about it draw it."""
    if "picture" not in request.node.name:
        monkeypatch.setattr("medsam_edge_train.prepare.prepare.draw", lambda report, path: path.write_bytes(b""))


def square(values: tuple[int, ...] = (1,), side: int = 64) -> Array:
    """Labels (side, side): one 16 × 16 square per value along the diagonal."""
    labels = np.zeros((side, side), np.uint16)
    for index, value in enumerate(values):
        labels[16 * index : 16 * index + 16, 16 * index : 16 * index + 16] = value
    return labels


def picture(root: Path, name: str, labels: Array | None = None, image: Array | None = None) -> None:
    """name: <folders>/<stem>."""
    labels = square() if labels is None else labels
    image = np.full(labels.shape, 90, np.uint8) + 50 * (labels > 0).astype(np.uint8) if image is None else image
    path = root / name
    for folder, array in (("images", image), ("masks", labels)):
        (path.parent / folder).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path.parent / folder / f"{path.name}.png"), array)


def volume(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def run(root: Path, output: Path, **settings: Any) -> dict[str, Case]:
    """Prepare without leaving anything out, unless told; the cases by split and key."""
    settings = {"interval": 1, "minimum_pixels": 0, "minimum_voxels": 0, **settings}
    prepare(PrepareConfig((root,), output, **settings))
    return cases_of(output)


def cases_of(output: Path) -> dict[str, Case]:
    splits = [split for split in ("train", "val") if list((output / split).glob("*.tar"))]
    return {f"{split}/{case.key}": case for split in splits for case in find_cases(output / split)}


def report_of(output: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return report


def reasons(output: Path) -> dict[str, str]:
    return {entry["source"]: entry["reason"] for entry in report_of(output)["skipped"]}


def bytes_of(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


# one test per kind of source


def test_house_layout_keeps_its_split(tmp_path: Path) -> None:
    truth = phantom("Fundus", (64, 96))
    picture(tmp_path / "in", "train/Fundus/a/x", truth.labels, truth.image[..., ::-1])
    picture(tmp_path / "in", "train/US/b/same", square((1, 700)))
    picture(tmp_path / "in", "val/US/b/same")
    cases = run(tmp_path / "in", tmp_path / "out", validation=0.9)
    assert list(cases) == ["train/Fundus/a/x", "train/US/b/same", "val/US/b/same"]
    image, labels = read_case(cases["train/Fundus/a/x"])
    assert np.array_equal(image, truth.image)
    assert np.array_equal(labels, truth.labels)
    assert np.array_equal(read_case(cases["train/US/b/same"])[1], square((1, 700)))
    assert report_of(tmp_path / "out")["split"] == {"kept": 3, "drawn": 0}


def test_images_as_jpeg_keep_their_masks(tmp_path: Path) -> None:
    truth = phantom("Fundus", (64, 96))
    picture(tmp_path / "in", "train/Fundus/a/x", truth.labels, truth.image[..., ::-1])
    picture(tmp_path / "in", "train/US/b/grey", square((1, 700)))
    cases = run(tmp_path / "in", tmp_path / "out", jpeg=95)
    raw = cases["train/Fundus/a/x"].image.read()
    assert raw.startswith(b"\xff\xd8\xff")
    assert len(colour_at(tmp_path, 30)) < len(raw)
    image, labels = read_case(cases["train/Fundus/a/x"])
    assert np.abs(image.astype(int) - truth.image).mean() < 4  # red is red, and blue is blue
    assert np.array_equal(labels, truth.labels)
    grey, labels = read_case(cases["train/US/b/grey"])
    assert np.abs(grey.astype(int) - (90 + 50 * (square((1, 700)) > 0))).max() <= 4
    assert np.array_equal(labels, square((1, 700)))


def colour_at(tmp_path: Path, jpeg: int) -> bytes:
    """The colour image's bytes at another quality."""
    return run(tmp_path / "in", tmp_path / f"out{jpeg}", jpeg=jpeg)["train/Fundus/a/x"].image.read()


def test_a_source_that_is_itself_a_split_is_kept(tmp_path: Path) -> None:
    for name in ("val/US/a/x", "test/US/a/y"):
        picture(tmp_path / "in", name)
    assert list(run(tmp_path / "in" / "val", tmp_path / "out")) == ["val/US/a/x"]
    assert list(run(tmp_path / "in", tmp_path / "both")) == ["val/US/a/x"]
    assert reasons(tmp_path / "both") == {"test": "a test split"}


def test_any_folder_with_images_and_masks(tmp_path: Path) -> None:
    picture(tmp_path / "hospital" / "nodules", "x.1")
    (tmp_path / "hospital" / "nodules" / "masks").rename(tmp_path / "hospital" / "nodules" / "labels")
    cases = run(tmp_path / "hospital", tmp_path / "out", modality="ultrasound", validation=0)
    assert [(key, case.dataset) for key, case in cases.items()] == [("train/US/nodules/x%2E1", "nodules")]


def test_sixteen_bits_follow_their_modality(tmp_path: Path) -> None:
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 10
    picture(tmp_path / "in", "XRay/a/x", None, image)
    read, _ = read_case(run(tmp_path / "in", tmp_path / "out", validation=0)["train/XRay/a/x"])
    assert np.array_equal(read, to_display(image, Modality.XRAY))


def test_grey_stored_as_color_becomes_grey(tmp_path: Path) -> None:
    picture(tmp_path / "in", "US/a/x", None, np.repeat(square()[..., None].astype(np.uint8), 3, axis=2))
    assert read_case(run(tmp_path / "in", tmp_path / "out", validation=0)["train/US/a/x"])[0].ndim == 2


@pytest.mark.parametrize("folder", ["CT", "Somewhere"])
def test_challenge_npz(tmp_path: Path, folder: str) -> None:
    """Two dimensions in colour and three in grey, the modality in the file's name."""
    (tmp_path / "in" / folder).mkdir(parents=True)
    color = phantom("Dermoscopy", (64, 80))
    mr = phantom_volume("MR", (8, 64, 64))
    display = to_display(mr.image.reshape(-1, 64), Modality.MR).reshape(8, 64, 64)
    spacing = np.array([1.0, 1.0, 3.0])
    np.savez(tmp_path / "in" / folder / "2DBox_Dermoscopy_0003.npz", imgs=color.image, gts=color.labels)
    np.savez_compressed(tmp_path / "in" / folder / "MR_brain_1.npz", imgs=display, gts=mr.labels, spacing=spacing)
    cases = run(tmp_path / "in", tmp_path / "out", validation=0)
    image, labels = read_case(cases.pop(f"train/Dermoscopy/{folder}/2DBox_Dermoscopy_0003"))
    assert np.array_equal(image, color.image)
    assert np.array_equal(labels, color.labels)
    assert list(cases) == [
        f"train/MR/{folder}/MR_brain_1/z{z:04d}" for z in range(8) if mr.labels[z].any()
    ]  # labelled slices only
    for key, case in cases.items():
        z = int(key[-4:])
        image, labels = read_case(case)
        assert np.array_equal(image, display[z])  # uint8 is left as it is
        assert np.array_equal(labels, mr.labels[z])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_volumes_beside_their_labels(tmp_path: Path, suffix: str) -> None:
    ct = phantom_volume("CT", (8, 64, 64))
    volume(tmp_path / "in" / "CT" / f"liver.1_image{suffix}", ct.image)
    volume(tmp_path / "in" / "CT" / f"liver.1_label{suffix}", ct.labels)
    cases = run(tmp_path / "in", tmp_path / "out", validation=0, window=(50, 350))
    assert list(cases) == [f"train/CT/CT/liver%2E1/z{z:04d}" for z in range(8) if ct.labels[z].any()]
    image, labels = read_case(cases["train/CT/CT/liver%2E1/z0004"])
    assert np.array_equal(image, to_display(ct.image[4], Modality.CT, (50, 350)))
    assert np.array_equal(labels, ct.labels[4])


def test_percentiles_are_those_of_the_whole_volume(tmp_path: Path) -> None:
    mr = phantom_volume("MR", (8, 64, 64))
    mr.image[0] *= 3  # an unlabelled slice, brighter than the others
    mr.labels[0] = 0
    volume(tmp_path / "in" / "MR" / "a_image.nii.gz", mr.image)
    volume(tmp_path / "in" / "MR" / "a_label.nii.gz", mr.labels.astype(np.float32))
    image, _ = read_case(run(tmp_path / "in", tmp_path / "out", validation=0)["train/MR/MR/a/z0004"])
    assert np.array_equal(image, to_display(mr.image.reshape(-1, 64), Modality.MR).reshape(8, 64, 64)[4])
    assert not np.array_equal(image, to_display(mr.image[4], Modality.MR))


def test_nnunet_folders_take_the_first_channel(tmp_path: Path) -> None:
    mr = phantom_volume("MR", (8, 64, 64))
    folder = tmp_path / "in" / "MR" / "Dataset001"
    for channel in ("0000", "0001"):
        volume(folder / "imagesTr" / f"brain_{channel}.nii.gz", mr.image)
    volume(folder / "labelsTr" / "brain.nii.gz", mr.labels)
    cases = run(tmp_path / "in", tmp_path / "out", validation=0)
    assert {key.rpartition("/")[0] for key in cases} == {"train/MR/Dataset001/brain"}
    assert reasons(tmp_path / "out") == {}


def dicom_series(folder: Path, array: Array, modality: str = "CT") -> None:
    """One file per slice of (D, H, W) int16, 2 mm apart, written in reversed order of their names."""
    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z, plane in enumerate(array):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing((1.0, 1.0, 2.0))
        tags = {
            "0008|0060": modality,
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.3.4",
            "0020|0013": str(z),
            "0020|0032": f"0\\0\\{2 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0018": f"1.2.3.4.{z}",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        image.SetOrigin((0, 0, 2.0 * z))
        writer.SetFileName(str(folder / f"{len(array) - z:03d}.dcm"))
        writer.Execute(image)


@pytest.mark.parametrize("place", ["../head_label.nii.gz", "label.nrrd"])
def test_dicom_series(tmp_path: Path, place: str) -> None:
    """The header says the modality, the positions the order."""
    ct = phantom_volume("CT", (8, 64, 64))
    dicom_series(tmp_path / "in" / "study" / "head", ct.image)
    volume(tmp_path / "in" / "study" / "head" / place, ct.labels)
    cases = run(tmp_path / "in", tmp_path / "out", validation=0)
    assert set(cases) == {f"train/CT/study/head/z{z:04d}" for z in range(8) if ct.labels[z].any()}
    for z in (2, 5):
        image, labels = read_case(cases[f"train/CT/study/head/z{z:04d}"])
        assert np.array_equal(image, to_display(ct.image[z], Modality.CT))
        assert np.array_equal(labels, ct.labels[z])


def test_single_dicom_files(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in" / "films" / "images", np.full((1, 64, 64), 5, np.int16), "DX")
    picture(tmp_path / "in" / "films", "001", image=np.zeros((64, 64), np.uint8))
    (tmp_path / "in" / "films" / "images" / "001.png").unlink()
    assert list(run(tmp_path / "in", tmp_path / "out", validation=0)) == ["train/XRay/films/001"]


# what is taken


@pytest.mark.parametrize(
    ("labelled", "interval", "chosen"),
    [
        (range(10, 21), 5, [10, 15, 20]),
        (range(10, 20), 5, [12, 17]),
        (range(10, 13), 5, [11]),
        (range(4), 1, [0, 1, 2, 3]),
        ([7], 5, [7]),
        ([0, 1, 8, 9], 3, [0, 9]),
        ([], 5, []),
    ],
)
def test_every_so_manyth_labelled_slice(labelled: list[int], interval: int, chosen: list[int]) -> None:
    labels = np.zeros((24, 2, 2), np.uint16)
    labels[list(labelled), 1, 1] = 3
    assert choose_slices(labels, interval).tolist() == chosen


def test_small_parts_of_objects_are_dropped() -> None:
    labels = np.zeros((20, 20), np.uint16)
    labels[0:5, 0:5] = 9
    labels[5, 5] = 9  # touches at a corner
    labels[0:5, 5:7] = 4  # touches 9, but is another object
    labels[15:17, 15:17] = 9
    expected = labels.copy()
    expected[15:17, 15:17] = 0
    assert np.array_equal(drop_small_objects(labels, 5), expected)
    assert np.array_equal(drop_small_objects(labels[None], 5), expected[None])
    expected[0:5, 5:7] = 0
    assert np.array_equal(drop_small_objects(labels, 11), expected)
    assert drop_small_objects(labels, 4) is labels
    assert drop_small_objects(np.zeros_like(labels), 4).max() == 0


def test_a_volume_is_one_object_across_slices() -> None:
    labels = np.zeros((9, 8, 8), np.uint16)
    labels[:, 1, 1] = 1
    labels[0, 6:8, 6:8] = 1
    kept = drop_small_objects(labels, 9)
    assert kept[:, 1, 1].all()
    assert kept.sum() == 9


def test_small_objects_are_measured_at_network_size(tmp_path: Path) -> None:
    """8 × 8 pixels of 256 are 4 at 64; 16 × 16 are 16."""
    labels = np.zeros((256, 128), np.uint16)
    labels[0:8, 0:8] = 1
    picture(tmp_path / "in", "US/a/small", labels)
    labels[100:116, 100:116] = 2
    picture(tmp_path / "in", "US/a/x", labels)
    cases = run(tmp_path / "in", tmp_path / "out", image_size=64, minimum_pixels=10, validation=0)
    assert list(cases) == ["train/US/a/x"]
    image, labels = read_case(cases["train/US/a/x"])
    assert (image.shape, np.unique(labels).tolist()) == ((64, 32), [0, 2])
    counts = report_of(tmp_path / "out")["modalities"]["US"]
    assert counts == {"found": 2, "sampled": 2, "train": 1, "val": 0, "objects": 1, "skipped": 0}


def test_smaller_images_are_not_enlarged() -> None:
    image, labels = np.zeros((30, 64), np.uint8), np.zeros((30, 64), np.uint16)
    assert shrink(image, labels, 64) == (image, labels)
    assert [array.shape for array in shrink(image, labels, 32)] == [(15, 32), (15, 32)]
    assert shrink(np.zeros((400, 1, 3), np.uint8), np.zeros((400, 1), np.uint16), 4)[0].shape == (4, 1, 3)


@pytest.mark.parametrize(
    ("fractions", "ct", "mr"),
    [
        ("all", 1.0, 1.0),
        ("class-prompt", 0.02, 0.1),
        ("rep-medsam", 0.2, 1.0),
        ("CT=0.5,mri=0.25", 0.5, 0.25),
        ("0.05", 0.05, 0.05),
        ({"CT": 0.5}, 0.5, 1.0),
    ],
)
def test_fractions(fractions: Any, ct: float, mr: float) -> None:
    parsed = fractions_of(fractions)
    assert (parsed.get(Modality.CT, 1.0), parsed.get(Modality.MR, 1.0)) == (ct, mr)


def test_a_fraction_is_about_what_is_taken(tmp_path: Path) -> None:
    for index in range(200):
        picture(tmp_path / "in", f"US/a/{index}", square(side=16))
    half = set(run(tmp_path / "in", tmp_path / "half", fractions="US=0.5,CT=0.1", validation=0))
    assert 80 <= len(half) <= 120  # 100 ± 7
    assert half < set(run(tmp_path / "in", tmp_path / "most", fractions="US=0.8", validation=0))
    other = set(run(tmp_path / "in", tmp_path / "other", fractions="US=0.5", validation=0, seed=1))
    assert len(half & other) < 0.8 * len(half)
    counts = report_of(tmp_path / "half")["modalities"]["US"]
    assert (counts["found"], counts["sampled"]) == (200, len(half))


# the split


def patients(cases: dict[str, Case]) -> dict[str, set[str]]:
    """Split → the names before the first underscore."""
    found: dict[str, set[str]] = {"train": set(), "val": set()}
    for key, case in cases.items():
        found[key.partition("/")[0]].add(case.key.rpartition("/")[2].partition("_")[0])
    return found


def test_slices_of_a_patient_stay_together(tmp_path: Path) -> None:
    for patient in range(10):
        for z in range(3):
            picture(tmp_path / "in", f"MR/a/p{patient}_z{z}", square(side=16))
    found = patients(run(tmp_path / "in", tmp_path / "out"))
    assert (len(found["train"]), len(found["val"])) == (7, 3)
    assert not found["train"] & found["val"]
    again = patients(run(tmp_path / "in", tmp_path / "again"))
    assert again == found
    assert any(patients(run(tmp_path / "in", tmp_path / f"seed{seed}", seed=seed)) != found for seed in (1, 2))


def test_a_pattern_says_who_the_patient_is(tmp_path: Path) -> None:
    for name in ("p1_a", "p1_b", "p2_a", "p2_b", "other"):
        picture(tmp_path / "in", f"US/a/{name}", square(side=16))
    config = PrepareConfig((tmp_path / "in",), tmp_path / "out", patient_pattern=r"^(p\d)_", validation=0.34)
    split = {pair.name: pair.split for own in make_plan(config).streams.values() for pair in own}
    assert split["p1_a"] == split["p1_b"]
    assert split["p2_a"] == split["p2_b"]
    assert Counter([split["p1_a"], split["p2_a"], split["other"]]) == {"train": 2, "val": 1}


def test_every_data_set_is_split_on_its_own(tmp_path: Path) -> None:
    for modality, dataset, count in (("US", "a", 10), ("US", "b", 20), ("CT", "c", 1)):
        for index in range(count):
            picture(tmp_path / "in", f"{modality}/{dataset}/{index}", square(side=16))
    config = PrepareConfig((tmp_path / "in",), tmp_path / "out")
    pairs = [pair for own in make_plan(config).streams.values() for pair in own]
    counts = Counter((pair.dataset, pair.split) for pair in pairs)
    assert counts == {("a", "train"): 7, ("a", "val"): 3, ("b", "train"): 14, ("b", "val"): 6, ("c", "train"): 1}
    same = {(pair.name, pair.split) for pair in pairs if pair.dataset == "a"} & {
        (pair.name, pair.split) for pair in pairs if pair.dataset == "b"
    }
    assert len(same) >= 6  # patients of one name tend to be on one side in every data set


# what cannot be used


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """One good picture among many sources that are not."""
    root = tmp_path / "in"
    for name in ("good", "no_picture", "no_mask", "no_image", "sizes", "color_mask"):
        picture(root, f"US/a/{name}")
    (root / "US/a/images/no_picture.png").write_bytes(b"no picture")
    (root / "US/a/masks/no_mask.png").unlink()
    (root / "US/a/images/no_image.png").unlink()
    (root / "US/a/images/notes.txt").write_text("not an image")
    cv2.imwrite(str(root / "US/a/images/sizes.png"), np.zeros((64, 65), np.uint8))
    cv2.imwrite(str(root / "US/a/masks/color_mask.png"), np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    ct = phantom_volume("CT", (8, 64, 64))
    for name in ("cut", "sizes", "flipped", "negative", "alone"):
        volume(root / "CT" / f"{name}_image.nii.gz", ct.image)
        volume(root / "CT" / f"{name}_label.nii.gz", ct.labels)
    (root / "CT/alone_label.nii.gz").unlink()
    content = (root / "CT/cut_image.nii.gz").read_bytes()
    (root / "CT/cut_image.nii.gz").write_bytes(content[: len(content) // 2])
    for part, array in (("image", ct.image), ("label", ct.labels)):
        volume(root / f"CT/short_{part}.nii", array)
    os.truncate(root / "CT/short_image.nii", 65388)
    volume(root / "CT/sizes_label.nii.gz", ct.labels[:, :-1])
    volume(root / "CT/negative_label.nii.gz", -ct.labels.astype(np.int16))
    labels = sitk.GetImageFromArray(ct.labels)
    labels.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(labels, str(root / "CT/flipped_label.nii.gz"))
    np.savez(root / "CT" / "no_labels.npz", imgs=ct.image)
    np.savez(root / "CT" / "pickle.npz", imgs=np.zeros((4, 4)), gts=np.array([[{}]], dtype=object))
    np.savez(root / "CT" / "nan.npz", imgs=np.full((4, 4), np.nan), gts=np.ones((4, 4), np.uint8))
    np.savez(root / "CT" / "rgba.npz", imgs=np.ones((4, 4, 4), np.uint8), gts=np.ones((4, 4), np.uint8))
    (root / "CT" / "empty.npz").write_bytes(b"")
    bomb(root / "CT" / "bomb.npz")
    picture(root, "Somewhere/b/x")
    return root


def bomb(path: Path) -> None:
    """A header that promises a terabyte."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1048576, 1048576), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("imgs", "gts"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


REASONS = {
    "US/a/images/no_picture.png": "cannot read no_picture.png",
    "US/a/images/no_mask.png": "no labels found",
    "US/a/masks/no_image.png": "no image found",
    "US/a/images/sizes.png": "image is (64, 65), its labels (64, 64)",
    "US/a/images/color_mask.png": "one value a pixel",
    "CT/cut_image.nii.gz": "cut_image.nii.gz is cut: its packed values have no end",
    "CT/short_image.nii": "expected 65888 bytes, found 65388",  # 352 of header, 8 · 64 · 64 · 2 of values
    "CT/sizes_image.nii.gz": "image is (8, 64, 64), its labels (8, 63, 64)",
    "CT/negative_image.nii.gz": "expected 0 to 65535, got -",
    "CT/flipped_image.nii.gz": "different directions",
    "CT/alone_image.nii.gz": "no labels found",
    "CT/no_labels.npz": "expected an array 'gts' in no_labels.npz, found imgs.npy",
    "CT/pickle.npz": "pickle.npz holds Python objects, which are not read",
    "CT/nan.npz": "NaN",
    "CT/rgba.npz": "image is (4, 4, 4), its labels (4, 4)",
    "CT/empty.npz": "cannot read empty.npz",
    "CT/bomb.npz": "more than 268435456 pixels or voxels",
    "Somewhere/b/images/x.png": "no folder is named after one",
}


def test_what_cannot_be_used_is_counted_and_named(damaged: Path, tmp_path: Path) -> None:
    assert list(run(damaged, tmp_path / "out", validation=0)) == ["train/US/a/good"]
    found = reasons(tmp_path / "out")
    assert found.keys() == REASONS.keys()
    for source, reason in REASONS.items():
        assert reason in found[source]
        assert str(tmp_path) not in found[source]  # a report can be shown around
    modalities = report_of(tmp_path / "out")["modalities"]
    assert modalities["US"]["skipped"] == 3
    assert modalities["CT"]["skipped"] == 11
    assert modalities["US"] == {"found": 1, "sampled": 1, "train": 1, "val": 0, "objects": 1, "skipped": 3}


def test_several_series_in_one_folder(tmp_path: Path) -> None:
    picture(tmp_path / "in", "US/a/x")
    for name in ("a", "b"):
        dicom_series(tmp_path / name, np.zeros((3, 8, 8), np.int16))
    folder = tmp_path / "in" / "CT" / "both"
    folder.mkdir(parents=True)
    for file in (tmp_path / "a").iterdir():
        file.rename(folder / file.name)
    for file in (tmp_path / "b").iterdir():
        content = file.read_bytes().replace(b"1.2.3.4\x00", b"1.2.3.5\x00")  # the series' number
        (folder / f"b{file.name}").write_bytes(content)
    volume(folder / "label.nii.gz", np.ones((6, 8, 8), np.uint8))
    run(tmp_path / "in", tmp_path / "out")
    assert reasons(tmp_path / "out") == {"CT/both": "expected one DICOM series in the folder, found 2"}


def test_two_sources_with_one_name(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        picture(tmp_path / folder, "US/a/x")
    config = PrepareConfig((tmp_path / "one", tmp_path / "two"), tmp_path / "out")
    skipped = make_plan(config).skipped
    assert [entry.source for entry in skipped] == ["US/a/images/x.png"]
    assert "its modality, dataset and name are those of" in skipped[0].reason


def test_nothing_to_prepare(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ImageError, match="sources: expected images with labels, found none"):
        run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(FileMissingError, match=r"sources: expected a folder, got .*nowhere"):
        run(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_image_is_left_for_the_picture(tmp_path: Path) -> None:
    picture(tmp_path / "in", "US/a/x", np.zeros((16, 16), np.uint8))
    assert run(tmp_path / "in", tmp_path / "out") == {}
    assert (tmp_path / "out" / "report.png").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sources": ()}, "sources"),
        ({"sources": "data"}, "sources"),
        ({"image_size": 0}, "image_size"),
        ({"jpeg": 101}, "jpeg: expected a quality of 1 to 100, or 0 for png, got 101"),
        ({"jpeg": -1}, "jpeg"),
        ({"interval": 0}, "interval"),
        ({"workers": 0}, "workers"),
        ({"shard_images": 0}, "shard_images"),
        ({"minimum_pixels": -1}, "minimum_pixels"),
        ({"minimum_voxels": -1}, "minimum_voxels"),
        ({"validation": 1.0}, "validation"),
        ({"validation": float("nan")}, "validation"),
        ({"window": (40,)}, "window"),
        ({"window": (40, 0)}, "window"),
        ({"patient_pattern": "("}, "patient_pattern"),
        ({"patient_pattern": "a+"}, "patient_pattern: expected a group"),
        ({"fractions": "some"}, "fractions: expected all, class-prompt, rep-medsam, a number or"),
        ({"fractions": "CT=0"}, "fractions"),
        ({"fractions": {"CT": 1.5}}, "fractions"),
        ({"fractions": "Scan=0.5"}, "'Scan'"),
        ({"modality": "Scan"}, "'Scan'"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PrepareConfig(**{"sources": (Path("in"),), "output": Path("out"), **settings})


def test_the_published_protocols_are_complete() -> None:
    assert set(PROTOCOLS["class-prompt"]) == set(Modality)
    with pytest.raises(ModalityError):
        fractions_of({"Scan": 0.5})


# runs


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Twelve pictures and three volumes; with shards of four images, several of each."""
    root = tmp_path / "in"
    for index in range(12):
        picture(root, f"US/a/{index}", square((1 + index,), 32))
    for index in range(3):
        mr = phantom_volume("MR", (8, 64, 64), seed=index)
        volume(root / "MR" / f"v{index}_image.nii.gz", mr.image)
        volume(root / "MR" / f"v{index}_label.nii.gz", mr.labels)
    (root / "US/a/images/3.png").write_bytes(b"no picture")
    return root


def settings(root: Path, output: Path, **changed: Any) -> PrepareConfig:
    return PrepareConfig((root,), output, **{"shard_images": 4, "interval": 2, "image_size": 32, **changed})


def test_workers_do_not_change_a_byte(mixed: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    one = prepare(settings(mixed, tmp_path / "one"), lines.append)
    two = prepare(settings(mixed, tmp_path / "two", workers=2))
    assert one == two
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one" / "train").iterdir())
    assert names[-4:] == ["US-00000.json", "US-00000.tar", "US-00001.json", "US-00001.tar"]
    assert "drawn by patient for 15" in lines[0]
    assert "US" in str(one) and "skipped: US/a/images/3.png: image: cannot read" in str(one)


def test_a_volume_stays_in_one_shard(mixed: Path, tmp_path: Path) -> None:
    prepare(settings(mixed, tmp_path / "out", shard_images=1))
    where: dict[str, set[Path]] = {}
    for case in cases_of(tmp_path / "out").values():
        where.setdefault(case.key.partition("/z")[0], set()).add(case.image.path)
    assert {len(paths) for paths in where.values()} == {1}
    assert len(set.union(*where.values())) == len(where)


def test_prepared_images_train(mixed: Path, tmp_path: Path) -> None:
    prepare(settings(mixed, tmp_path / "out"))
    cases = find_cases(tmp_path / "out" / "train")
    assert {case.modality for case in cases} == {Modality.US, Modality.MR}
    sample = ValidationData(cases, 64, 3)[0]
    assert sample.image.shape == (3, 64, 64)
    assert len(sample.boxes) >= 1
    drawn = TrainingData(cases, 64, 3, 0, Augmentation())[0, 0, len(cases) - 1]
    assert drawn.modality is cases[-1].modality


class Killed(BaseException):
    """Like kill -9: nothing of ours sees it."""


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_killed_run_goes_on(mixed: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(settings(mixed, tmp_path / "whole"))
    config, written = settings(mixed, tmp_path / "out"), []

    def dying(path: Path, samples: Any) -> int:
        if len(written) == after:
            path.with_name(f".1.partial.{path.name}").write_bytes(b"half")
            raise Killed
        written.append(path)
        return write_shard(path, samples)

    write_shard = parts.write_shard
    monkeypatch.setattr(parts, "write_shard", dying)
    with pytest.raises(Killed):
        prepare(config)
    times = {path: path.stat().st_mtime_ns for path in written}
    assert len(times) == after
    monkeypatch.setattr(parts, "write_shard", write_shard)
    prepare(replace(config, workers=1))
    assert {path: path.stat().st_mtime_ns for path in written} == times
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_a_finished_run_reads_nothing_again(mixed: Path, tmp_path: Path) -> None:
    report = prepare(settings(mixed, tmp_path / "out"))
    for file in mixed.rglob("images/*.png"):
        file.write_bytes(b"gone")
    lines: list[str] = []
    assert prepare(settings(mixed, tmp_path / "out"), lines.append) == report
    assert "15 files, 0 to do" in lines[0]


@pytest.mark.parametrize("damage", ["cut", "gone", "no json", "bad json"])
def test_a_damaged_shard_is_made_again(mixed: Path, tmp_path: Path, damage: str) -> None:
    prepare(settings(mixed, tmp_path / "out"))
    whole = bytes_of(tmp_path / "out")
    shard = tmp_path / "out" / "train" / "US-00000.tar"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-512])
    elif damage == "gone":
        shard.unlink()
    elif damage == "no json":
        shard.with_suffix(".json").unlink()
    else:
        shard.with_suffix(".json").write_text('{"pairs": "many"')
    prepare(settings(mixed, tmp_path / "out"))
    assert bytes_of(tmp_path / "out") == whole


def test_another_configuration_is_refused(mixed: Path, tmp_path: Path) -> None:
    prepare(settings(mixed, tmp_path / "out"))
    before = bytes_of(tmp_path / "out")
    with pytest.raises(
        InputError, match=r"output: .* holds shards of other interval, fractions; choose another folder"
    ):
        prepare(settings(mixed, tmp_path / "out", interval=3, fractions="rep-medsam"))
    picture(mixed, "US/a/new")
    with pytest.raises(InputError, match="holds shards of other files"):
        prepare(settings(mixed, tmp_path / "out"))
    assert bytes_of(tmp_path / "out") == before


def test_a_damaged_settings_file_is_refused(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prepare.json").write_text("[1")
    with pytest.raises(InputError, match=r"prepare\.json is damaged"):
        prepare(settings(mixed, tmp_path / "out"))


def test_equal_settings_in_other_words_are_the_same(mixed: Path, tmp_path: Path) -> None:
    prepare(settings(mixed, tmp_path / "out", fractions="rep-medsam", window=(40, 400)))
    prepare(settings(mixed, tmp_path / "out", fractions={"CT": 0.2}, window=(40.0, 400.0), workers=2))


def test_a_folder_with_other_files_is_left_alone(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="output: expected an empty folder"):
        prepare(settings(mixed, tmp_path / "out"))
    assert bytes_of(tmp_path / "out") == {"thesis.txt": b"mine"}


def test_the_report_is_a_picture(mixed: Path, tmp_path: Path) -> None:
    report = prepare(settings(mixed, tmp_path / "out"))
    image = cv2.imread(str(tmp_path / "out" / "report.png"))
    assert image is not None and image.shape[1] > 800
    pixels = sum(read_case(case)[1].size for case in cases_of(tmp_path / "out").values() if case.modality == "US")
    assert sum(report.modalities["US"].histogram) == pixels == 11 * 32 * 32
    # 11 objects of 16 × 16 pixels on images of 32 × 32
    assert report.modalities["US"].histogram[140] == 11 * 256
    assert report.modalities["US"].histogram[90] == 11 * 768


# find_pairs


def test_pairs_are_found_in_a_stable_order(mixed: Path) -> None:
    entries = list(find_pairs(mixed))
    assert entries == list(find_pairs(mixed))
    assert all(isinstance(entry, Pair) for entry in entries)
    names = [entry.name for entry in entries if isinstance(entry, Pair)]
    assert names == ["v0", "v1", "v2", "0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"]


def test_labels_in_jpg_are_none(tmp_path: Path) -> None:
    picture(tmp_path, "US/a/x")
    (tmp_path / "US/a/masks/x.png").rename(tmp_path / "US/a/masks/x.jpg")
    assert list(find_pairs(tmp_path)) == [Skipped("US/a/images/x.png", "no labels found")]


def test_an_unreadable_zip_member_is_no_end(tmp_path: Path) -> None:
    """Stored with a wrong checksum."""
    picture(tmp_path / "in", "US/a/x")
    stream = io.BytesIO()
    np.savez(stream, imgs=np.full((16, 16), 77, np.uint8), gts=np.full((16, 16), 55, np.uint8))
    (tmp_path / "in" / "CT_1.npz").write_bytes(stream.getvalue().replace(b"M" * 16, b"M" * 15 + b"N"))
    run(tmp_path / "in", tmp_path / "out")
    assert "cannot read CT_1.npz: Bad CRC-32" in reasons(tmp_path / "out")["CT_1.npz"]
