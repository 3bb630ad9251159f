"""The rules of ARCHITECTURE.md that a reader cannot see at a glance."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import medsam_edge

ROOT = Path(__file__).parent.parent
ROOTS = {
    "medsam_edge": ROOT / "sdk",
    "medsam_edge_train": ROOT / "train",
    "medsam_edge_convert": ROOT / "convert",
    "medsam_edge_benchmarks": ROOT / "benchmarks",
}
MAY_IMPORT = {
    "medsam_edge": set(),
    "medsam_edge_train": {"medsam_edge"},
    "medsam_edge_convert": {
        "medsam_edge",
        "medsam_edge_train.models",
        "medsam_edge_train.checkpoint",
        "medsam_edge_train.data.cases",
        "medsam_edge_train.metrics",
        "medsam_edge_train.options",
        "medsam_edge_train.progress",
    },
    "medsam_edge_benchmarks": {"medsam_edge", "medsam_edge_train", "medsam_edge_convert"},
}
RUNTIME = {"numpy", "cv2", "openvino", "pydicom", "SimpleITK"}
EXTRA = {"highdicom"}  # of the extra `dicom`, imported by dicom_seg.py where it is used


def imports(file: Path, for_types: bool = True) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if not for_types:
        tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            if node.module and "." not in node.module and node.module.startswith("medsam_edge"):
                yield from (f"{node.module}.{name.name}" for name in node.names)
            elif node.module:
                yield node.module


@pytest.mark.parametrize("package", ROOTS)
def test_imports_go_one_way(package: str) -> None:
    for file in sorted((ROOTS[package] / package).rglob("*.py")):
        for name in imports(file):
            if name.startswith("medsam_edge") and name.split(".")[0] != package:
                allowed = any(name == other or name.startswith(f"{other}.") for other in MAY_IMPORT[package])
                assert allowed, f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", ROOTS)
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    """Imports inside functions count too, those for types do not."""
    files = {
        ".".join(file.relative_to(ROOTS[package]).with_suffix("").parts): file
        for file in (ROOTS[package] / package).rglob("*.py")
    }
    graph = {name: {other for other in files if other in set(imports(file, False))} for name, file in files.items()}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def importers(package: str) -> set[str]:
    """Files of the sdk that import a package, without their suffix, relative to the sdk."""
    root = ROOT / "sdk" / "medsam_edge"
    return {
        file.relative_to(root).with_suffix("").as_posix()
        for file in root.rglob("*.py")
        if package in {name.split(".")[0] for name in imports(file)}
    }


def test_the_sdk_imports_only_its_runtime() -> None:
    third_party = {
        name.split(".")[0]
        for file in (ROOT / "sdk").rglob("*.py")
        for name in imports(file)
        if name.split(".")[0] not in sys.stdlib_module_names
    }
    assert third_party - {"medsam_edge"} == RUNTIME | EXTRA
    assert importers("highdicom") == {"writing/dicom_seg"}
    assert {name for name in importers("pydicom") if not name.startswith("reading/dicom/")} == {"writing/dicom_seg"}


def test_one_file_imports_openvino() -> None:
    assert importers("openvino") == {"networks/engine"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import medsam_edge", ["openvino", "SimpleITK", "pydicom", "torch", "nncf", "matplotlib"]),
        (
            "import numpy, medsam_edge; medsam_edge.segment(numpy.eye(99), [[1, 1, 50, 50]], 'MR')",
            ["SimpleITK", "highdicom", "pydicom", "torch", "nncf", "matplotlib", "scipy"],
        ),
        ("import medsam_edge_train.stages.fit, medsam_edge_train.cli.main", ["openvino", "SimpleITK", "nncf"]),
    ],
)
def test_light_imports(code: str, absent: list[str]) -> None:
    assert imported(code, absent) == "[]"


def imported(code: str, names: list[str]) -> str:
    """Which of these are loaded after running the code in a fresh interpreter."""
    path = [str(folder) for folder in ROOTS.values()]
    program = f"import sys; sys.path[:0] = {path!r}\n{code}\nprint([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


FILES = """
import numpy
from pathlib import Path
from medsam_edge.reading.read import read_image
from medsam_edge.writing.labels import write_labels
from medsam_edge.writing.picture import write_picture
numpy.savez("image.npz", imgs=numpy.eye(9))
write_picture(Path("image.jpg"), numpy.eye(9).astype(numpy.uint8))
for name in NAMES:
    write_labels(Path(name), numpy.eye(9).astype(numpy.uint16), None)
for name in {*NAMES, "image.npz", "image.jpg"} - {"labels.npz"}:
    read_image(name)
"""


def test_simpleitk_comes_with_the_first_medical_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = f"NAMES = ['labels.png', 'labels.tif', 'labels.npz']{FILES}"
    heavy = ["SimpleITK", "openvino", "pydicom"]
    assert imported(pictures, heavy) == "[]"
    assert imported(f"NAMES = ['labels.nii']{FILES}", heavy) == "['SimpleITK']"


NOTHING_IS_SENT = """
import sys

def audit(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print("network:", event, arguments, file=sys.stderr, flush=True)

sys.addaudithook(audit)
import numpy as np
import torch
import medsam_edge_convert.convert
import nncf
import openvino as ov
from medsam_edge import segment
segment(np.eye(64, dtype=np.uint8), [[8, 8, 40, 40]])
ov.convert_model(torch.nn.ReLU(), example_input=torch.zeros(1))
"""


def test_nothing_is_sent(tmp_path: Path) -> None:
    """Nor is a number kept in the home folder by which a user could be counted. On CI machines, OpenVINO is silent
    anyway."""
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "HOME")} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", NOTHING_IS_SENT], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "network:" not in done.stderr
    assert not (tmp_path / "intel").exists()


def test_public_names_are_sorted_and_exist() -> None:
    assert sorted(medsam_edge.__all__) == medsam_edge.__all__
    assert all(hasattr(medsam_edge, name) for name in medsam_edge.__all__)


def test_the_source_roots_are_the_same_everywhere() -> None:
    tomllib = pytest.importorskip("tomllib", reason="part of Python since 3.11")
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    roots = ["sdk", "convert", "train", "benchmarks"]
    assert tools["setuptools"]["packages"]["find"]["where"] == roots
    assert tools["pytest"]["ini_options"]["pythonpath"][:4] == roots
    assert tools["mypy"]["mypy_path"] == tools["pyright"]["extraPaths"] == tools["ruff"]["src"] == roots


def test_constraints_are_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert "torch==2.13.0" in lines
    assert all("==" in line for line in lines if line and not line.startswith("#"))
