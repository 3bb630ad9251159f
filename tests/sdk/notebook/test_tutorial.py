"""The tutorial runs, from its first cell to its last, in a kernel of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PAGE = Path(__file__).parents[3] / "docs" / "notebook.ipynb"
PATH = os.pathsep.join([str(Path(__file__).parents[3] / "sdk"), *filter(None, [os.environ.get("PYTHONPATH")])])


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_tutorial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", PATH)
    notebook = nbformat.read(PAGE, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "".join(output.get("text", "") for output in outputs(notebook))
    scores = [float(number) for number in re.findall(r"DSC(?: with the truth)? (\d\.\d+)", text)]
    assert len(scores) == 2 and min(scores) > 0.7
    data = [output.data for output in outputs(notebook) if "data" in output]
    assert sum("image/png" in own for own in data) == 3  # results show themselves
    assert sum("application/vnd.jupyter.widget-view+json" in own for own in data) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_tutorial_is_kept_without_outputs() -> None:
    """They are made anew by who runs it, and would only age."""
    assert outputs(nbformat.read(PAGE, as_version=4)) == []


def test_its_links_lead_somewhere() -> None:
    for cell in nbformat.read(PAGE, as_version=4).cells:
        for target in re.findall(r"\]\(([^)#]+)", cell.source):
            assert (PAGE.parent / target).is_file(), target
