from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from medsam_edge.errors import FileMissingError, ImageError, InputError
from medsam_edge.modality import Modality
from medsam_edge_train.data.augment import Augmentation
from medsam_edge_train.data.cases import find_cases, read_case
from medsam_edge_train.data.datasets import TrainingData, ValidationData
from medsam_edge_train.prepare import prepare as module
from medsam_edge_train.prepare.config import PrepareConfig
from medsam_edge_train.prepare.prepare import prepare
from tests.train.prepare.folders import bytes_of, cases_of, picture, run


def test_sources_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ImageError, match="sources: expected images with labels, found none"):
        run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(FileMissingError, match=r"sources: expected a folder, got .*nowhere"):
        run(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("figure")
def test_the_report_is_drawn_if_no_image_is_left(tmp_path: Path) -> None:
    picture(tmp_path / "in", "US/a/x", np.zeros((16, 16), np.uint8))
    assert run(tmp_path / "in", tmp_path / "out") == {}
    assert (tmp_path / "out" / "report.png").exists()


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
def test_a_killed_run_is_continued(mixed: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(settings(mixed, tmp_path / "whole"))
    config, written = settings(mixed, tmp_path / "out"), []

    def dying(path: Path, samples: Any) -> int:
        if len(written) == after:
            path.with_name(f".1.partial.{path.name}").write_bytes(b"half")
            raise Killed
        written.append(path)
        return write_shard(path, samples)

    write_shard = module.write_shard
    monkeypatch.setattr(module, "write_shard", dying)
    with pytest.raises(Killed):
        prepare(config)
    times = {path: path.stat().st_mtime_ns for path in written}
    assert len(times) == after
    monkeypatch.setattr(module, "write_shard", write_shard)
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


def test_equal_settings_written_differently_continue_a_run(mixed: Path, tmp_path: Path) -> None:
    prepare(settings(mixed, tmp_path / "out", fractions="rep-medsam", window=(40, 400)))
    prepare(settings(mixed, tmp_path / "out", fractions={"CT": 0.2}, window=(40.0, 400.0), workers=2))


def test_a_folder_with_other_files_is_left_alone(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="output: expected an empty folder"):
        prepare(settings(mixed, tmp_path / "out"))
    assert bytes_of(tmp_path / "out") == {"thesis.txt": b"mine"}


@pytest.mark.usefixtures("figure")
def test_the_report_is_drawn(mixed: Path, tmp_path: Path) -> None:
    report = prepare(settings(mixed, tmp_path / "out"))
    image = cv2.imread(str(tmp_path / "out" / "report.png"))
    assert image is not None and image.shape[1] > 800
    pixels = sum(read_case(case)[1].size for case in cases_of(tmp_path / "out").values() if case.modality == "US")
    assert sum(report.modalities["US"].histogram) == pixels == 11 * 32 * 32
    # 11 objects of 16 × 16 pixels on images of 32 × 32
    assert report.modalities["US"].histogram[140] == 11 * 256
    assert report.modalities["US"].histogram[90] == 11 * 768
