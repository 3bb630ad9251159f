from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import pytest

from medsam_edge.errors import FileMissingError, InputError
from medsam_edge_train.cli.options import add_options, descriptions, make_config
from medsam_edge_train.cli.stages import STAGES, Stage


@dataclass(frozen=True)
class Base:
    """Base settings.

    Attributes:
        output: where to,
            said in two lines.
        count: how many.
    """

    output: Path
    count: int = 3


@dataclass(frozen=True)
class Settings(Base):
    """Settings.

    Attributes:
        rate, decay: numbers, 100 % of them.
        kind: which one.
        extra: more folders.
        start: where from.
        strict: be strict.
    """

    rate: float = 0.5
    decay: float = 0.1
    kind: Literal["a", "b"] = "a"
    extra: tuple[Path, ...] = ()
    start: Path | None = None
    strict: bool = False


PRESETS = {"quick": {"count": 1, "rate": 0.9}}


def parse(*words: str, yaml: Path | None = None) -> Settings:
    parser = argparse.ArgumentParser()
    add_options(parser, Settings, PRESETS)
    return make_config(Settings, vars(parser.parse_args(words)), PRESETS, yaml)


def test_the_docstring_is_the_help() -> None:
    texts = descriptions(Settings)
    assert texts["output"] == "where to, said in two lines."
    assert texts["rate"] == texts["decay"] == "numbers, 100 % of them."
    parser = argparse.ArgumentParser()
    add_options(parser, Settings, PRESETS)
    assert "numbers, 100 % of them. (default: 0.5)" in " ".join(parser.format_help().split())


def test_defaults_and_types() -> None:
    assert parse("-o", "run") == Settings(Path("run"))
    words = ("--output", "run", "--count", "5", "--rate", "2", "--kind", "b", "--extra", "x", "y", "--start", "z")
    expected = Settings(Path("run"), 5, 2.0, 0.1, "b", (Path("x"), Path("y")), Path("z"), True)
    assert parse(*words, "--strict") == expected


def test_options_go_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("count: 7\nextra: [a]\nstart: null\nstrict: true\n")
    assert parse("-o", "run", "--preset", "quick").rate == 0.9
    mixed = parse("-o", "run", "--preset", "quick", "--rate", "0.1", yaml=file)
    assert mixed == Settings(Path("run"), 7, 0.1, extra=(Path("a"),), strict=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuont: 3", "config: expected settings among output, count, .* got cuont"),
        ("{3: 4, foo: 1}", "config: expected settings among .* got 3, foo$"),
        ("count: .inf", "config: count: expected int, got inf"),
        ("[1, 2]", "config: expected settings among .* got list"),
        ("count: many", "config: count: expected int, got 'many'"),
        ("count: 1.5", "config: count: expected int, got 1.5"),
        ("count: true", "config: count: expected int, got True"),
        ("strict: 1", "config: strict: expected bool, got 1"),
        ("extra: a", "config: extra: expected a list, got 'a'"),
        ("{", "config: cannot read"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        parse("-o", "run", yaml=tmp_path / "run.yaml")


def test_a_missing_file_and_a_missing_setting() -> None:
    with pytest.raises(FileMissingError, match="config: no such file"):
        parse("-o", "run", yaml=Path("nothing.yaml"))
    with pytest.raises(InputError, match="output: needed, give --output"):
        parse()


@pytest.mark.parametrize("stage", STAGES.values())
def test_every_setting_of_every_stage_is_explained(stage: Stage) -> None:
    config = getattr(import_module(f"medsam_edge_train.{stage.module}"), stage.config)
    assert {field.name for field in dataclasses.fields(config)} == set(descriptions(config))
