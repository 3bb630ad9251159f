from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medsam_edge_benchmarks.accuracy.scoring.measure import Row
from medsam_edge_benchmarks.accuracy.scoring.summary import (
    DRAWS,
    bootstrap,
    by_jitter,
    by_modality,
    by_set,
    by_size,
    recognized,
)
from tests.benchmarks.helpers import ROW


def row(key: str, dsc: float, nsd: float, label: int = 1, modality: str = "CT", method: str = "net") -> Row:
    about = {"key": key, "label": label, "modality": modality, "method": method}
    return replace(ROW, **about, dsc=dsc, nsd=nsd, challenge_nsd=nsd / 2)


TWO_IMAGES = [row("a", 1.0, 1.0), row("a", 0.1, 0.5, label=2), row("b", 0.6, 0.8)]


def test_both_rules_by_hand() -> None:
    plain, challenge = by_modality(TWO_IMAGES)["CT"], by_modality(TWO_IMAGES, "challenge")["CT"]
    assert (plain.images, plain.objects) == (2, 3)
    assert plain.dsc["net"].mean == pytest.approx(100 * (1 + 0.1 + 0.6) / 3)
    assert plain.nsd["net"].mean == pytest.approx(100 * (1 + 0.5 + 0.8) / 3)
    assert challenge.dsc["net"].mean == pytest.approx(100 * (0.55 + 0.6) / 2)
    assert challenge.nsd["net"].mean == pytest.approx(100 * ((0.5 + 0.25) / 2 + 0.4) / 2)


def test_the_challenge_counts_no_nsd_of_images_of_low_dsc() -> None:
    """Of images and not of objects: one of 0.1 beside one of 1.0 counts, two of 0.2 on average do not."""
    low = [row("c", 0.1, 0.5), row("c", 0.3, 0.5, label=2)]
    challenge = by_modality([*TWO_IMAGES, *low], "challenge")["CT"]
    assert challenge.nsd["net"].mean == pytest.approx(100 * ((0.5 + 0.25) / 2 + 0.4 + 0) / 3)
    assert challenge.dsc["net"].mean == pytest.approx(100 * (0.55 + 0.6 + 0.2) / 3)


def test_what_is_empty_on_both_sides_is_left_out() -> None:
    nothing = row("c", float("nan"), float("nan"))
    for rule in ("plain", "challenge"):
        with_it, without = (by_modality(rows, rule)["CT"] for rows in ([*TWO_IMAGES, nothing], TWO_IMAGES))
        assert with_it.dsc["net"].mean == without.dsc["net"].mean
        assert with_it.nsd["net"].mean == without.nsd["net"].mean
    assert by_modality([nothing])["CT"].dsc["net"].mean is None


def test_mean_is_over_modalities() -> None:
    rows = [*TWO_IMAGES, row("d", 0.9, 0.9, modality="US"), row("d", 0.3, 0.3, modality="US", method="other")]
    table = by_modality(rows)
    assert list(table) == ["CT", "US", "mean"]
    assert table["mean"].dsc["net"].mean == pytest.approx((170 / 3 + 90) / 2)
    assert table["mean"].objects == 4
    assert table["CT"].dsc["other"].mean is None
    assert table["mean"].dsc["other"].mean is None  # a mean over other modalities is another figure


def test_bootstrap_of_a_constant_is_the_constant() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, (30, 1)).astype(float)
    mean, draws = bootstrap(0.7 * counts, counts, seed=1)
    assert mean == pytest.approx(0.7)
    assert draws == pytest.approx(np.full((DRAWS, 1), 0.7))


def test_bootstrap_draws_images_not_objects() -> None:
    """Of two images one is drawn twice in half of the draws: the interval has both extremes, however many objects."""
    own = [row("a", 0.2, 0.2, label) for label in range(50)] + [row("b", 0.8, 0.8, label) for label in range(50)]
    estimate = by_modality(own)["CT"].dsc["net"]
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((50, 20, 80))
    single = by_modality(own[:50])["CT"].dsc["net"]
    assert (single.mean, single.low, single.high) == (pytest.approx(20), None, None)


def test_bootstrap_interval_is_that_of_theory() -> None:
    values = np.random.default_rng(3).normal(0.6, 0.1, (400, 1))
    mean, draws = bootstrap(values, np.ones_like(values), seed=5)
    low, high = np.percentile(draws, (2.5, 97.5))
    half = 1.96 * values.std() / 20
    assert low < mean[0] < high
    assert (mean[0] - low, high - mean[0]) == pytest.approx((half, half), rel=0.1)


def test_the_same_images_have_the_same_interval() -> None:
    rows = [row(str(number), number / 9, number / 9) for number in range(10)]
    rows += [replace(own, method="twin") for own in rows]
    table = by_modality(rows)["CT"].dsc
    assert table["net"] == table["twin"] == by_set(rows)["CT/set"].dsc["net"]


def test_sizes_fall_into_their_bins() -> None:
    rows = [replace(ROW, key=str(side), side=side) for side in (0.5, 7.99, 8.0, 15.9, 16.0, 63.9, 64.0, 256.0)]
    assert {name: group.objects for name, group in by_size(rows).items()} == {
        "< 8": 2,
        "8–16": 2,
        "16–32": 1,
        "32–64": 1,
        "≥ 64": 2,
    }


def test_jitters_have_their_own_means() -> None:
    rows = [replace(ROW, jitter=jitter, dsc=dsc) for jitter, dsc in ((5.0, 0.7), (0.0, 0.9), (10.0, 0.5))]
    means = [(name, group.dsc["net"].mean) for name, group in by_jitter(rows).items()]
    assert means == [("0", pytest.approx(90)), ("5", pytest.approx(70)), ("10", pytest.approx(50))]  # a line's order


def test_recognition_counts_images_not_objects() -> None:
    rows = [replace(ROW, key="a", label=label, recognized="CT") for label in range(3)]
    rows += [replace(ROW, key="b", recognized="US"), replace(ROW, key="c", method="ellipse")]
    assert recognized(rows) == {"CT": {"net": 50.0}}
