"""From rows to figures with intervals: by modality, dataset, object size and jitter, under two rules.

plain       a modality's figure is the mean over its objects
challenge   the mean over its images of the mean over each image's objects, with the challenge's NSD, which is 0 for an
            image whose mean DSC is not above 0.2

Under both, `mean` is the mean over modalities, as in the papers' tables, so that three hundred nuclei do not outvote
one polyp. Intervals are 95 % by bootstrap over images and not over objects, because the objects of one image are alike.
So are the images of one patient, but whose they are is not known: where data have several of one, intervals are too
narrow.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from medsam_edge.modality import Modality
from medsam_edge_benchmarks.accuracy.scoring.measure import Row
from medsam_edge_convert.accuracy import ELLIPSE

METRICS = ("dsc", "nsd")
RULES = ("plain", "challenge")
MEAN = "mean"
DRAWS = 1000
COUNTED = 0.2
"""Mean DSC of an image above which the challenge computes its NSD."""
SIZES = (8, 16, 32, 64)
"""Network pixels that part the bins of boxes' sides."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean in percent with its 95 % interval; no interval for fewer than two images, nothing where nothing was
    measured."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """What was measured on some of the images: an estimate by metric and method."""

    images: int
    objects: int
    dsc: Mapping[str, Estimate]
    nsd: Mapping[str, Estimate]

    def metric(self, name: str) -> Mapping[str, Estimate]:
        """`dsc` or `nsd`."""
        return self.dsc if name == "dsc" else self.nsd


Groups = Mapping[str, Group]


def by_modality(rows: Sequence[Row], rule: str = "plain") -> Groups:
    """From rows of one jitter, each modality, and `mean`; a method that lacks a modality has no mean."""
    return _groups(rows, lambda row: row.modality, [modality.value for modality in Modality], rule, mean=True)


def by_set(rows: Sequence[Row], mean: bool = False) -> Groups:
    """Each data set, as modality/name, by the plain rule; if asked for also `mean`, over the sets."""
    return _groups(rows, lambda row: row.set_name, list(dict.fromkeys(row.set_name for row in rows)), mean=mean)


def below_ellipse(groups: Groups) -> dict[str, dict[str, int]]:
    """The number of groups, `mean` aside, in which a method's figure is below the ellipse's, by metric and method."""
    counts: dict[str, dict[str, int]] = {metric: {} for metric in METRICS}
    for metric, own in counts.items():
        for estimates in (group.metric(metric) for name, group in groups.items() if name != MEAN):
            for method, figure in estimates.items():
                if figure.mean is not None and (ellipse := estimates[ELLIPSE].mean) is not None:
                    own[method] = own.get(method, 0) + (figure.mean < ellipse)
    return counts


def by_size(rows: Sequence[Row]) -> Groups:
    """Bins of the boxes' side in network pixels, each the mean over all its objects of whatever modality."""
    names = [f"< {SIZES[0]}", *(f"{low}–{high}" for low, high in pairwise(SIZES)), f"≥ {SIZES[-1]}"]
    return _groups(rows, lambda row: names[int(np.searchsorted(SIZES, row.side, side="right"))], names)


def by_jitter(rows: Iterable[Row]) -> Groups:
    """The `mean` over modalities by the plain rule at each jitter, rising."""
    each: dict[float, list[Row]] = {}
    for row in rows:
        each.setdefault(row.jitter, []).append(row)
    return {f"{jitter:g}": by_modality(own)[MEAN] for jitter, own in sorted(each.items())}


def recognized(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Percentage of images whose modality was recognised, by modality and method; nothing where it was told."""
    hits: dict[str, dict[str, dict[str, bool]]] = {}
    for row in rows:
        if row.recognized:
            own = hits.setdefault(row.modality, {}).setdefault(row.method, {})
            own[row.key] = row.recognized == row.modality
    return {
        modality: {name: 100 * float(np.mean(list(own.values()))) for name, own in methods.items()}
        for modality, methods in hits.items()
    }


def _groups(
    rows: Sequence[Row], name_of: Callable[[Row], str], order: Sequence[str], rule: str = "plain", mean: bool = False
) -> Groups:
    methods = list(dict.fromkeys(row.method for row in rows))
    members: dict[str, list[Row]] = {name: [] for name in order}
    for row in rows:
        members[name_of(row)].append(row)
    members = {name: own for name, own in members.items() if own}
    counts = {name: (len({r.key for r in own}), len({(r.key, r.label) for r in own})) for name, own in members.items()}
    if mean and members:
        counts[MEAN] = (sum(images for images, _ in counts.values()), sum(objects for _, objects in counts.values()))
    tables = {metric: _estimates(members, methods, metric, rule, mean) for metric in METRICS}
    return {name: Group(*own, tables["dsc"][name], tables["nsd"][name]) for name, own in counts.items()}


def _estimates(
    members: Mapping[str, Sequence[Row]], methods: Sequence[str], metric: str, rule: str, mean: bool
) -> dict[str, dict[str, Estimate]]:
    found = {}
    for name, own in members.items():
        images = "\n".join(dict.fromkeys(row.key for row in own))
        found[name] = bootstrap(*per_image(own, methods, metric, rule), seed=zlib.crc32(images.encode()))
    if mean and found:
        centres, draws = zip(*found.values(), strict=True)
        found[MEAN] = np.mean(centres, axis=0), np.mean(draws, axis=0)
    return {
        name: {method: _estimate(float(centre[i]), draws[:, i]) for i, method in enumerate(methods)}
        for name, (centre, draws) in found.items()
    }


def per_image(rows: Sequence[Row], methods: Sequence[str], metric: str, rule: str = "plain") -> tuple[Floats, Floats]:
    """What the images of a group add to a mean: sums and counts, both (images, methods). What is NaN is left out."""
    images = {key: index for index, key in enumerate(dict.fromkeys(row.key for row in rows))}
    column = {method: index for index, method in enumerate(methods)}
    sums, counts = np.zeros((2, len(images), len(methods)))
    for row in rows:
        value = row.dsc if metric == "dsc" else row.nsd if rule == "plain" else row.challenge_nsd
        if np.isfinite(value):
            sums[images[row.key], column[row.method]] += value
            counts[images[row.key], column[row.method]] += 1
    if rule == "challenge":
        sums, counts = sums / np.maximum(counts, 1), (counts > 0).astype(float)
        if metric == "nsd":
            sums[per_image(rows, methods, "dsc", rule)[0] <= COUNTED] = 0.0
    return sums, counts


def bootstrap(sums: Floats, counts: Floats, seed: int) -> tuple[Floats, Floats]:
    """The mean of each method, (methods,), and the means of `DRAWS` draws of as many images with replacement, (DRAWS,
    methods). NaN where nothing was drawn, and for all draws where there is but one image.

    All methods see the same draws, and so do groups of the same images: what is the same has the same interval.
    """
    images = len(sums)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(images, np.full(images, 1 / images), size=DRAWS)
    draws = _ratio(weights @ sums, weights @ counts)
    return _ratio(sums.sum(axis=0), counts.sum(axis=0)), draws if images > 1 else np.full_like(draws, np.nan)


def _ratio(sums: Floats, counts: Floats) -> Floats:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _estimate(mean: float, draws: Floats) -> Estimate:
    if not np.isfinite(mean):
        return Estimate()
    drawn = draws[np.isfinite(draws)]
    low, high = (100 * np.percentile(drawn, (2.5, 97.5))).tolist() if drawn.size else (None, None)
    return Estimate(100 * mean, low, high)
