"""Two Ray nodes on this machine: the files of one process, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medsam_edge.cli.main import main
from medsam_edge.cluster import segment_table
from medsam_edge.cluster.journal import FOLDER, ended
from medsam_edge.cluster.worker import LIVES
from medsam_edge.errors import InputError, MedsamEdgeError
from tests.sdk.cluster.files import label_maps, write_images

COUNT = 400
BAD = 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(os.name != "posix", reason="Ray clusters of several nodes are for Linux"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("many"), COUNT)


@pytest.fixture(scope="module")
def expected(root: Path) -> dict[str, bytes]:
    """What one process makes with one thread."""
    assert main(["segment", *arguments(root, "expected"), "--threads", "1"]) == 1
    assert len(label_maps(root / "expected")) == COUNT - BAD
    return label_maps(root / "expected")


def arguments(root: Path, output: str) -> list[str]:
    folders = [str(root / "in"), "--boxes", str(root / "boxes"), "-o", str(root / output)]
    return [*folders, "--bundle", str(root / "bundle")]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of two nodes with a core each."""
    pytest.importorskip("ray", reason="pip install 'medsam-edge[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        node = {"num_cpus": 1, "object_store_memory": 100 << 20}
        cluster = Cluster()
        for more in ({"include_dashboard": False}, {}):
            add_node(cluster, {**node, **more})
        yield cluster.address
        cluster.shutdown()


def add_node(cluster: Any, node: dict[str, Any]) -> None:
    """A busy machine may need longer than Ray waits: thrice."""
    for left in (2, 1, 0):
        try:
            cluster.add_node(**node)
            return
        except Exception as error:  # a plain one
            if not left or "timed out during startup" not in str(error):
                raise


def lines(output: Path) -> list[dict[str, Any]]:
    files = sorted((output / FOLDER).glob("*.jsonl"))
    return [
        json.loads(line)
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.endswith("}")
    ]


def table_of(output: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    return [{**row, "timings_ms": None} for row in parquet.read_table(output / "results.parquet").to_pylist()]


def kill_workers(output: Path, at: list[int], killed: list[int]) -> threading.Thread:
    """Kill the worker that began last when so many images are done."""

    def watch() -> None:
        for number in at:
            while sum("ended" in line for line in lines(output)) < number:
                time.sleep(0.02)
            newest = max((output / FOLDER).glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
            killed.append(int(newest.stem.split("-")[-2]))
            os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def run_table(root: Path, output: str, address: str, **more: Any) -> Any:
    places = {"boxes": root / "boxes", "bundle": root / "bundle", "address": address}
    return segment_table(root / "in", root / output, **places, **more)


def test_two_nodes_give_the_files_of_one_process_and_lost_workers_cost_nothing(
    root: Path, expected: dict[str, bytes], address: str
) -> None:
    seen: Counter[str] = Counter()
    calm = run_table(root, "calm", address, watch=lambda report, total: seen.update([report["image"], str(total)]))
    assert (calm.done, calm.skipped, calm.failed) == (COUNT - BAD, 0, BAD)
    assert label_maps(root / "calm") == expected
    assert seen.pop(str(COUNT)) == COUNT
    assert set(seen.values()) == {1}
    assert len(list((root / "calm" / FOLDER).glob("*.jsonl"))) == 2  # both workers have worked

    killed: list[int] = []
    thread = kill_workers(root / "killed", [100, 250], killed)
    lossy = run_table(root, "killed", address)
    thread.join(timeout=60)
    assert len(set(killed)) == 2
    assert (lossy.done, lossy.skipped, lossy.failed) == (COUNT - BAD, 0, BAD)
    assert label_maps(root / "killed") == expected
    ends = Counter(line["ended"] for line in lines(root / "killed") if "ended" in line)
    assert len(ends) == COUNT
    assert set(ends.values()) == {1}  # nothing doubled
    renamed = [{**row, "output": row["output"].replace("killed", "calm")} for row in table_of(root / "killed")]
    assert renamed == table_of(root / "calm")
    assert [row["error"] is None for row in renamed] == [False, False] + [True] * (COUNT - BAD)


def start(root: Path, output: str, address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "medsam_edge", "cluster", "segment", *arguments(root, output)]
    return subprocess.Popen(
        [*command, "--address", address, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def test_a_killed_driver_is_started_again(root: Path, expected: dict[str, bytes], address: str) -> None:
    first = start(root, "resumed", address)
    assert first.stdout is not None
    for _ in range(100):
        first.stdout.readline()
    first.kill()
    first.communicate()
    before = len(ended(root / "resumed"))
    assert 100 <= before < COUNT
    printed, _ = (second := start(root, "resumed", address)).communicate(timeout=300)
    assert second.returncode == 1
    total = json.loads(printed.splitlines()[-1])
    assert total["skipped"] >= before - BAD
    assert total["skipped"] + total["done"] == COUNT - BAD
    assert total["failed"] == BAD
    assert label_maps(root / "resumed") == expected
    assert all(len(row["scores"]) == 2 for row in table_of(root / "resumed") if row["error"] is None)


def test_every_kind_of_file(root: Path, address: str, tmp_path: Path) -> None:
    """A table with a volume, a challenge file and a DICOM series; nii.gz and SEG but for times and UIDs."""
    import numpy as np
    import pyarrow as pa
    import pydicom
    import SimpleITK as sitk

    from tests.docs_files import write_files

    files = write_files(tmp_path)
    cube = [[10.0, 12.0, 2.0, 40.0, 44.0, 7.0]]
    rows: list[tuple[str, Any, str]] = [
        ("scan.nii.gz", cube, "scan.nii.gz"),
        ("challenge/3DBox_CT_0001.npz", None, "deep/3d.npz"),
        ("series", cube, "series.dcm"),
        ("slice.png", [[10.0, 12.0, 40.0, 44.0]], "slice.png"),
    ]
    table = pa.table(
        {
            "image": [str(files / name) for name, _, _ in rows],
            "boxes": [boxes for _, boxes, _ in rows],
            "output": [output for _, _, output in rows],
        }
    )
    summary = segment_table(table, tmp_path / "out", bundle=root / "bundle", address=address, modality="CT")
    assert (summary.done, summary.failed) == (4, 0), table_of(tmp_path / "out")
    for name, boxes, output in rows:
        box = [] if boxes is None else ["--box", ",".join(map(str, boxes[0]))]
        one = tmp_path / "one" / output
        engine = ["--bundle", str(root / "bundle"), "--threads", "1", "--modality", "CT"]
        assert main(["segment", str(files / name), *box, "-o", str(one), *engine]) == 0
        made = tmp_path / "out" / output
        if output.endswith(".dcm"):
            assert (pydicom.dcmread(made).pixel_array == pydicom.dcmread(one).pixel_array).all()
        elif output.endswith(".gz"):
            np.testing.assert_array_equal(*(sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in (made, one)))
        else:
            assert made.read_bytes() == one.read_bytes()


def test_an_image_that_costs_its_workers_costs_itself_alone(root: Path, address: str, tmp_path: Path) -> None:
    """Reading a pipe waits for ever, long enough to be killed."""
    import pyarrow as pa

    os.mkfifo(tmp_path / "pipe.json")
    boxes = [str(root / "boxes" / f"{number:03}.json") for number in range(20)]
    boxes[5] = str(tmp_path / "pipe.json")
    images = [str(root / "in" / f"{number:03}.png") for number in range(2, 22)]
    output, bad = tmp_path / "out", str(tmp_path / "out" / "007.png")

    def kill() -> None:
        for times in range(1, LIVES + 1):
            begun = [file for file in (output / FOLDER).glob("*.jsonl") if bad in file.read_text(encoding="utf-8")]
            while len(begun) < times:
                time.sleep(0.02)
                begun = [file for file in (output / FOLDER).glob("*.jsonl") if bad in file.read_text(encoding="utf-8")]
            newest = max(begun, key=lambda file: file.stat().st_mtime_ns)
            os.kill(int(newest.stem.split("-")[-2]), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    boxes[0] = boxes[1] = boxes[2]  # the first has none
    summary = segment_table(
        pa.table({"image": images, "boxes": boxes}), output, bundle=root / "bundle", address=address
    )
    thread.join(timeout=60)
    assert (summary.done, summary.failed) == (19, 1)
    assert [row["error"] for row in table_of(output) if row["error"]] == [
        f"{LIVES} workers were lost on it, by a crash or for want of memory"
    ]
    assert len(label_maps(output)) == 19


def refused(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_what_is_wrong_with_all_of_it_is_raised(root: Path, address: str, tmp_path: Path) -> None:
    def run(**more: Any) -> Callable[[], Any]:
        given = {"boxes": root / "boxes", "bundle": root / "bundle", "address": address} | more
        return lambda: segment_table(root / "in", tmp_path / "none", **given)

    refused(run(colour="red"), InputError, "options: expected those of `medsam-edge segment`, got colour")
    refused(run(workers="many"), InputError, "--workers: expected auto or a positive number, got 'many'")
    refused(run(threads=0), InputError, "threads: expected a positive number")
    refused(run(bundle=root), MedsamEdgeError, "bundle")
    assert not (tmp_path / "none").exists()
    refused(run(device="NONE"), MedsamEdgeError, "OpenVINO cannot compile it for NONE")  # said by the workers
    assert run(workers=1, bundle=root / "bundle", modality="US")().done == COUNT - BAD
    refused(run(modality="CT"), InputError, r"were made with modality US \(now CT\)")
