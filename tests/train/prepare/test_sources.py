from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom, phantom_volume
from medsam_edge_train.data.cases import Case, read_case
from medsam_edge_train.prepare.config import PrepareConfig
from medsam_edge_train.prepare.sources import Pair, find_pairs, split_pairs
from tests.train.prepare.folders import dicom_series, picture, reasons, report_of, run, square, volume


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


def test_nnunet_folders_take_the_first_channel(tmp_path: Path) -> None:
    mr = phantom_volume("MR", (8, 64, 64))
    folder = tmp_path / "in" / "MR" / "Dataset001"
    for channel in ("0000", "0001"):
        volume(folder / "imagesTr" / f"brain_{channel}.nii.gz", mr.image)
    volume(folder / "labelsTr" / "brain.nii.gz", mr.labels)
    cases = run(tmp_path / "in", tmp_path / "out", validation=0)
    assert {key.rpartition("/")[0] for key in cases} == {"train/MR/Dataset001/brain"}
    assert reasons(tmp_path / "out") == {}


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


def test_dicom_series_among_images(tmp_path: Path) -> None:
    """A folder that has no labels is named, not passed over."""
    ct = phantom_volume("CT", (8, 64, 64))
    for name in ("images/p.1", "images/more", "images/.hidden"):
        dicom_series(tmp_path / "in" / "study" / name, ct.image)
    volume(tmp_path / "in" / "study" / "masks" / "p.1.nii.gz", ct.labels)
    cases = run(tmp_path / "in", tmp_path / "out", validation=0)
    assert set(cases) == {f"train/CT/study/p%2E1/z{z:04d}" for z in range(8) if ct.labels[z].any()}
    assert reasons(tmp_path / "out") == {"study/images/more": "no labels found"}


def test_a_file_goes_before_a_folder_of_its_name_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    picture(tmp_path / "in", "US/a/x")
    picture(tmp_path / "in", "US/a/y")
    (tmp_path / "in/US/a/images/x").mkdir()
    (tmp_path / "in/US/a/images/y.png").unlink()
    (tmp_path / "in/US/a/images/y").symlink_to(tmp_path)
    assert list(run(tmp_path / "in", tmp_path / "out", validation=0)) == ["train/US/a/x"]
    assert reasons(tmp_path / "out") == {"US/a/masks/y.png": "no image found"}


def test_a_single_dicom_file_takes_the_modality_of_its_header(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in" / "films" / "images", np.full((1, 64, 64), 5, np.int16), "DX")
    picture(tmp_path / "in" / "films", "001", image=np.zeros((64, 64), np.uint8))
    (tmp_path / "in" / "films" / "images" / "001.png").unlink()
    assert list(run(tmp_path / "in", tmp_path / "out", validation=0)) == ["train/XRay/films/001"]


def test_several_series_in_one_folder_are_skipped(tmp_path: Path) -> None:
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
    assert reasons(tmp_path / "out") == {
        "CT/both": "image: expected one series, both has 2: 'unnamed' (3 slices, UID 1.2.3.4), 'unnamed' (3 slices, "
        "UID 1.2.3.5); choose one by its UID (series=, --series), or give a folder that holds only one"
    }


def test_pairs_are_found_in_a_stable_order(mixed: Path) -> None:
    entries = list(find_pairs(mixed))
    assert entries == list(find_pairs(mixed))
    assert all(isinstance(entry, Pair) for entry in entries)
    names = [entry.name for entry in entries if isinstance(entry, Pair)]
    assert names == ["v0", "v1", "v2", "0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"]


def test_jpg_files_are_labels_only_where_there_are_no_others(tmp_path: Path) -> None:
    for name in ("alone", "both"):
        picture(tmp_path, f"US/a/{name}")
        (tmp_path / f"US/a/masks/{name}.jpg").touch()
    (tmp_path / "US/a/masks/alone.png").unlink()
    pairs = [entry for entry in find_pairs(tmp_path) if isinstance(entry, Pair)]
    assert {pair.name: pair.label.name for pair in pairs} == {"alone": "alone.jpg", "both": "both.png"}


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
    split = {pair.name: pair.split for own in split_pairs(config).streams.values() for pair in own}
    assert split["p1_a"] == split["p1_b"]
    assert split["p2_a"] == split["p2_b"]
    assert Counter([split["p1_a"], split["p2_a"], split["other"]]) == {"train": 2, "val": 1}


def test_every_data_set_is_split_on_its_own(tmp_path: Path) -> None:
    for modality, dataset, count in (("US", "a", 10), ("US", "b", 20), ("CT", "c", 1)):
        for index in range(count):
            picture(tmp_path / "in", f"{modality}/{dataset}/{index}", square(side=16))
    config = PrepareConfig((tmp_path / "in",), tmp_path / "out")
    pairs = [pair for own in split_pairs(config).streams.values() for pair in own]
    counts = Counter((pair.dataset, pair.split) for pair in pairs)
    assert counts == {("a", "train"): 7, ("a", "val"): 3, ("b", "train"): 14, ("b", "val"): 6, ("c", "train"): 1}
    same = {(pair.name, pair.split) for pair in pairs if pair.dataset == "a"} & {
        (pair.name, pair.split) for pair in pairs if pair.dataset == "b"
    }
    assert len(same) >= 6  # patients of one name tend to be on one side in every data set


def test_of_two_pairs_with_one_name_the_second_is_skipped(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        picture(tmp_path / folder, "US/a/x")
    config = PrepareConfig((tmp_path / "one", tmp_path / "two"), tmp_path / "out")
    skipped = split_pairs(config).skipped
    assert [entry.source for entry in skipped] == ["US/a/images/x.png"]
    assert "it has the modality, dataset and name of" in skipped[0].reason
