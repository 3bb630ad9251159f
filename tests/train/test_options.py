from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from medsam_edge.errors import FileMissingError, InputError
from medsam_edge_train.cli.stages import STAGES, Stage
from medsam_edge_train.options import Output, layers, new_app, read_settings, run_app, takes


@dataclass(frozen=True)
class Base:
    """Base settings.

    Attributes:
        output: where to,
            said in two lines.
        count: how many.
    """

    output: Output
    count: int = 3


@dataclass(frozen=True)
class Settings(Base):
    """Settings.

    Attributes:
        rate: a number, 100 % of it.
        kind: which one.
        extra: more folders.
        start: where from.
        strict: be strict.
    """

    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    extra: tuple[Path, ...] = ()
    start: Path | None = None
    strict: bool = False


PRESETS = {"quick": {"count": 1, "rate": 0.9}, "strict": {"strict": True, "count": 9}}


def parse(*words: str) -> Settings:
    def command(*, settings: Any, preset: str | None = None, config: Path | None = None) -> Any:
        return settings

    app = new_app("name", "text")
    app.command(takes(command, Settings, PRESETS), name="go", config=layers(PRESETS))
    settings = run_app(app, ["go", *words])
    assert settings is None or isinstance(settings, Settings)
    return settings  # type: ignore[return-value]


def test_the_docstring_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse("--help") is None
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--output -o" in shown
    assert "where to, said in two lines. [required]" in shown
    assert "a number, 100 % of it. [default: 0.5]" in shown


def test_defaults_and_types() -> None:
    assert parse("-o", "run") == Settings(Path("run"))
    words = ("--output", "run", "--count", "5", "--rate", "2", "--kind", "b", "--extra", "x", "y", "--start", "z")
    expected = Settings(Path("run"), 5, 2.0, "b", (Path("x"), Path("y")), Path("z"), True)
    assert parse(*words, "--strict", "--no-strict", "--strict") == expected


def test_options_go_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("count: 7\nextra: [a]\nstart: null\nstrict: true\n")
    assert parse("-o", "run", "--preset", "quick").rate == 0.9
    mixed = parse("-o", "run", "--preset", "quick", "--rate", "0.1", "--config", str(file))
    assert mixed == Settings(Path("run"), 7, 0.1, extra=(Path("a"),), strict=True)
    file.write_text("output: run\npreset: quick\n")
    assert parse("--config", str(file)) == Settings(Path("run"), 1, 0.9)


def test_a_switch_of_a_presets_name_stands_for_it(tmp_path: Path) -> None:
    assert parse("-o", "run", "--strict").count == 9
    assert parse("-o", "run", "--strict", "--preset", "quick") == Settings(Path("run"), 1, 0.9, strict=True)
    assert read_settings(Settings, {"output": Path("run"), "strict": True}, PRESETS, "a file").count == 9
    assert read_settings(Settings, {"output": "run", "strict": False}, PRESETS, "a file").count == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuont: 3", r'Unknown option: "\[cuont\]" from .*run.yaml'),
        ("{3: 4, foo: 1}", r'Unknown option: "\[3\]" from .*run.yaml'),
        ("count: .inf", r'Invalid value for \[count\] from .*run.yaml: unable to convert "inf" into int'),
        ("[1, 2]", "config: expected settings in .*run.yaml, got list"),
        ("count: many", r'\[count\] from .*run.yaml: unable to convert "many" into int'),
        ("count: 1.5", r'\[count\] from .*run.yaml: unable to convert "1.5" into int'),
        ("count: true", r'\[count\] from .*run.yaml: unable to convert "True" into int'),
        ("strict: 2", r'\[strict\] from .*run.yaml: unable to convert "2" into bool'),
        ("extra: {a: 1}", r"\[extra\]"),
        ("kind: c", r'Invalid value "c" for \[kind\] from .*run.yaml. Choose from: "a", "b"'),
        ("preset: slow", r'Invalid value "slow" for \[preset\] from .*run.yaml. Choose from: "quick", "strict"'),
        ("{", "config: cannot read"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        parse("-o", "run", "--config", str(tmp_path / "run.yaml"))


def test_a_missing_file_and_a_missing_setting() -> None:
    with pytest.raises(FileMissingError, match="config: no such file"):
        parse("-o", "run", "--config", "nothing.yaml")
    with pytest.raises(InputError, match="--output requires an argument"):
        parse()


@pytest.mark.parametrize("stage", STAGES.values())
def test_every_setting_of_every_stage_is_explained(stage: Stage) -> None:
    app = new_app("name", "text")
    app.default(takes(lambda *, settings: settings, stage.config))
    texts = {
        argument.name: argument.parameter.help for argument in app.assemble_argument_collection(parse_docstring=True)
    }
    for field in dataclasses.fields(stage.config):
        assert texts[f"--{field.name.replace('_', '-')}"], field.name
