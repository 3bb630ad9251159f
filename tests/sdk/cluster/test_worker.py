"""A worker without a cluster: it takes batches in this process."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsam_edge.cli.main import main
from medsam_edge.cli.segment import choices_of
from medsam_edge.cluster import worker as worker_module
from medsam_edge.cluster.journal import Journal, ended
from medsam_edge.cluster.rows import Row
from medsam_edge.cluster.run import new_parser
from medsam_edge.cluster.worker import LIVES, Worker
from medsam_edge.reading.limits import MAXIMUM_BYTES_VARIABLE
from tests.sdk.cluster.files import BOXES, label_maps, write_images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path, 4)


def new_worker(root: Path, *more: str, run: str = "1") -> Worker:
    arguments = [str(root / "in"), "-o", str(root / "out"), "--bundle", str(root / "bundle"), *more]
    options = new_parser("test").parse_args(arguments)
    return Worker(options, choices_of(options), run)


def sent(worker: Worker, *rows: Row) -> list[dict[str, Any]]:
    batch = {"row": np.array([json.dumps(asdict(row)) for row in rows], dtype=object)}
    return [json.loads(text) for text in worker(batch)["report"]]


def row(root: Path, name: str, **more: str | None) -> Row:
    return replace(Row(str(root / "in" / name), str(root / "out" / name)), **more)


def test_a_worker_makes_what_segment_makes_and_bad_rows_stop_nothing(root: Path) -> None:
    folders = [str(root / "in"), "--boxes", str(root / "boxes"), "--bundle", str(root / "bundle")]
    assert main(["segment", *folders, "-o", str(root / "expected"), "--threads", "1"]) == 1
    names = [f"{number:03}.png" for number in range(4)]
    reports = sent(new_worker(root, "--boxes", str(root / "boxes")), *(row(root, name) for name in names))
    assert ["error" in report for report in reports] == [True, True, False, False]
    assert "expected" in reports[0]["error"]
    assert "001.png: not a png" in reports[1]["error"]
    assert label_maps(root / "out") == label_maps(root / "expected")
    assert ended(root / "out") == {
        report.get("output", str(root / "out" / name)): report for name, report in zip(names, reports, strict=True)
    }


def test_boxes_come_as_file_as_numbers_or_from_an_address(root: Path) -> None:
    with zipfile.ZipFile(root / "all.zip", "w") as archive:
        archive.write(root / "in" / "003.png", "deep/3.png")
        archive.writestr("deep/3.json", json.dumps(BOXES))
    address = f"zip://deep/3.png::file://{root}/all.zip"
    rows = [
        row(root, "003.png", boxes=str(root / "boxes" / "003.json")),
        row(root, "003.png", output=str(root / "out" / "2.png"), boxes=json.dumps(BOXES)),
        Row(address, str(root / "out" / "3.png"), None, address.replace("3.png", "3.json")),
    ]
    pytest.importorskip("fsspec", reason="of the extra `ray`")
    reports = sent(new_worker(root), *rows)
    assert [report["image"] for report in reports] == [row.image for row in rows]
    assert len(set(label_maps(root / "out").values())) == 1
    assert len(label_maps(root / "out")) == 3


def test_errors_name_the_address_and_large_files_are_not_copied(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec", reason="of the extra `ray`")
    addresses = [f"file://{root}/in/001.png", f"file://{root}/in/none.png", "nonsense://a.png"]
    rows = [
        Row(address, str(root / "out" / f"{n}.png"), None, json.dumps(BOXES)) for n, address in enumerate(addresses)
    ]
    damaged, missing, unknown = (report["error"] for report in sent(new_worker(root), *rows))
    assert damaged == f"image: cannot read {addresses[0]}: not a png, jpg, bmp or tif"
    assert "none.png" in missing
    assert "nonsense" in unknown
    monkeypatch.setenv(MAXIMUM_BYTES_VARIABLE, "100")
    large = Row(f"file://{root}/in/003.png", str(root / "out" / "3.png"), None, json.dumps(BOXES))
    assert "expected at most 100 bytes" in sent(new_worker(root), large)[0]["error"]
    monkeypatch.setattr("fsspec.open", lambda *_: io.BytesIO(bytes(101)))  # its size is not known before
    assert "expected at most 100 bytes" in sent(new_worker(root), large)[0]["error"]


def test_the_modality_of_a_row_goes_first_and_an_unknown_one_costs_that_row(root: Path) -> None:
    boxes = json.dumps(BOXES)
    rows = [row(root, "003.png", output=str(root / "out" / f"{m}.png"), boxes=boxes, modality=m) for m in ("US", "XX")]
    good, bad = sent(new_worker(root, "--modality", "CT"), *rows)
    assert good["modality"] == "US"
    assert "modality" in bad["error"]


def test_a_batch_that_is_sent_again_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was ended is not done again; what was begun LIVES times is given up."""
    boxes = json.dumps(BOXES)
    rows = [row(root, name, boxes=boxes) for name in ("001.png", "002.png", "003.png")]
    first = sent(new_worker(root), rows[0])
    lost = Journal(root / "out", "1")
    for _ in range(LIVES):
        lost.begin(rows[1].output)
    lost.begin(rows[2].output)
    again = new_worker(root)
    begun: list[Path] = []
    monkeypatch.setattr(worker_module, "segment_job", lambda _, job, *__: begun.append(job.image) or {"output": "x"})
    reports = sent(again, *rows)
    assert reports[0] == first[0]
    assert reports[1]["error"] == f"{LIVES} workers were lost on it, by a crash or for want of memory"
    assert begun == [root / "in" / "003.png"]
    assert sent(new_worker(root, run="2"), rows[1])[0] == {
        "image": rows[1].image,
        "output": "x",
    }  # a new run, new lives


def test_a_bug_is_a_report_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("slip")

    monkeypatch.setattr(worker_module, "segment_job", fail)
    assert sent(new_worker(root), row(root, "002.png"))[0]["error"] == "KeyError: 'slip'"
