"""Command lines of train, convert and bench, by cyclopts: a command's options are the fields of a frozen dataclass.

Its docstring is the help, its types are the types, its defaults are the defaults. A field may also come from a YAML
file or from a preset: an option wins over the file, and the file over the preset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_type_hints

import yaml
from cyclopts import App, CoercionError, CycloptsError, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict

from medsam_edge.errors import FileMissingError, InputError

Config = TypeVar("Config")
Presets = Mapping[str, Mapping[str, Any]]
Layer = Callable[[App, tuple[str, ...], ArgumentCollection], None]

Output = Annotated[Path, Parameter(alias="-o")]
DEFAULT_PARAMETER = Parameter(consume_multiple=True, negative_iterable=(), allow_repeating=True)
FLAT = Parameter(name="*")
"""Of a dataclass in a command's signature: its fields are options of the command."""


def new_app(name: str, text: str) -> App:
    """A command that raises what is wrong with its words, see `run_app`."""
    return App(
        name=name,
        help=text,
        version_flags=(),
        help_format="plaintext",
        default_parameter=DEFAULT_PARAMETER,
        config=_refuse_fractions,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )


def run_app(app: App, words: list[str]) -> Any:
    """What the command returns; raises InputError if the words do not fit its options."""
    if not words and app.default_command is None:
        raise InputError(f"{app.name[0]}: expected one of {', '.join(name for name in app if name[0] != '-')}")
    try:
        return app(words)
    except CycloptsError as error:
        raise InputError(str(error)) from error


def layers(presets: Presets) -> tuple[Layer, ...]:
    """For `config` of a command with the options --config and --preset: what these say where no option is given.

    Without --preset, one named as a switch that is on stands in: `qat`.
    """

    def layer(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        def given(name: str) -> Any:
            found = arguments.get(f"--{name}", None)
            return found.convert() if found is not None and found.tokens else None

        if (file := given("config")) is not None:
            _dict(read_yaml(file), str(file))(app, commands, arguments)
        name = given("preset") or next((name for name in presets if given(name) is True), None)
        if name is not None:
            if name not in presets:
                raise InputError(f"preset: there is none, got {name!r}")
            _dict(presets[name], f"preset {name}")(app, commands, arguments)

    return layer, _refuse_fractions


def read_settings(kind: type[Config], settings: Mapping[str, Any], presets: Presets, source: str) -> Config:
    """A dataclass from what a file says of its fields, and of `preset`.

    Raises:
        InputError: unknown settings, some of the wrong type, or a needed one missing.
    """

    def only(*, settings: Any, preset: str | None = None) -> Any:
        return settings

    app = new_app(source, "")
    app.config = (_dict(settings, source), *layers(presets))
    app.default(takes(only, kind, presets))
    return cast(Config, run_app(app, []))


def takes(command: Callable[..., Any], kind: type[Any], presets: Presets = {}) -> Callable[..., Any]:  # noqa: B006
    """Make the fields of `kind` options of a command whose parameter `settings` receives them, and name the presets."""
    kind.__init__.__annotations__.update(get_type_hints(kind, include_extras=True))  # bases may be of other modules
    command.__annotations__["settings"] = Annotated[kind, FLAT]
    if all(field.default is not MISSING for field in fields(kind)):
        command.__defaults__ = (kind(),)
    if presets:
        command.__annotations__["preset"] = Literal[tuple(sorted(presets))] | None
    return command


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, {} of an empty one; raises FileMissingError, or InputError if it is no YAML."""
    if not path.is_file():
        raise FileMissingError(f"config: no such file: {path}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"config: cannot read {path}: {error}") from error


def _dict(settings: Any, source: str) -> Dict:
    if not isinstance(settings, Mapping):
        raise InputError(f"config: expected settings in {source}, got {type(settings).__name__}")
    named = {str(name): value for name, value in settings.items()}  # YAML's may be numbers
    return Dict(named, source=source, use_commands_as_keys=False)


def _refuse_fractions(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """cyclopts rounds 1.5 where a whole number is expected."""
    for argument in arguments:
        for token in argument.tokens:
            if argument.hint is int and "." in token.value:
                raise CoercionError(argument=argument, token=token, target_type=int)
