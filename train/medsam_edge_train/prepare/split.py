"""Which pairs there are, and which of them are for training and which for validation."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medsam_edge.modality import Modality
from medsam_edge_train.prepare.config import PrepareConfig
from medsam_edge_train.prepare.sources import SPLITS, Pair, Skipped, find_pairs

Stream = tuple[str, Modality]
"""Split and modality: what a row of shards holds."""


@dataclass(frozen=True)
class Plan:
    """What there is to prepare.

    Attributes:
        streams: pairs by (split, modality), sorted; each becomes a row of shards.
        skipped: what looked like half a pair.
        kept, drawn: pairs whose split the source said, and those where it was drawn.
    """

    streams: Mapping[Stream, Sequence[Pair]]
    skipped: Sequence[Skipped]
    kept: int
    drawn: int


def make_plan(config: PrepareConfig) -> Plan:
    """Find all pairs and split them; only names are looked at."""
    found = [(root, entry) for root in config.sources for entry in find_pairs(root, Modality.parse(config.modality))]
    skipped = [entry for _, entry in found if isinstance(entry, Skipped)]
    pairs = [entry for _, entry in found if isinstance(entry, Pair)]
    validation = _validation_patients(config, [pair for pair in pairs if not pair.split])
    by_name: dict[tuple[str, ...], Pair] = {}
    kept = 0
    for pair in pairs:
        drawn = SPLITS[(pair.modality, pair.dataset, patient_of(pair, config)) in validation]
        name = (pair.split or drawn, pair.modality.value, pair.dataset, pair.name)
        if name in by_name:
            skipped.append(Skipped(pair.source, f"its modality, dataset and name are those of {by_name[name].source}"))
            continue
        by_name[name] = replace(pair, split=name[0])
        kept += bool(pair.split)
    ordered = [by_name[name] for name in sorted(by_name)]
    streams = itertools.groupby(ordered, lambda pair: (pair.split, pair.modality))
    return Plan({stream: list(own) for stream, own in streams}, skipped, kept, len(ordered) - kept)


def patient_of(pair: Pair, config: PrepareConfig) -> str:
    """The first group of the pattern in the pair's name, or the whole name where it does not match."""
    match = re.search(config.patient_pattern, pair.name)
    return (match[1] if match else None) or pair.name


def _validation_patients(config: PrepareConfig, pairs: Sequence[Pair]) -> set[tuple[Modality, str, str]]:
    """The first patients of each data set in the order of a hash of (seed, patient).

    The data set is not hashed: where several hold the same patients, a patient tends to be on the same side in all.
    """
    patients: dict[tuple[Modality, str], set[str]] = {}
    for pair in pairs:
        patients.setdefault((pair.modality, pair.dataset), set()).add(patient_of(pair, config))
    chosen = set()
    for (modality, dataset), names in patients.items():
        ordered = sorted(names, key=lambda name: (uniform(config.seed, "split", name), name))
        chosen |= {(modality, dataset, name) for name in ordered[: int(len(names) * config.validation + 0.5)]}
    return chosen


def uniform(*names: str | int) -> float:
    """A number in [0, 1) that depends on the names alone."""
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
