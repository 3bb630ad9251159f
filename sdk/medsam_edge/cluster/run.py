"""Rows to a pool of actors, what they report to a table. Ray Data moves paths and reports only."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsam_edge.cli.folder import keep_record
from medsam_edge.cli.main import add_engine_options, add_options
from medsam_edge.cli.segment import Choices, Job, choices_of
from medsam_edge.cluster.journal import ended
from medsam_edge.cluster.rows import Row, rows_of
from medsam_edge.cluster.worker import Worker
from medsam_edge.errors import InputError, MedsamEdgeError
from medsam_edge.networks.bundle import load_bundle, packaged_bundle
from medsam_edge.writing.whole import writing_whole

TABLE = "results.parquet"
BATCH = 16
"""Images that are sent to a worker at once, at most."""
STORE_BYTES = 1 << 27
"""Of Ray's own memory on this machine, where it is started for the job: it holds paths and reports."""

STARTS = 3
"""Tries to start Ray on this machine: it gives up after half a minute, which a busy machine may need."""
PLACES = ("boxes", "overlay", "bundle", "cache_dir")
"""Options that are paths."""

Watch = Callable[[dict[str, Any], int], None]
"""Takes the report on an image, and the number of images in all."""


@dataclass(frozen=True)
class Summary:
    """What came of a job.

    Attributes:
        done, skipped, failed: numbers of images; skipped are those that an earlier run has done.
        seconds: of this run.
        table: path of a parquet file with one row for each image, in the order of the rows.
    """

    done: int
    skipped: int
    failed: int
    seconds: float
    table: Path


