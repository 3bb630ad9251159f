"""The `medsam-edge` command. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done, 1 the work failed, 2 wrong usage, bad input or an output that cannot be written. The library raises
errors; only this file turns them into exit codes.
"""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import get_args

import cv2

from medsam_edge.cli.demo import show_demo
from medsam_edge.cli.folder import is_batch, segment_folder
from medsam_edge.cli.info import show_info
from medsam_edge.cli.output import show_error, show_warning
from medsam_edge.cli.segment import segment_file
from medsam_edge.errors import FileMissingError, InputError, MedsamEdgeError
from medsam_edge.intensity import WINDOWS
from medsam_edge.modality import Modality
from medsam_edge.settings import AxisName, BoxFormat, BoxSpace, Clean, Compat, Detail, Overlap
from medsam_edge.version import __version__

EXTENSIONS = {
    "train": "train a network on images and masks",
    "convert": "turn a checkpoint into a model bundle",
    "bench": "measure latency and accuracy",
    "cluster": "segment many images on one machine or several, by Ray",
    "serve": "segment from a page in the browser, from programs or from viewers",
}
EXTRAS = {"bench": "benchmarks", "cluster": "ray", "serve": "server"}
EPILOG = """\
examples:
  medsam-edge segment image.png --box 30,40,120,160 --modality US -o mask.png --overlay overlay.png
  medsam-edge segment ct.nii.gz --box 30,40,12,120,160,31 --modality CT --window lung -o mask.nii.gz
  medsam-edge segment images --boxes boxes -o masks --overlay overlays   # boxes/NAME.json for images/NAME.png
  medsam-edge segment challenge -o segs --compat rep-medsam              # npz with their own boxes

Boxes are in pixels: pixel j covers j to j+1, far edges are exclusive. A folder that holds a DICOM series and no other
file is one image. In a folder, images with an existing label map are skipped. Exit codes: 0 done, 1 the work failed,
even for a single image of a folder, 2 wrong usage, bad input, or an output that cannot be written.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for file names that the terminal cannot show
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the one error of the command says it
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in EXTENSIONS:
        return guarded(partial(_extension, arguments[0]), arguments[1:])
    return guarded(run, arguments)


def guarded(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a command and return its exit code; an error becomes one line on stderr."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            return command(arguments)
    except MedsamEdgeError as error:
        show_error(error)
        return 2 if isinstance(error, (InputError, FileMissingError)) else 1
    except (OSError, MemoryError) as error:
        show_error(error)
        return 1
    except KeyboardInterrupt:
        print("medsam-edge: interrupted", file=sys.stderr)
        return 130
    except SystemExit as leaving:  # argparse: 0 after --help, 2 after wrong usage
        return leaving.code if isinstance(leaving.code, int) else 2


def run(argv: list[str]) -> int:
    """Run `demo`, `segment` or `info` and return the exit code."""
    options = _parser().parse_args(argv)
    return int(options.handler(options))


def _extension(name: str, argv: list[str]) -> int:
    """Run a command of `EXTENSIONS`. It is loaded only now; if that fails, the extra to install is named."""
    extra, missing = EXTRAS.get(name, name), "medsam-edge"
    try:
        for entry in entry_points(group="medsam_edge.commands", name=name):
            return int(entry.load()(argv))
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
    how = f"pip install 'medsam-edge[{extra}]', or '.[{extra}]' in a copy of the repository"
    show_error(f"{name} needs {missing}, which is not installed: {how}")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medsam-edge", description="Segment medical images on a CPU from box prompts."
    )
    parser.add_argument("--version", action="version", version=f"medsam-edge {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="segment synthetic images of every modality and draw the result")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    demo.set_defaults(handler=show_demo)

    segment = commands.add_parser(
        "segment",
        help="segment an image, a volume or a folder of them from boxes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    add_options(segment)
    segment.set_defaults(handler=_segment)

    info = commands.add_parser("info", help="versions, devices, CPU features and the model")
    info.add_argument("--json", action="store_true", help="print as JSON")
    info.set_defaults(handler=show_info)

    for command in (demo, segment, info):
        add_engine_options(command)
    for name, text in EXTENSIONS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _segment(options: argparse.Namespace) -> int:
    return segment_folder(options) if is_batch(options) else segment_file(options)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that loads a model."""
    add = parser.add_argument
    add("--bundle", type=Path, metavar="DIR", help="model bundle; default: the packaged one")
    add("--device", default="CPU", help="OpenVINO device; default: CPU")
    add("--threads", type=int, metavar="N", help="CPU threads; default: OpenVINO's choice")
    add("--cache-dir", type=Path, metavar="DIR", help="keep compiled models here: faster starts")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `segment`, but for those of its model."""
    parser.add_argument(
        "image",
        type=Path,
        help="png jpg tif bmp dcm, nii nrrd mha (also volumes), challenge npz, a DICOM series, or a folder of these",
    )
    parser.add_argument("--series", metavar="UID", help="the series that is meant, where a folder has several")
    add = parser.add_argument_group("prompts").add_argument
    add(
        "--box",
        action="append",
        default=[],
        metavar="x0,y0,x1,y1",
        help="pixels; x0,y0,z0,x1,y1,z1 in a volume; repeat",
    )
    add(
        "--boxes",
        type=Path,
        metavar="FILE",
        help=".json ([[x0,y0,x1,y1], …], COCO, LabelMe, …) or .csv (x0,y0,x1,y1, or with a header); for a folder, the "
        "folder of NAME.json or NAME.csv; default: the boxes of a challenge npz",
    )
    add(
        "--box-format",
        choices=get_args(BoxFormat),
        help="numbers of --box, and of --boxes where the file does not say; default: xyxy, corners",
    )
    add("--box-space", choices=get_args(BoxSpace), help="unit of --box and --boxes, not of npz boxes; default: pixel")
    names = ", ".join(modality.value for modality in Modality)
    add("--modality", metavar="NAME", help=f"{names}; default: from the file or its challenge name, else recognised")
    add("--window", metavar="LEVEL,WIDTH", help=f"CT window in HU, or {', '.join(WINDOWS)}; default 40,400")

    add = parser.add_argument_group("output").add_argument
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="label map: png tif npz nii nrrd mha, dcm (DICOM SEG of DICOM images); a folder for a folder",
    )
    add(
        "--overlay",
        type=Path,
        metavar="PATH",
        help="also draw the masks, for a volume on its middle slices: a png; a folder for a folder",
    )
    add("--labels", metavar="NAMES", help="names of the objects in a DICOM SEG, as liver,tumor")
    add("--binary", action="store_true", help="write all objects as one: 255 in pictures, 1 elsewhere")
    add("--format", metavar="SUFFIX", help="format of a folder's label maps; default: the image's, png for pictures")
    add("--overwrite", action="store_true", help="also segment a folder's images whose label maps exist")
    add("--overlap", choices=get_args(Overlap), default="later", help="owner of a shared pixel; default: later")
    add(
        "--detail",
        choices=get_args(Detail),
        default="auto",
        help="where a small box is segmented: image: in the whole image; auto: in a tile around it if the whole image "
        "shows too little of it; crop: enlarged in a tile around it, slower, better for exact boxes; default: auto",
    )
    add(
        "--point",
        action="append",
        default=[],
        metavar="x,y[,z][,label]",
        help="a click on the object (label 1, the default) or on the background (0), with one box or none; repeatable",
    )
    add("--prior", type=Path, metavar="FILE", help="label map to start from: value i is the object of box i")
    add(
        "--reduced-jpeg",
        action="store_true",
        help="decode a large jpg at a fraction of its size, which is faster, unless a box needs a tile",
    )
    add(
        "--clean",
        choices=get_args(Clean),
        default="none",
        help="largest: of each mask the largest piece, holes filled; box: also nothing outside the box; default: none",
    )
    add("--no-exif-rotation", action="store_true", help="take a jpg as it is stored, not turned as its EXIF says")
    add("--json", action="store_true", help="print JSON; for a folder one line per image, then the totals")

    add = parser.add_argument_group("folders").add_argument
    add("--workers", default="1", metavar="N|auto", help="processes; auto: as cores and memory allow; default: 1")
    add("--part", metavar="I/N", help="only part I of N, I from 1: for job arrays; all parts together are the whole")

    add = parser.add_argument_group("volumes").add_argument
    add(
        "--axis",
        choices=get_args(AxisName),
        default="axial",
        help="axis of a volume's slices; all: along each, masks are what two of three agree on; default: axial",
    )
    add("--streams", type=int, default=1, metavar="N", help="threads that encode slices ahead; default: 1")
    add("--follow", action="store_true", help="boxes lie on one slice; find the whole objects")
    add("--stop-when-empty", action="store_true", help="end an object at its first slice without a mask")
    add(
        "--compat",
        choices=get_args(Compat),
        help="exactly the published scripts' rules; z1 of a box is then its last slice, as in challenge files",
    )
