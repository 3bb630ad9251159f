"""The documentation is true: its Python runs, its commands exist, its links lead somewhere, its reference is current.

Blocks of a page run in order, in one namespace and in a folder with the files of `docs_files.py`:

    ```python          run; alone and as a program where it asks for `__main__`
    ```python no-run   compiled
    ```console         each `medsam-edge` command is parsed
    ```console run     and run
    ```cpp             built by `make cpp` (`tests/sdk/cpp/test_languages.py`)

`python slow` and `console slow` are run by the slow tests, which may start a cluster.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from cyclopts import App

from medsam_edge.cli import main as cli
from medsam_edge.networks import engine
from medsam_edge.networks.bundle import Bundle
from medsam_edge.networks.model import Model
from tests.docs_files import write_files

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    line: int
    text: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield Block(found[1], text.count("\n", 0, found.start()) + 1, found[2])


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each `medsam-edge` command, without its own name."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["medsam-edge"]:
            yield words[1:]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def models() -> Iterator[None]:
    """Each bundle is compiled once, however many segmenters ask for it."""
    load = engine.load_model
    loaded: dict[str, Model] = {}

    def load_once(bundle: Bundle, settings: engine.EngineSettings) -> Model:
        key = bundle.identity
        if key not in loaded:
            loaded[key] = load(bundle, settings)
        return loaded[key]

    with mock.patch.object(engine, "load_model", load_once):
        yield


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "reference.md"], ids=name_of)
def test_snippets_run(page: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(files, tmp_path / "here"))
    names: dict[str, Any] = {"__name__": "docs"}
    for block in blocks(page):
        if block.language.startswith("python"):
            code = compile("\n" * block.line + block.text, name_of(page), "exec", dont_inherit=True)
            if "__main__" in block.text:
                run_program(block.text)
            elif block.language == "python":
                exec(code, names)  # noqa: S102
        for words in commands(block) if block.language == "console run" else ():
            assert cli.main(words) == 0, f"{page}, line {block.line}: {words}"


def run_program(text: str) -> None:
    Path("program.py").write_text(text, encoding="utf-8")
    paths = os.pathsep.join([str(ROOT / "sdk"), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "program.py"], check=True, env={**os.environ, "PYTHONPATH": paths})


SLOW = [page for page in PAGES if any(block.language.endswith(" slow") for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("page", SLOW, ids=name_of)
def test_slow_snippets_run(page: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="pip install 'medsam-edge[ray]'")
    monkeypatch.chdir(shutil.copytree(files, tmp_path / "here"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "sdk"), os.environ.get("PYTHONPATH", "")]))
    for block in blocks(page):
        if block.language == "python slow":
            exec(compile("\n" * block.line + block.text, name_of(page), "exec", dont_inherit=True), {})  # noqa: S102
        for words in commands(block) if block.language == "console slow" else ():
            assert cli.main(words) == 0, f"{page}, line {block.line}: {words}"


class Parsed(Exception):  # noqa: N818
    pass


def test_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser, words: list[str]) -> None:
        parse(parser, words)
        raise Parsed

    def only_parse_app(app: App, words: list[str]) -> None:
        app.parse_args(words)
        raise Parsed

    found = 0
    for page in PAGES:
        for block in blocks(page):
            for words in commands(block) if block.language.startswith("console") else ():
                with (
                    mock.patch.object(argparse.ArgumentParser, "parse_args", only_parse),
                    mock.patch.object(App, "__call__", only_parse_app),
                ):
                    try:
                        code = cli.main(words)  # 0 of --version and --help, which leave before
                    except Parsed:
                        code = 0
                found += 1
                assert code == 0, f"{page}, line {block.line}: {' '.join(words)}: {capsys.readouterr().err}"
    assert found > 20


def test_languages_are_known() -> None:
    """A slip of the pen there would leave a block unchecked."""
    known = {"python", "python no-run", "python slow", "console", "console run", "console slow", "text", "cpp"}
    assert [
        (name_of(page), block.line) for page in PAGES for block in blocks(page) if block.language not in known
    ] == []


def test_make_targets_extras_and_paths_exist() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)\b", text, re.MULTILINE)) <= targets
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(re.findall(r"(?:medsam-edge|\.)\[([a-z-]+)\]'?", text))
    assert extras
    assert [extra for extra in extras if f"\n{extra} = [" not in project] == []
    paths = re.findall(r"`((?:sdk|train|convert|benchmarks|tests|docs)/[\w./-]+\.\w+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def markdown() -> list[Path]:
    folders = ("docs", "sdk", "train", "convert", "benchmarks")
    return [*sorted(ROOT.glob("*.md")), *(page for folder in folders for page in sorted((ROOT / folder).rglob("*.md")))]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", markdown(), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page} links to {target}"


def test_the_index_names_every_page() -> None:
    named = {(DOCS / target.partition("#")[0]).resolve() for target in links(DOCS / "README.md")}
    assert {page.resolve() for page in DOCS.rglob("*.md")} - named == {(DOCS / "README.md").resolve()}


def test_the_reference_is_what_make_docs_writes() -> None:
    made = runpy.run_path(str(DOCS / "make_reference.py"))["reference"]()
    assert made == (DOCS / "reference.md").read_text(encoding="utf-8"), "run `make docs`"
