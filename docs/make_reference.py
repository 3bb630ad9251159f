"""Writes reference.md from the docstrings and from the commands' parsers: `make docs`.

The text is laid out here and not by argparse, whose layout differs between versions of Python.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from enum import EnumMeta
from functools import cached_property
from pathlib import Path
from typing import Any, get_args, get_origin
from unittest import mock

from cyclopts import App
from cyclopts.argument import Argument

import medsam_edge
from medsam_edge import errors
from medsam_edge.cli import main as cli
from medsam_edge_train.options import DEFAULT_PARAMETER

PAGE = Path(__file__).with_name("reference.md")
WIDTH = 100
HEAD = """\
# Reference

Made from the docstrings by `make docs`; a test compares the two.
First [Python](#python), then the [command line](#command-line).

## Python

Public is what `medsam_edge` itself names. `phantom` and `phantom_volume` of `medsam_edge.phantom` draw test images.
"""


def reference() -> str:
    """The whole page."""
    public = [getattr(medsam_edge, name) for name in medsam_edge.__all__ if not name.startswith("_")]
    objects = [item for item in public if not _is_error(item)]
    parts = [HEAD, *(part for item in objects for part in _object(item))]
    parts += ["### Errors\n", _fence(inspect.getdoc(errors) or "")]
    parts += ["## Command line\n", _fence(inspect.getdoc(cli) or "")]
    parts += commands()
    return "\n".join(parts)


def _object(item: Any) -> Iterator[str]:
    """A function; or a class with its public members, in the order of their names."""
    yield f"### {item.__name__}\n"
    received_only = is_dataclass(item) or isinstance(item, EnumMeta)
    if not received_only:
        yield _fence(_signature(item.__name__, item), "python")
    values = " ".join(item) if isinstance(item, EnumMeta) else ""
    yield _fence((inspect.getdoc(item) or "") + (f"\n\nvalues: {values}" if values else ""))
    for member, value in _members(item) if isinstance(item, type) else ():
        yield f"#### {item.__name__}.{member}\n"
        if inspect.isfunction(value):
            yield _fence(_signature(member, value), "python")
        yield _fence(inspect.getdoc(value) or "")


def _members(owner: type) -> Iterator[tuple[str, object]]:
    """Methods and properties of a class, from it and from its bases of ours."""
    ours = [base for base in owner.__mro__ if base.__module__.startswith("medsam_edge")]
    for name in sorted({name for base in ours for name in vars(base) if not name.startswith("_")}):
        value = inspect.getattr_static(owner, name)
        value = getattr(value, "__func__", value)  # of a class method
        if inspect.isfunction(value) or isinstance(value, property | cached_property):
            yield name, value


def _is_error(item: object) -> bool:
    return isinstance(item, type) and issubclass(item, Exception)


def _signature(name: str, item: object) -> str:
    """One parameter a line where one line is too short for all."""
    signature = inspect.signature(item)  # type: ignore[arg-type]
    rows: list[str] = []
    for key, parameter in signature.parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in rows:
            rows.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        rows += [] if key in ("self", "cls") else [f"{key}: {parameter.annotation}{default}"]
    returned = signature.return_annotation
    arrow = "" if returned in (signature.empty, None, "None") else f" -> {getattr(returned, '__name__', returned)}"
    line = f"{name}({', '.join(rows)}){arrow}"
    return line if len(line) <= WIDTH else "\n".join([f"{name}(", *(f"    {row}," for row in rows), f"){arrow}"])


def commands() -> Iterator[str]:
    """What every command says of itself, and of what it has below it."""
    for name, parser in _below(parser_of([])).items():
        if name not in cli.EXTENSIONS:
            yield _command(parser)
    yield from _sub_commands("train")
    yield _app_command(parser_of(["convert"]), "medsam-edge convert")
    yield from _sub_commands("bench")
    yield _command(parser_of(["cluster", "segment"]))


class _FoundError(Exception):
    def __init__(self, parser: Any) -> None:
        self.parser = parser


def parser_of(arguments: list[str]) -> Any:
    """The parser to which the command hands its arguments: argparse's, or an app of cyclopts."""

    def found(parser: Any, *_: object) -> None:
        raise _FoundError(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", found), mock.patch.object(App, "__call__", found):
        try:
            cli.main(arguments)
        except _FoundError as caught:
            return caught.parser
    raise RuntimeError(f"medsam-edge {' '.join(arguments)} did not come to parse its options")


def _below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Sub-commands by name."""
    return {
        name: command
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, command in action.choices.items()
    }


def _sub_commands(command: str) -> Iterator[str]:
    for name in parser_of([command, "--help"]):
        if not name.startswith("-"):  # the options of one are known when it is asked for
            yield _app_command(parser_of([command, name])[name], f"medsam-edge {command} {name}")


def _app_command(command: App, prog: str) -> str:
    found = command.assemble_argument_collection(default_parameter=DEFAULT_PARAMETER, parse_docstring=True)
    arguments = [argument for argument in found if argument.show]
    placed = [argument.name.lstrip("-") for argument in arguments if argument.index is not None]
    rows = [" ".join([prog, "[options]", *placed]), command.help or ""]
    for argument in arguments:
        default, text = argument.field_info.default, " ".join((argument.parameter.help or "").split())
        if argument.index is None and argument.required:
            text += " (required)"
        elif default not in (None, (), "", argument.field_info.empty) and default is not False:
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
            text += f" (default: {shown})"
        names = ", ".join(sorted(argument.names, key=len) if argument.index is None else [placed[argument.index]])
        rows += ["", f"{names} {_app_value(argument)}".rstrip(), *_wrap(text)]
    return f"### {prog}\n\n" + _fence("\n".join(rows))


def _app_value(argument: Argument) -> str:
    """`N`, `PATH`, `{a,b}`, with `...` for several, nothing for a switch or what has its place."""
    if argument.is_flag() or argument.index is not None:
        return ""
    several = get_origin(argument.hint) is tuple
    kind = get_args(argument.hint)[0] if get_args(argument.hint) else argument.hint
    named = {int: "N", float: "X", Path: "PATH"}.get(kind, "NAME")
    choices = argument.get_choices()
    return ("{" + ",".join(choices) + "}" if choices else named) + (" ..." if several else "")


def _command(parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    placed = [str(action.metavar or action.dest) for action in actions if not action.option_strings]
    usage = " ".join([parser.prog, *(["[options]"] if len(placed) < len(actions) else []), *placed])
    rows = [usage, *([parser.description] if parser.description else [])]
    rows += [row for action in actions for row in ("", *_option(action, parser.prog))]
    rows += ["", parser.epilog] if parser.epilog else []
    return f"### {parser.prog}\n\n" + _fence("\n".join(rows))


def _option(action: argparse.Action, prog: str) -> Iterable[str]:
    """An option with what it takes, and below it what it means."""
    yield " ".join(part for part in (", ".join(action.option_strings), _value(action)) if part)
    text = (action.help or "") % {**vars(action), "prog": prog}
    notes = [text, *(["(required)"] if action.required and action.option_strings else [])]
    yield from _wrap(" ".join(filter(None, notes)))


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _value(action: argparse.Action) -> str:
    """`NAME`, `NAME ...` for several, nothing for a switch."""
    if action.nargs == 0:
        return ""
    named = "{" + ",".join(map(str, action.choices)) + "}" if action.choices is not None else action.dest.upper()
    shown = str(action.metavar or (named if action.option_strings else action.dest))
    return f"{shown} ..." if action.nargs in ("*", "+") or isinstance(action.nargs, int) else shown


def _fence(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    print(f"{PAGE}: written", file=sys.stderr)
