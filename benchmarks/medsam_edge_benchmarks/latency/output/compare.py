"""Two runs of the latency suite: what became slower, set against the baselines of both.

A machine drifts by as much as a regression weighs. So the change of each figure of ours is divided by the median change
of the baselines on the same case: what slowed everything cancels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medsam_edge.errors import FileMissingError, InputError
from medsam_edge_benchmarks.latency.runs.figures import COLD_START, SCHEMA
from medsam_edge_benchmarks.latency.variants import BASELINES, TOTAL

SMALLEST_SHARE = 0.02
"""Of a case's total: a stage below it in both runs is shown and not judged, since a millisecond decides nothing."""
MUST_AGREE = ("threads", "baseline_slices", "baseline_boxes")

Variants = dict[str, dict[str, Any]]
"""A case's figures by variant, as the JSON file has them."""


@dataclass(frozen=True)
class Change:
    """A figure of ours in both runs."""

    case: str
    variant: str
    stage: str
    before: float  # median seconds, as after
    after: float
    drift: float  # median of after / before over the baselines' totals on this case; 1 where neither run has any
    relative: float  # after / before / drift; above 1 is slower
    regressed: bool


@dataclass(frozen=True)
class Comparison:
    """All figures that both runs have, and what the two differ in besides."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    tolerance: float


def read(path: Path) -> dict[str, Any]:
    """What `bench latency --json` wrote."""
    if not path.is_file():
        raise FileMissingError(f"compare: no such file: {path}")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"compare: expected JSON in {path}: {error}") from error
    found = result.get("schema") if isinstance(result, dict) else None
    if found != SCHEMA:
        raise InputError(f"compare: expected schema {SCHEMA!r} in {path}, got {found!r}")
    if missing := [name for name in ("settings", "machine", "cases", "cold_start") if name not in result]:
        raise InputError(f"compare: expected {', '.join(missing)} in {path}, found none")
    return dict(result)


def compare(before: dict[str, Any], after: dict[str, Any], tolerance: float) -> Comparison:
    """Set two results of `read` against each other; a figure slower by more than the tolerance, a share, regressed."""
    if not tolerance >= 0:
        raise InputError(f"tolerance: expected 0 or more, got {tolerance:g}")
    first, second = _named(before), _named(after)
    shared = [case for case in first if case in second]
    if not shared:
        raise InputError(f"compare: no case is in both: {', '.join(first) or 'none'}; {', '.join(second) or 'none'}")
    changes = tuple(change for case in shared for change in _changes(case, first[case], second[case], tolerance))
    return Comparison(changes, tuple(_notes(before, after, first, second)), tolerance)


def as_text(comparison: Comparison) -> str:
    """A line for each figure, regressions marked, then the notes."""
    lines = [f"{'case':18}{'variant':28}{'stage':12}{'before':>11}{'after':>11}{'drift':>8}{'relative':>10}"]
    for change in comparison.changes:
        sign = "  slower" if change.regressed else ""
        lines.append(
            f"{change.case:18}{change.variant:28}{change.stage:12}{change.before:9.4f} s{change.after:9.4f} s"
            f"{change.drift:8.2f}{change.relative:10.2f}{sign}"
        )
    return "\n".join([*lines, *comparison.notes])


def failure(comparison: Comparison) -> str | None:
    """What is wrong in one line; None when nothing is slower by more than the tolerance."""
    slower = [change for change in comparison.changes if change.regressed]
    if not slower:
        return None
    worst = max(slower, key=lambda change: change.relative)
    return (
        f"compare: {len(slower)} figures slower by more than {comparison.tolerance:.0%}; "
        f"the worst is {worst.stage} of {worst.case}, {worst.relative:.2f} times"
    )


def _named(result: dict[str, Any]) -> dict[str, Variants]:
    cold = {COLD_START: result["cold_start"]} if result["cold_start"] else {}
    return {own["case"]["name"]: own["variants"] for own in result["cases"]} | cold


def _changes(case: str, before: Variants, after: Variants, tolerance: float) -> Iterator[Change]:
    common = {name: (before[name]["stages"], after[name]["stages"]) for name in before if name in after}
    drifts = [new[TOTAL]["p50"] / old[TOTAL]["p50"] for name, (old, new) in common.items() if name in BASELINES]
    drift = float(np.median(drifts)) if drifts else 1.0
    for name, runs in common.items():
        for stage in runs[0] if name not in BASELINES else ():
            old, new = (own[stage]["p50"] if stage in own else None for own in runs)
            if not old or new is None:
                continue
            relative = new / old / drift
            weighs = any(own[stage]["p50"] >= SMALLEST_SHARE * own[TOTAL]["p50"] for own in runs)
            yield Change(case, name, stage, old, new, drift, relative, weighs and relative > 1 + tolerance)


def _notes(
    before: dict[str, Any], after: dict[str, Any], first: dict[str, Variants], second: dict[str, Variants]
) -> Iterator[str]:
    facts = [("settings", name) for name in MUST_AGREE]
    facts += [("machine", name) for name in sorted({*before["machine"], *after["machine"]})]
    for part, name in facts:
        old, new = before[part].get(name), after[part].get(name)
        if old != new:
            yield f"{name} differs: {old} and {new}"
    for case in sorted(first.keys() ^ second.keys()):
        yield f"{case} is in one run only"
    cases = (*first.values(), *second.values())
    if any(figures["scaled_from"] for variants in cases for figures in variants.values()):
        yield "the baselines' figures are scaled up by count from a part of their cases"
