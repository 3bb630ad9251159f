from __future__ import annotations

from collections import Counter
from pathlib import Path

from medsam_edge_train.data.cases import Case
from medsam_edge_train.prepare.config import PrepareConfig
from medsam_edge_train.prepare.split import split_pairs
from tests.train.prepare.folders import picture, run, square


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
