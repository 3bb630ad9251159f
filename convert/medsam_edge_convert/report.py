"""The account of a conversion: its steps with their numbers, what accuracy was measured, and the worst cases."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.networks.bundle import Manifest
from medsam_edge.writing.whole import replacing
from medsam_edge_convert.accuracy import as_markdown
from medsam_edge_convert.gate import Accuracy


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
class Report:
    """Grows with the conversion.

    Attributes:
        source: name of the checkpoint's file.
        listen: told each step as it is added.
        failed: the message of the step that stopped the conversion.
    """

    source: str
    precision: str
    listen: Callable[[Step], None]
    steps: list[Step] = field(default_factory=list)
    accuracy: Accuracy | None = None
    pictures: list[tuple[str, npt.NDArray[np.uint8]]] = field(default_factory=list)
    failed: str | None = None
    wants_pictures: bool = False

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


def write_report(path: Path, report: Report) -> None:
    """`.json`: for machines; `.html`: one self-contained page. Whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(_json(report) if path.suffix == ".json" else _html(report), encoding="utf-8")


def _json(report: Report) -> str:
    values = {
        "checkpoint": report.source,
        "precision": report.precision,
        "steps": [asdict(step) for step in report.steps],
        "accuracy_percent": report.tables,
        "failed": report.failed,
    }
    return json.dumps(values, indent=2) + "\n"


STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child,.text{text-align:left}.bad{color:#b00020}.good{color:#0a7a3c}
figure{display:inline-block;margin:.5rem}figcaption{font-size:13px;max-width:448px}"""


def _html(report: Report) -> str:
    verdict = f'<p class="bad">{html.escape(report.failed)}</p>' if report.failed else '<p class="good">converted</p>'
    tables = [f"<h2>{name}, percent</h2>{_table(table)}" for name, table in report.tables.items()]
    figures = [
        f'<figure><img src="data:image/png;base64,{_png(picture)}">'
        f"<figcaption>{html.escape(line)}</figcaption></figure>"
        for line, picture in report.pictures
    ]
    worst = ["<h2>What lost most</h2><p>PyTorch left, the bundle right; the truth in white.</p>", *figures]
    return "\n".join(
        [
            f'<!doctype html><meta charset="utf-8"><title>{html.escape(report.source)}</title><style>{STYLE}</style>',
            f"<h1>{html.escape(report.source)} to {report.precision}</h1>{verdict}",
            f"<h2>Steps</h2><table>{''.join(_row(step) for step in report.steps)}</table>",
            *tables,
            *(worst if figures else []),
        ]
    )


def _row(step: Step) -> str:
    number = "" if step.value is None else f"{step.value:.3g}"
    bound = "" if step.limit is None else f"≤ {step.limit:.3g}"
    bad = step.value is not None and step.limit is not None and not step.value <= step.limit
    mark = ' class="bad"' if bad else ""
    text = f'<td>{step.name}</td><td class="text">{html.escape(step.text)}</td>'
    return f"<tr{mark}>{text}<td>{number}</td><td>{bound}</td></tr>"


def _table(table: Mapping[str, Mapping[str, float]]) -> str:
    """From the same lines as the model card's."""
    header, _, *rows = [line.strip("| ").split(" | ") for line in as_markdown(table).splitlines()]
    lines = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in header)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _png(picture: npt.NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return base64.b64encode(encoded.tobytes()).decode()
