"""Finds all pairs and divides them into training and validation."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medsam_edge.modality import Modality
from medsam_edge_train.data.cases import SPLITS
from medsam_edge_train.prepare.config import PrepareConfig
from medsam_edge_train.prepare.sources import Pair, Skipped, find_pairs

Stream = tuple[str, Modality]
"""Split and modality. The pairs of a stream become a series of shards."""


@dataclass(frozen=True)
class SplitPairs:
    """The pairs to prepare.

    Attributes:
        streams: pairs by (split, modality), sorted.
        skipped: images and labels that have no other half, or a name that is taken.
        kept, drawn: number of pairs whose split the source says, and of pairs whose split was drawn.
    """

    streams: Mapping[Stream, Sequence[Pair]]
    skipped: Sequence[Skipped]
    kept: int
    drawn: int


def split_pairs(config: PrepareConfig) -> SplitPairs:
    """Find all pairs and give each a split; only names are read."""
    found = [entry for root in config.sources for entry in find_pairs(root, Modality.parse(config.modality))]
    skipped = [entry for entry in found if isinstance(entry, Skipped)]
    pairs = [entry for entry in found if isinstance(entry, Pair)]
    validation = _validation_patients(config, [pair for pair in pairs if not pair.split])
    by_name: dict[tuple[str, ...], Pair] = {}
    kept = 0
    for pair in pairs:
        drawn = SPLITS[(pair.modality, pair.dataset, patient_of(pair, config)) in validation]
        name = (pair.split or drawn, pair.modality.value, pair.dataset, pair.name)
        if name in by_name:
            skipped.append(Skipped(pair.source, f"it has the modality, dataset and name of {by_name[name].source}"))
            continue
        by_name[name] = replace(pair, split=name[0])
        kept += bool(pair.split)
    ordered = [by_name[name] for name in sorted(by_name)]
    streams = itertools.groupby(ordered, lambda pair: (pair.split, pair.modality))
    by_stream = {stream: list(of_stream) for stream, of_stream in streams}
    return SplitPairs(by_stream, skipped, kept, len(ordered) - kept)


def patient_of(pair: Pair, config: PrepareConfig) -> str:
    """The first group of the pattern in the pair's name; the whole name if the pattern does not match."""
    match = re.search(config.patient_pattern, pair.name)
    return (match[1] if match else None) or pair.name


def _validation_patients(config: PrepareConfig, pairs: Sequence[Pair]) -> set[tuple[Modality, str, str]]:
    """(modality, data set, patient) of validation: the first patients of each data set by a hash of (seed, patient).

    The data set is not hashed: if several hold the same patients, a patient tends to have the same split in all.
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
    """A pseudo-random number in [0, 1) that depends on the names alone."""
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
