"""The `medsam-edge` command. stdout carries results, stderr progress and errors.

Exit codes: 0 done, 1 the work failed, 2 wrong usage or bad input. The library raises; only this file exits.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

import medsam_edge
from medsam_edge.bundle import packaged_bundle
from medsam_edge.errors import BoxError, FileMissingError, InputError, MedsamEdgeError
from medsam_edge.geometry import are_volume_boxes
from medsam_edge.io import check_picture_suffix, label_writer, read_image, write_picture
from medsam_edge.modality import Modality
from medsam_edge.result import Segmentation, VolumeSegmentation
from medsam_edge.segmenter import Segmenter
from medsam_edge.volume import AXES

EXTENSIONS = {
    "train": "train a network on images and masks",
    "convert": "turn a checkpoint into a model bundle",
    "bench": "measure latency and accuracy",
}
EXTRAS = {"train": "train", "convert": "convert", "bench": "benchmarks"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command: Callable[[list[str]], int] = run
    if arguments and arguments[0] in EXTENSIONS:
        command, arguments = _extension(arguments[0]), arguments[1:]
    return guarded(command, arguments)


def guarded(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a command with its errors as one line on stderr and its exit code as a value."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return command(arguments)
    except MedsamEdgeError as error:
        print(f"medsam-edge: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, (InputError, FileMissingError)) else 1
    except OSError as error:
        print(f"medsam-edge: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("medsam-edge: interrupted", file=sys.stderr)
        return 130
    except SystemExit as leaving:  # argparse: 0 after --help, 2 after wrong usage
        return leaving.code if isinstance(leaving.code, int) else 2


def run(argv: list[str]) -> int:
    options = _parser().parse_args(argv)
    handler: Callable[[argparse.Namespace], int] = options.handler
    return handler(options)


def _extension(name: str) -> Callable[[list[str]], int]:
    """`train`, `convert` or `bench`, found when it runs; what it lacks is named with the extra that brings it."""

    def command(argv: list[str]) -> int:
        try:
            for entry in entry_points(group="medsam_edge.commands", name=name):
                return int(entry.load()(argv))
            missing = EXTRAS[name]
        except ModuleNotFoundError as error:
            missing = error.name or str(error)
        install = f"pip install 'medsam-edge[{EXTRAS[name]}]'"
        print(f"medsam-edge: error: {name} needs {missing}, which is not installed: {install}", file=sys.stderr)
        return 2

    return command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medsam-edge", description="Segment medical images on a CPU from box prompts."
    )
    parser.add_argument("--version", action="version", version=f"medsam-edge {medsam_edge.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="segment synthetic images of every modality and draw the result")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    demo.set_defaults(handler=_demo)

    segment = commands.add_parser("segment", help="segment an image or a volume from boxes")
    segment.add_argument("image", type=Path, help="png jpg tif bmp dcm, nii nrrd mha (also volumes), or challenge npz")
    segment.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="x0,y0,x1,y1",
        help="pixels; x0,y0,z0,x1,y1,z1 in a volume; repeat",
    )
    segment.add_argument("--boxes", type=Path, metavar="FILE", help=".json ([[x0,y0,x1,y1], …]) or .csv (x0,y0,x1,y1)")
    names = ", ".join(modality.value for modality in Modality)
    segment.add_argument("--modality", metavar="NAME", help=f"{names}; default: as the file says, or as recognised")
    segment.add_argument("--window", metavar="LEVEL,WIDTH", help="CT window in HU; default 40,400")
    segment.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="label map: png tif npz nii nrrd mha"
    )
    segment.add_argument("--overlay", type=Path, metavar="PNG", help="also draw the masks, on a volume's middle slices")
    segment.add_argument("--axis", choices=AXES, default="axial", help="of a volume's slices")
    segment.add_argument("--overlap", choices=("later", "score"), default="later", help="who owns a shared pixel")
    segment.add_argument("--json", action="store_true", help="print the result as JSON")
    segment.set_defaults(handler=_segment)

    info = commands.add_parser("info", help="versions, devices, CPU features and the model")
    info.add_argument("--json", action="store_true", help="print as JSON")
    info.set_defaults(handler=_info)

    for command in (demo, segment, info):
        command.add_argument("--bundle", type=Path, metavar="DIR", help="model bundle; default: the packaged one")
        command.add_argument("--device", default="CPU", help="OpenVINO device; default: CPU")
        command.add_argument("--threads", type=int, metavar="N", help="CPU threads; default: OpenVINO's choice")
        command.add_argument("--cache-dir", type=Path, metavar="DIR", help="keep compiled models here: faster starts")
    for name, text in EXTENSIONS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _segmenter(options: argparse.Namespace) -> Segmenter:
    return Segmenter(options.bundle, device=options.device, num_threads=options.threads, cache_dir=options.cache_dir)


def _segment(options: argparse.Namespace) -> int:
    boxes = _boxes(options)
    window = _numbers("--window", options.window, 2) if options.window else None
    Modality.parse(options.modality)
    if boxes is None and not options.image.name.lower().endswith(".npz"):
        raise BoxError("boxes: expected --box x0,y0,x1,y1 or --boxes FILE")
    if boxes is None:
        boxes = read_image(options.image).boxes
        if boxes is None:
            raise BoxError(f"boxes: {options.image} carries none; give --box x0,y0,x1,y1 or --boxes FILE")
    label_writer(options.output, 3 if are_volume_boxes(boxes) else 2)
    if options.overlay:
        check_picture_suffix(options.overlay)
    result = _segmenter(options).segment(
        options.image,
        boxes,
        options.modality,
        window=(window[0], window[1]) if window else None,
        overlap=options.overlap,
        axis=options.axis,
        progress=_show_progress if sys.stderr.isatty() else None,
    )
    result.save(options.output)
    if options.overlay:
        write_picture(options.overlay, _overlay(result))
    print(json.dumps(_as_json(result, options.output)) if options.json else _as_table(result, options.output))
    return 0


def _overlay(result: Segmentation | VolumeSegmentation) -> npt.NDArray[np.uint8]:
    if isinstance(result, Segmentation) or not len(result):
        return result.overlay()
    from medsam_edge.demo import contact_sheet

    return contact_sheet([result.overlay(z) for z in sorted(set(result.middles))])


def _boxes(options: argparse.Namespace) -> npt.NDArray[np.float64] | None:
    """Boxes from --box and --boxes; None when neither is given."""
    rows = [_numbers("--box", text, 4, 6) for text in options.box]
    if options.boxes is not None:
        rows += _read_boxes(options.boxes)
    elif not options.box:
        return None
    columns = len(rows[0]) if rows else 4
    for number, row in enumerate(rows):
        if len(row) != columns:
            raise BoxError(f"boxes: expected {columns} numbers, as in the first box, box {number} has {len(row)}")
    return np.asarray(rows, dtype=np.float64).reshape(-1, columns)


def _read_boxes(path: Path) -> list[list[float]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BoxError(f"--boxes: cannot read {path}: {error}") from error
    try:
        rows = json.loads(text) if path.suffix.lower() == ".json" else _csv_rows(text)
        numbers = [[float(value) for value in row] for row in rows]
    except (TypeError, ValueError) as error:
        raise BoxError(f"--boxes: expected rows of four or six numbers in {path}: {error}") from error
    for number, row in enumerate(numbers):
        if len(row) not in (4, 6):
            raise BoxError(f"--boxes: expected four or six numbers a row in {path}, row {number} has {len(row)}")
    return numbers


def _csv_rows(text: str) -> list[list[str]]:
    """The rows of a CSV, without a header line if there is one."""
    rows = [row for row in csv.reader(text.splitlines()) if row]
    has_header = bool(rows) and any(cell.strip().isidentifier() and cell.strip().lower() != "nan" for cell in rows[0])
    return rows[1:] if has_header else rows


def _numbers(option: str, text: str, *counts: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts:
        expected = " or ".join(map(str, counts))
        raise InputError(f"{option}: expected {expected} numbers separated by commas, got {text!r}")
    return numbers


def _as_json(result: Segmentation | VolumeSegmentation, output: Path) -> dict[str, Any]:
    return {
        "output": str(output),
        "modality": result.modality and result.modality.value,
        "modality_confidence": result.modality_confidence and round(result.modality_confidence, 4),
        "objects": [
            {"label": index + 1, "box": box.tolist(), "score": round(float(score), 4), **_size(result, index)}
            for index, (box, score) in enumerate(zip(result.boxes, result.scores, strict=True))
        ],
        "timings_ms": {stage: round(ms, 2) for stage, ms in result.timings_ms.items()},
    }


def _size(result: Segmentation | VolumeSegmentation, index: int) -> dict[str, Any]:
    if isinstance(result, Segmentation):
        return {"pixels": int(result.masks[index].pixels.sum())}
    scores = result.slice_scores[index]
    return {
        "voxels": sum(int(mask.pixels.sum()) for mask in result.masks[index].values()),
        "slice_scores": {str(z): round(float(scores[z]), 4) for z in sorted(result.masks[index])},
    }


def _as_table(result: Segmentation | VolumeSegmentation, output: Path) -> str:
    unit, corners = ("voxels", "x0, y0, z0, x1, y1, z1") if result.boxes.shape[1] == 6 else ("pixels", "x0, y0, x1, y1")
    rows = [("label", f"box ({corners})", "score", unit)]
    for item in _as_json(result, output)["objects"]:
        box = ", ".join(f"{value:g}" for value in item["box"])
        rows.append((str(item["label"]), box, f"{item['score']:.2f}", str(item[unit])))
    stages = ", ".join(f"{stage} {ms:.0f}" for stage, ms in result.timings_ms.items())
    confidence = result.modality_confidence
    recognized = "" if confidence is None else f"\nrecognised as {result.modality} ({confidence:.0%})"
    return f"{_table(rows)}{recognized}\n{output}  (ms: {stages})"


def _demo(options: argparse.Namespace) -> int:
    from medsam_edge.demo import run_demo

    rows = run_demo(_segmenter(options), options.output)
    print(_table(rows))
    print(f"{options.output / 'overlay.png'} and {len(rows) - 1} masks; synthetic images with known truth, times in ms")
    return 0


def _info(options: argparse.Namespace) -> int:
    from medsam_edge import engine

    model = _segmenter(options).model
    if model.bundle is None:
        raise InputError("bundle: expected a model from a folder")
    manifest = model.bundle.manifest
    facts: dict[str, Any] = {
        "medsam-edge": medsam_edge.__version__,
        "python": platform.python_version(),
        "openvino": engine.version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
        "cpu features": cpu_features(),
        "devices": engine.devices(),
        "model": str(model.bundle.path),
        "packaged": model.bundle.path == packaged_bundle(),
        "architecture": manifest.architecture,
        "image size": manifest.image_size,
        "class prompts": list(manifest.classes),
        "weights": {"encoder": manifest.encoder_precision, "decoder": manifest.decoder_precision},
        "floating point": {"encoder": model.encoder.effective_precision, "decoder": model.decoder.effective_precision},
        "compiled models": str(options.cache_dir) if options.cache_dir else "not kept (--cache-dir)",
    }
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        print("\n".join(f"{name:16} {_plain(value)}" for name, value in facts.items()))
    return 0


def cpu_features() -> list[str]:
    """The vector extensions that decide inference speed, of those the operating system reports (Linux)."""
    wanted = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "asimddp")
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    line = next((row for row in text.splitlines() if row.lower().startswith(("flags", "features"))), "")
    return [flag for flag in wanted if flag in line.split()]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {item}" for name, item in value.items())
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first, *(cell.strip().rjust(len(cell)) for cell in others)]))
    return "\n".join(lines)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"medsam-edge: warning: {message}", file=sys.stderr)


def _show_progress(done: int, total: int) -> None:
    print(f"{done} of {total} slices", end="\n" if done == total else "\r", file=sys.stderr, flush=True)
