"""Everything that a run found, from its rows; what is shown and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medsam_edge_benchmarks.accuracy.scoring.calibration import Calibration, calibrations
from medsam_edge_benchmarks.accuracy.scoring.measure import Row
from medsam_edge_benchmarks.accuracy.scoring.seconds import Seconds, seconds_each
from medsam_edge_benchmarks.accuracy.scoring.summary import (
    RULES,
    Groups,
    below_ellipse,
    by_jitter,
    by_modality,
    by_set,
    by_size,
    recognized,
)

SCHEMA = "medsam-edge bench accuracy 1"


@dataclass(frozen=True)
class AccuracyReport:
    """All but `jitters` are of the first jitter alone.

    Attributes:
        complete: whether all images were measured.
        modalities: by rule, see `summary`.
        recognized: percent by modality and method; empty where the modality was told.
        seconds: by kind of image and method.
        sets: each data set and the mean over sets; empty unless asked for.
        below_ellipse: number of sets in which a method is below the ellipse, by metric and method.
    """

    settings: Mapping[str, Any]
    complete: bool
    methods: Sequence[str]
    modalities: Mapping[str, Groups]
    datasets: Groups
    sizes: Groups
    jitters: Groups
    calibration: Mapping[str, Calibration]
    recognized: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, Mapping[str, Seconds]]
    sets: Groups
    below_ellipse: Mapping[str, Mapping[str, int]]
    schema: str = SCHEMA


def summarize(rows: Sequence[Row], settings: Mapping[str, Any], complete: bool, by: str = "modality") -> AccuracyReport:
    """The report on rows of one or more jitters; there must be some.

    Args:
        by: one of `items.Cut`; `set` adds the macro figures over sets.
    """
    first = [row for row in rows if row.jitter == rows[0].jitter]
    sets = by_set(first, mean=True) if by == "set" else {}
    return AccuracyReport(
        settings=settings,
        complete=complete,
        methods=list(dict.fromkeys(row.method for row in rows)),
        modalities={rule: by_modality(first, rule) for rule in RULES},
        datasets=by_set(first),
        sizes=by_size(first),
        jitters=by_jitter(rows),
        calibration=calibrations(first),
        recognized=recognized(first),
        seconds=seconds_each(first),
        sets=sets,
        below_ellipse=below_ellipse(sets),
    )
