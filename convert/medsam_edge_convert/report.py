"""The account of a conversion: its steps with their numbers, what accuracy was measured, and the worst cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.networks.bundle import Manifest
from medsam_edge.writing.whole import replacing
from medsam_edge_convert.accuracy import as_cells, as_markdown
from medsam_edge_convert.gate import Accuracy
from medsam_edge_convert.page import Line, data_address, write_page


@dataclass(frozen=True)
class Step:
    """One line: what was done or measured, its number, and the largest it may be."""

    name: str
    text: str
    value: float | None = None
    limit: float | None = None

    def __str__(self) -> str:
        number = "" if self.value is None else f": {self.value:.3g}"
        bound = "" if self.limit is None else f" (at most {self.limit:.3g})"
        return f"{self.name:9} {self.text}{number}{bound}"


@dataclass
class ConversionReport:
    """Grows with the conversion."""

    source: str  # name of the checkpoint's file
    precision: str
    listen: Callable[[Step], None]  # told each step as it is added
    steps: list[Step] = field(default_factory=list)
    accuracy: Accuracy | None = None
    pictures: list[tuple[str, npt.NDArray[np.uint8]]] = field(default_factory=list)
    failed: str | None = None  # the message of the step that stopped the conversion

    def add(self, name: str, text: str, value: float | None = None, limit: float | None = None) -> None:
        self.steps.append(Step(name, text, value, limit))
        self.listen(self.steps[-1])

    @property
    def checks(self) -> dict[str, float]:
        """Every number, by its step."""
        return {step.name: step.value for step in self.steps if step.value is not None}

    @property
    def tables(self) -> dict[str, Any]:
        return {"DSC": self.accuracy.dsc, "NSD, tolerance 2 pixels": self.accuracy.nsd} if self.accuracy else {}

    def card(self, manifest: Manifest) -> str:
        """The bundle's model card."""
        steps = "\n".join(f"- {step}" for step in self.steps)
        tables = "\n\n".join(f"{name} in percent:\n\n{as_markdown(table)}" for name, table in self.tables.items())
        return (
            f"# {manifest.architecture}, {manifest.encoder_precision}\n\n"
            f"Made by `medsam-edge convert` from the checkpoint with sha256 `{manifest.source_sha256}`.\n"
            f"Calibration: {manifest.calibration['images']}.\n\n"
            f"{tables or 'Its accuracy has not been measured: `medsam-edge bench accuracy` does.'}\n\n"
            f"Steps of the conversion:\n\n{steps}\n\nNot a medical device.\n"
        )


def write_report(path: Path, report: ConversionReport) -> None:
    """`.json`: for machines; `.html`: one self-contained page. The file appears whole or not at all."""
    if path.suffix == ".html":
        return write_page(
            path,
            "medsam_edge_convert",
            "conversion.html",
            title=f"{report.source} to {report.precision}",
            failed=report.failed,
            steps=[_line(step) for step in report.steps],
            tables={name: as_cells(table) for name, table in report.tables.items()},
            pictures=[(line, data_address("image/png", _png(picture))) for line, picture in report.pictures],
        )
    values = {
        "checkpoint": report.source,
        "precision": report.precision,
        "steps": [asdict(step) for step in report.steps],
        "accuracy_percent": report.tables,
        "failed": report.failed,
    }
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _line(step: Step) -> Line:
    number = "" if step.value is None else f"{step.value:.3g}"
    bound = "" if step.limit is None else f"≤ {step.limit:.3g}"
    bad = step.value is not None and step.limit is not None and not step.value <= step.limit
    return Line([(step.name, step.text), (number,), (bound,)], "bad" if bad else "")


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()
