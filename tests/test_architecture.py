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
TOP = {"boxes", "errors", "geometry", "image", "intensity", "metrics", "modality", "prompts", "settings", "version"}
ROOMS = {  # what each room of the sdk may import beside TOP and itself
    "networks": set(),
    "reading": set(),
    "phantom": set(),
    "writing": {"reading"},
    "results": {"writing"},
    "inference": {"networks", "results"},
    "segmenter": {"inference", "networks", "reading", "results"},
    "shortcut": {"results", "segmenter"},
    "medsam_edge": {"inference", "reading", "results", "segmenter", "shortcut"},
    "cli": {"inference", "networks", "phantom", "reading", "results", "segmenter", "writing"},
    "server": {"cli", "inference", "reading", "results", "segmenter", "writing"},
    "notebook": {"inference", "reading", "writing"},
    "__main__": {"cli"},
    "cluster": {"cli", "networks", "reading", "segmenter", "writing"},
}
RUNTIME = {"numpy", "cv2", "openvino", "pydicom", "SimpleITK"}
EXTRA = {  # by the extras; imported where they are used, in a file or a room
    "highdicom": "medsam_edge.writing.dicom_seg",
    "ray": "medsam_edge.cluster",
    "pyarrow": "medsam_edge.cluster",
    "fsspec": "medsam_edge.cluster",
    **dict.fromkeys(("fastapi", "h11", "prometheus_client", "pydantic", "starlette", "uvicorn"), "medsam_edge.server"),
    **dict.fromkeys(("blosc2", "nnInteractive"), "medsam_edge.server"),
    **dict.fromkeys(("anywidget", "traitlets"), "medsam_edge.notebook"),
}
FOR_TYPES = {"typing_extensions"}  # comes with mypy, imported under TYPE_CHECKING
MAXIMUM_LINES, MAXIMUM_PARAMETERS = 350, 8


def modules(package: str) -> dict[str, Path]:
    """The files of a package by module name; a sub-package's `__init__` has the name of the sub-package."""
    root = ROOTS[package]
    files = sorted((root / package).rglob("*.py"))
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = {name: file for package in ROOTS for name, file in modules(package).items()}


def imports(file: Path) -> Iterator[str]:
    """Every import of a file, in functions and for types too: a module of ours, or what the statement names."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file}: relative import"
            for name in node.names:
                inside = f"{node.module}.{name.name}"
                yield inside if inside in MODULES else node.module


@pytest.mark.parametrize("package", ROOTS)
def test_imports_go_one_way(package: str) -> None:
    for file in modules(package).values():
        for name in imports(file):
            if name.startswith("medsam_edge") and name.split(".")[0] != package:
                allowed = any(name == other or name.startswith(f"{other}.") for other in MAY_IMPORT[package])
                assert allowed, f"{file.relative_to(ROOT)} imports {name}"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {name: set(imports(file)) & MODULES.keys() for name, file in MODULES.items()}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def room(module: str) -> str:
    """The sub-package or the top file of the sdk that a module belongs to."""
    return module.split(".")[min(1, module.count("."))]


def test_arrows_in_the_sdk_go_down() -> None:
    wrong = []
    for module, file in modules("medsam_edge").items():
        allowed = TOP | {room(module)} | ROOMS.get(room(module), set())
        used = {room(name) for name in imports(file) if name.split(".")[0] == "medsam_edge"}
        wrong += [f"{module} imports {name}" for name in sorted(used - allowed)]
    assert wrong == []
    assert {room(module) for module in modules("medsam_edge")} == TOP | ROOMS.keys()


def test_no_private_name_is_imported_from_another_file() -> None:
    wrong = [
        f"{module} imports {name.name} of {node.module}"
        for module, file in MODULES.items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medsam_edge")
        for name in node.names
        if name.name.startswith("_") and not name.name.startswith("__")
    ]
    assert wrong == []


def test_every_sub_package_says_in_one_sentence_what_lives_there() -> None:
    wrong = []
    for module, file in MODULES.items():
        if file.name == "__init__.py" and module not in ROOTS:
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            if not text.endswith(".") or "\n\n" in text or ". " in text.replace("\n", " "):
                wrong.append(f"{module}: {text!r}")
    assert wrong == []


def test_no_source_file_is_too_long() -> None:
    lengths = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in MODULES.items()}
    assert {module: length for module, length in lengths.items() if length > MAXIMUM_LINES} == {}


def test_no_function_has_too_many_parameters() -> None:
    """But `segment` and `Segmenter.segment`, where each choice is a keyword."""
    wrong = []
    for module, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and parameters(node) > MAXIMUM_PARAMETERS:
                wrong.append(f"{module}.{node.name}: {parameters(node)}")
    assert [name for name in wrong if ".segment: " not in name] == []


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many parameters a function has, but for `self` and `cls`."""
    given = function.args
    names = [
        item.arg for item in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if item
    ]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_no_test_imports_another_test() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    tests = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.name.startswith("test_")}
    wrong = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or "", *(f"{node.module}.{name.name}" for name in node.names)}
            else:
                continue
            wrong += [f"{file.relative_to(ROOT)} imports {name}" for name in sorted(names & tests)]
    assert wrong == []


def importers(package: str) -> set[str]:
    """The modules of the sdk that import a package of others."""
    sdk = modules("medsam_edge").items()
    return {module for module, file in sdk if package in {name.split(".")[0] for name in imports(file)}}


def test_the_sdk_imports_only_its_runtime() -> None:
    roots = {name.split(".")[0] for file in modules("medsam_edge").values() for name in imports(file)}
    assert roots - sys.stdlib_module_names - {"medsam_edge"} == RUNTIME | EXTRA.keys() | FOR_TYPES
    for package, place in EXTRA.items():
        assert all(name == place or name.startswith(f"{place}.") for name in importers(package))
    seg = EXTRA["highdicom"]
    assert all(name == seg or name.startswith("medsam_edge.reading.dicom.") for name in importers("pydicom"))


def test_one_file_imports_openvino() -> None:
    assert importers("openvino") == {"medsam_edge.networks.engine"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import medsam_edge", ["openvino", "SimpleITK", "pydicom", "torch", "nncf", "matplotlib"]),
        (
            "import numpy, medsam_edge; medsam_edge.segment(numpy.eye(99), [[1, 1, 50, 50]], 'MR')",
            ["SimpleITK", "highdicom", "pydicom", "torch", "nncf", "matplotlib", "scipy"],
        ),
        ("import medsam_edge.cluster.cli", ["ray", "pyarrow", "fsspec", "openvino", "SimpleITK", "pydicom", "torch"]),
        (
            "import medsam_edge_train.stages.fit, medsam_edge_train.stages.embed, medsam_edge_train.cli.main",
            ["openvino", "SimpleITK", "nncf"],
        ),
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
