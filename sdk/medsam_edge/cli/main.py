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
from importlib.metadata import entry_points
from pathlib import Path

from medsam_edge.cli.folder import is_batch, segment_folder
from medsam_edge.cli.info import show_info
from medsam_edge.cli.options import add_options
from medsam_edge.cli.output import show_error, show_warning, table
from medsam_edge.cli.segment import make_segmenter, segment_file
from medsam_edge.errors import FileMissingError, InputError, MedsamEdgeError
from medsam_edge.version import __version__

EXTENSIONS = {
    "train": "train a network on images and masks",
    "convert": "turn a checkpoint into a model bundle",
    "bench": "measure latency and accuracy",
}
EXTRAS = {"train": "train", "convert": "convert", "bench": "benchmarks"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for file names that the terminal cannot show
    arguments = list(sys.argv[1:] if argv is None else argv)
    command: Callable[[list[str]], int] = run
    if arguments and arguments[0] in EXTENSIONS:
        command, arguments = _extension(arguments[0]), arguments[1:]
    return guarded(command, arguments)


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
    handler: Callable[[argparse.Namespace], int] = options.handler
    return handler(options)


def _extension(name: str) -> Callable[[list[str]], int]:
    """Return `train`, `convert` or `bench`. It is loaded when it runs, and names the extra to install if that fails."""

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
    parser.add_argument("--version", action="version", version=f"medsam-edge {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="segment synthetic images of every modality and draw the result")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    demo.set_defaults(handler=_demo)

    segment = commands.add_parser("segment", help="segment an image, a volume or a folder of them from boxes")
    add_options(segment)
    segment.set_defaults(handler=_segment)

    info = commands.add_parser("info", help="versions, devices, CPU features and the model")
    info.add_argument("--json", action="store_true", help="print as JSON")
    info.set_defaults(handler=show_info)

    for command in (demo, segment, info):
        command.add_argument("--bundle", type=Path, metavar="DIR", help="model bundle; default: the packaged one")
        command.add_argument("--device", default="CPU", help="OpenVINO device; default: CPU")
        command.add_argument("--threads", type=int, metavar="N", help="CPU threads; default: OpenVINO's choice")
        command.add_argument("--cache-dir", type=Path, metavar="DIR", help="keep compiled models here: faster starts")
    for name, text in EXTENSIONS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _segment(options: argparse.Namespace) -> int:
    return segment_folder(options) if is_batch(options) else segment_file(options)


def _demo(options: argparse.Namespace) -> int:
    from medsam_edge.cli.demo import run_demo

    rows = run_demo(make_segmenter(options), options.output)
    print(table(rows))
    print(f"{options.output / 'overlay.png'} and {len(rows) - 1} masks; synthetic images with known truth, times in ms")
    return 0