def new_parser(prog: str) -> argparse.ArgumentParser:
    """The options of `medsam-edge cluster segment`: those of `segment`, and where the work is done."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Segment images on one machine or several, by Ray. The image is a folder of them or a table: a "
        ".parquet or .csv file with a column image, and boxes, modality and output. --workers is auto if not given, "
        "--threads is 1.",
    )
    add_options(parser)
    add_engine_options(parser)
    add = parser.add_argument_group("cluster").add_argument
    add(
        "--address",
        metavar="ADDRESS",
        help="of a running Ray cluster, or auto; default: Ray is started on this machine",
    )
    parser.set_defaults(workers="auto", threads=1)
    return parser


def segment_table(
    table: Any,
    output: str | os.PathLike[str],
    *,
    address: str | None = None,
    workers: int | str = "auto",
    threads: int = 1,
    watch: Watch | None = None,
    **options: Any,
) -> Summary:
    """Segment all images of a table on a Ray cluster; what an earlier run has done is kept.

    Args:
        table: path of a .parquet or .csv file, a pyarrow table, or path of a folder of images. Columns: image, a path
            (relative to the table) or an address for fsspec; boxes, a file of them, or rows of numbers (in .csv as
            JSON), none for those that the image carries; modality; output, a path below the output folder. All but
            image may be missing or empty.
        output: folder of the label maps, which all machines share.
        address: of a running cluster; None takes RAY_ADDRESS, or starts Ray on this machine and stops it at the end.
        workers: actors; `auto` for as many as the cluster has cores for.
        threads: of each.
        watch: called when an image is done with the report on it, a dict as `medsam-edge segment --json` prints it, and
            the number of images.
        options: of `medsam-edge segment` by their names with underscores: boxes, modality, overlay, format, bundle, …

    Returns:
        Numbers, and the path of results.parquet in the output folder: image, output, error, modality, scores, pixels
        (voxels of volumes) and timings_ms of each image. An image that fails stops nothing.

    Raises:
        InputError, FileMissingError: what is wrong with all of it; an unknown option; ray is not installed.
        MedsamEdgeError: the cluster failed.
    """
    source = Path(table) if isinstance(table, str | os.PathLike) else table
    parsed = vars(new_parser("segment_table").parse_args(["TABLE", "-o", os.fspath(output)]))
    if unknown := options.keys() - parsed.keys():
        raise InputError(f"options: expected those of `medsam-edge segment`, got {', '.join(sorted(unknown))}")
    given = {name: Path(value) if name in PLACES and value else value for name, value in options.items()}
    chosen = {"image": source, "address": address, "workers": str(workers), "threads": threads}
    return segment_rows(argparse.Namespace(**parsed | given | chosen), watch)


def segment_rows(options: argparse.Namespace, watch: Watch | None = None) -> Summary:
    """`segment_table` with the options of the command."""
    _check_installed()
    _check_workers(options)
    started, run = time.perf_counter(), f"{time.time_ns():020d}"
    options = _absolute(options)
    choices, rows = choices_of(options), rows_of(options)
    jobs = [row.job(options) for row in rows]
    keep_record(options, choices, load_bundle(options.bundle or packaged_bundle()).identity, jobs)
    before = {} if options.overwrite else _kept(options.output, rows, jobs)
    left = [row for row in rows if row.output not in before]
    for row in rows:
        if row.output in before and watch:
            watch({"image": row.image, "output": row.output, "skipped": True}, len(rows))
    if left:
        with _cluster(options.address):
            for text in _reports(left, run, choices, options):
                if watch:
                    watch(json.loads(text), len(rows))
    silent = {row.output: {"error": "no worker has reported on it"} for row in left}
    reports = before | silent | ended(options.output, run)
    table = options.output / TABLE
    _write(table, rows, reports)
    counts = Counter("failed" if "error" in reports[row.output] else "done" for row in left)
    return Summary(counts["done"], len(before), counts["failed"], time.perf_counter() - started, table)


def _check_installed() -> None:
    try:
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"cluster needs {error.name}, which is not installed: pip install 'medsam-edge[ray]', or '.[ray]' in a "
            "copy of the repository"
        ) from error


def _absolute(options: argparse.Namespace) -> argparse.Namespace:
    """Workers have another working directory."""
    return argparse.Namespace(
        **{name: value.absolute() if isinstance(value, Path) else value for name, value in vars(options).items()}
    )


def _kept(output: Path, rows: Iterable[Row], jobs: Iterable[Job]) -> dict[str, dict[str, Any]]:
    """Reports of earlier runs on the images whose files exist."""
    known = {key: report for key, report in ended(output).items() if "error" not in report}
    return {
        row.output: known[row.output]
        for row, job in zip(rows, jobs, strict=True)
        if row.output in known and all(file.exists() for file in job.files)
    }


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Ray at an address, or on this machine for as long as the block takes."""
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its complaints of lost workers: they are begun again
        quiet |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    for left in reversed(range(1 if address else STARTS)):
        try:
            ray.init(address or "local", **quiet)
            break
        except Exception as error:  # many kinds; a plain Exception where a busy machine was too slow
            if not left:
                raise MedsamEdgeError(f"--address: cannot use {address or 'this machine'}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _reports(rows: Sequence[Row], run: str, choices: Choices, options: argparse.Namespace) -> Iterator[str]:
    """What the workers say of each row, as JSON, as they say it. A lost worker is begun again, and so is its batch."""
    import ray

    workers = _workers(options, len(rows))
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    size = max(1, min(BATCH, len(rows) // (4 * workers)))
    items = [{"row": json.dumps(asdict(row))} for row in rows]
    batches = ray.data.from_items(items, override_num_blocks=-(-len(rows) // size))
    sent = argparse.Namespace(**vars(options) | {"image": options.image if isinstance(options.image, Path) else None})
    pool = ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2)
    done = batches.map_batches(
        Worker,
        fn_constructor_args=(sent, choices, run),
        batch_size=None,
        compute=pool,
        num_cpus=options.threads,
    )
    try:
        for row in done.iter_rows():
            yield row["report"]
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise MedsamEdgeError(f"cluster: {reason}; the same command goes on with what is left") from error


def _check_workers(options: argparse.Namespace) -> None:
    if options.threads < 1:
        raise InputError(f"--threads: expected a positive number, got {options.threads}")
    if options.workers != "auto" and not re.fullmatch(r"[1-9]\d{0,5}", options.workers, re.ASCII):
        raise InputError(f"--workers: expected auto or a positive number, got {options.workers!r}")


def _workers(options: argparse.Namespace, rows: int) -> int:
    import ray

    if options.workers != "auto":
        return int(options.workers)
    cores: float = ray.cluster_resources().get("CPU", 0)  # type: ignore[no-untyped-call]
    return max(1, min(int(cores / options.threads), rows))


def _write(file: Path, rows: Sequence[Row], reports: dict[str, dict[str, Any]]) -> None:
    """One row for each image, in their order."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = [_columns(row, reports[row.output]) for row in rows]
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("image", "output", "error", "modality")),
            ("scores", pa.list_(pa.float64())),
            ("pixels", pa.list_(pa.int64())),
            ("timings_ms", pa.map_(pa.string(), pa.float64())),
        ]
    )
    with writing_whole(file) as partial:
        parquet.write_table(pa.Table.from_pylist(columns, schema), partial)


def _columns(row: Row, report: dict[str, Any]) -> dict[str, Any]:
    objects = report.get("objects", [])
    return {
        "image": row.image,
        "output": row.output,
        "error": report.get("error"),
        "modality": report.get("modality"),
        "scores": [item["score"] for item in objects],
        "pixels": [item.get("pixels", item.get("voxels")) for item in objects],
        "timings_ms": list(report.get("timings_ms", {}).items()),
    }
