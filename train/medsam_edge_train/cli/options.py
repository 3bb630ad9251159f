"""Command-line options, presets and YAML files from a settings dataclass: its docstring is the help, its types the
types, its defaults the defaults."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from medsam_edge.errors import FileMissingError, InputError

Config = TypeVar("Config")


def add_options(parser: argparse.ArgumentParser, config: type[Any], presets: Mapping[str, Mapping[str, Any]]) -> None:
    """An option for each field of a dataclass; only those that are given appear in the parsed namespace."""
    texts = descriptions(config)
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        flag = f"--{field.name.replace('_', '-')}"
        flags = ["-o", flag] if field.name == "output" else [flag]
        text = texts[field.name]
        if field.default is not dataclasses.MISSING and field.default not in (None, (), ""):
            text += f" (default: {field.default})"
        extra: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text.replace("%", "%%"), "dest": field.name}
        hint = _without_none(hints[field.name])
        if hint is bool:
            parser.add_argument(*flags, action=argparse.BooleanOptionalAction, **extra)
        elif typing.get_origin(hint) is typing.Literal:
            parser.add_argument(*flags, choices=typing.get_args(hint), **extra)
        elif typing.get_origin(hint) is tuple:
            parser.add_argument(*flags, nargs="*", type=typing.get_args(hint)[0], metavar=_metavar(hint), **extra)
        else:
            parser.add_argument(*flags, type=hint, metavar=_metavar(hint), **extra)
    if presets:
        parser.add_argument(
            "--preset", choices=sorted(presets), help="a named protocol; the file and options override it"
        )
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="file of settings; overrides the preset, options override it"
    )


def make_config(
    config: type[Config], options: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]], yaml_file: Path | None
) -> Config:
    """Defaults, then the preset, then the YAML file, then the options given; the later wins. Without a preset, one
    named as a setting that is switched on stands in: `qat`.

    Raises:
        InputError: an unknown preset, or setting in the file, one of the wrong type, or a needed one missing.
        FileMissingError: no such file.
    """
    given = {name: value for name, value in options.items() if name not in ("preset", "config")}
    given = {**(typed_settings(read_yaml(yaml_file), config, yaml_file) if yaml_file else {}), **given}
    name = options.get("preset") or next((name for name in presets if given.get(name) is True), None)
    if name is not None and name not in tuple(presets):  # of a file it may be of any type
        raise InputError(f"preset: expected one of {', '.join(presets) or 'none'}, got {name!r}")
    values = {**(presets[name] if name is not None else {}), **given}
    hints = typing.get_type_hints(config)
    values = {name: tuple(v) if typing.get_origin(hints[name]) is tuple else v for name, v in values.items()}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.name not in values:
            raise InputError(f"{field.name}: needed, give --{field.name.replace('_', '-')}")
    return config(**values)


def descriptions(config: type[Any]) -> dict[str, str]:
    """Each field's text from the "Attributes:" of the class's docstring and of its bases'."""
    texts: dict[str, str] = {}
    for base in reversed(config.__mro__):
        _, _, listed = (inspect.cleandoc(base.__doc__ or "")).partition("Attributes:\n")
        for entry in re.finditer(r"^ {4}(\w[\w, ]*): (.*(?:\n {6,}.*)*)", listed, re.MULTILINE):
            for name in entry[1].split(", "):
                texts[name] = " ".join(entry[2].split())
    return texts


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, {} of an empty one.

    Raises:
        InputError: it is no YAML.
        FileMissingError: no such file.
    """
    if not path.is_file():
        raise FileMissingError(f"config: no such file: {path}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"config: cannot read {path}: {error}") from error


def typed_settings(loaded: Any, config: type[Any], path: Path) -> dict[str, Any]:
    """What a YAML file said, in the types of the dataclass's fields.

    Raises:
        InputError: not settings of this dataclass, or of another type.
    """
    hints = typing.get_type_hints(config)
    names = [field.name for field in dataclasses.fields(config)]
    if not isinstance(loaded, dict) or not set(loaded) <= set(names):
        unknown = sorted(map(str, set(loaded) - set(names))) if isinstance(loaded, dict) else [type(loaded).__name__]
        raise InputError(f"config: expected settings among {', '.join(names)} in {path}, got {', '.join(unknown)}")
    return {name: _typed(name, value, hints[name]) for name, value in loaded.items()}


def _typed(name: str, value: Any, hint: Any) -> Any:
    if value is None and hint is not _without_none(hint):
        return None
    hint = _without_none(hint)
    if typing.get_origin(hint) is typing.Literal:
        return value  # the dataclass says what it expects
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise InputError(f"config: {name}: expected a list, got {value!r}")
        return tuple(_typed(name, item, typing.get_args(hint)[0]) for item in value)
    try:
        if isinstance(value, bool) is not (hint is bool) or (hint is int and int(value) != float(value)):
            raise ValueError
        return hint(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"config: {name}: expected {hint.__name__}, got {value!r}") from None


def _without_none(hint: Any) -> Any:
    """X of `X | None`."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _metavar(hint: Any) -> str:
    hint = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    return {"int": "N", "float": "X", "Path": "PATH"}.get(hint.__name__, "NAME")
