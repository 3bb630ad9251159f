from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.benchmarks.helpers import EchoNetwork

from medsam_edge.modality import Modality
from medsam_edge_benchmarks.latency.cases.cases import DrawnCase, LatencyCase, PaperSeconds, draw
from medsam_edge_benchmarks.latency.published.baselines import Baseline, _scaled
from medsam_edge_benchmarks.latency.runs.figures import summarize
from medsam_edge_benchmarks.latency.runs.run import interleave
from medsam_edge_benchmarks.latency.variants import BASELINE, OURS, STAGES, Ours, Run


class Recorder:
    """A variant that notes when it ran, and on how many boxes."""

    def __init__(self, name: str, log: list[tuple[str, int]]) -> None:
        self.name, self.log = name, log

    def run(self, drawn: DrawnCase, output: Path) -> Run:
        self.log.append((self.name, drawn.masks))
        return Run({"decode": 1.0}, 1.0)


def test_variants_take_turns_after_one_box_to_warm_up() -> None:
    log: list[tuple[str, int]] = []
    steps: list[str] = []
    drawn = DrawnCase(Modality.US, Path("x.npz"), np.ones((3, 4), dtype=np.float32))
    variants = {name: Recorder(name, log) for name in ("a", "b")}
    runs = interleave(variants, drawn, 2, Path("out.npz"), steps.append)
    assert log == [("a", 1), ("b", 1), ("a", 3), ("b", 3), ("a", 3), ("b", 3)]
    assert [len(own) for own in runs.values()] == [2, 2]
    assert len(steps) == 6


def test_medians_ratios_and_throughput_by_hand() -> None:
    ours = [Run({"encode": seconds}, 2 * seconds) for seconds in (1.0, 2.0, 9.0)]
    base = [Run({"encode": 8.0, "read": 1.0}, 20.0, "2 of 4 boxes", frozenset({"encode", "total"}))]
    figures = summarize({OURS: ours, BASELINE: base, "never": []}, 10, 40, {OURS: 50.0, BASELINE: 200.0})
    assert set(figures) == {OURS, BASELINE}
    own = figures[OURS]
    assert own.total.p50 == 4.0
    assert own.total.p90 == pytest.approx(4 + 0.8 * 14)
    assert own.total.ratio == 5.0
    assert own.stages["encode"].ratio == 4.0
    assert (own.slices_per_s, own.boxes_per_s, own.rounds) == (2.5, 10.0, 3)
    assert (own.peak_mb, own.peak_ratio) == (50.0, 4.0)
    assert figures[BASELINE].scaled_from == "2 of 4 boxes"
    assert {stage for stage, spread in figures[BASELINE].stages.items() if spread.scaled} == {"encode", "total"}
    assert not any(spread.scaled for spread in own.stages.values())
    assert all(spread.ratio_scaled for spread in own.stages.values())  # by what the baseline's seconds are


def test_without_a_baseline_there_are_no_ratios() -> None:
    own = summarize({OURS: [Run({"encode": 1.0}, 1.0)]}, 1, 1, {})[OURS]
    assert own.total.ratio is None
    assert own.peak_mb is None
    assert own.peak_ratio is None


@pytest.mark.parametrize(
    ("shape", "objects", "limits", "scaled"),
    [
        ((64, 64), 3, (0, 0), set()),
        ((64, 64), 3, (0, 2), {"decode", "restore", "total"}),
        ((64, 64), 3, (1, 3), set()),
        ((8, 64, 64), 1, (0, 1), set()),
        ((8, 64, 64), 1, (2, 0), {"prepare", "encode", "decode", "restore", "total"}),
    ],
)
def test_a_baseline_in_part_is_scaled_by_count(
    tmp_path: Path, shape: tuple[int, ...], objects: int, limits: tuple[int, int], scaled: set[str]
) -> None:
    whole = draw(LatencyCase("x", Modality.CT, shape, objects, PaperSeconds(4, 2, 1)), tmp_path)
    network, threads = EchoNetwork(), torch.get_num_threads()
    run = Baseline(network, threads, *limits).run(whole, tmp_path / "segs.npz")
    assert run.scaled == scaled
    assert set(run.seconds) == {"read", "prepare", "encode", "decode", "restore", "write"}
    count = len(network.boxes)
    if scaled:
        assert count == 2
        assert run.scaled_from is not None
        assert run.scaled_from.startswith(f"2 of {whole.masks} ")
        assert run.total == pytest.approx(sum(run.seconds.values()))
    else:
        assert count == whole.masks
        assert run.scaled_from is None
    with np.load(tmp_path / "segs.npz") as arrays:
        assert arrays["segs"].shape == shape


def test_what_an_object_costs_once_is_scaled_by_objects() -> None:
    """Ten slices of which two were run, of the first of two objects."""
    boxes = np.array([[0, 0, 0, 9, 9, 4], [0, 0, 1, 9, 9, 7]], dtype=np.float32)
    whole = DrawnCase(Modality.CT, Path("x.npz"), boxes)
    measured = {"read": 1.0, "merge": 1.0, "prepare": 1.0, "encode": 2.0, "decode": 3.0, "restore": 4.0, "write": 1.0}
    run = _scaled(measured, whole.part(2, 1), whole)
    expected = {"read": 1.0, "prepare": 5.0, "encode": 10.0, "decode": 15.0, "restore": 4.0 * 5 + 2, "write": 1.0}
    assert run.seconds == expected
    assert run.total == sum(expected.values())
    assert run.scaled_from == "2 of 10 slices, counted per object"
    assert _scaled(measured, whole, whole).seconds["restore"] == 5.0


@pytest.mark.parametrize(("shape", "objects"), [((64, 72), 2), ((8, 64, 72), 2)])
def test_ours_from_a_file_to_a_mask(tmp_path: Path, shape: tuple[int, ...], objects: int) -> None:
    drawn = draw(LatencyCase("x", Modality.CT, shape, objects, PaperSeconds(4, 2, 1)), tmp_path)
    ours = Ours(None, 1)
    runs = [ours.run(drawn, tmp_path / "segs.npz") for _ in range(2)]
    for run in runs:
        assert set(run.seconds) == set(STAGES)
        assert run.seconds["encode"] > 0  # nothing is kept from one run to the next
        assert run.total > run.seconds["write"] > 0
    with np.load(tmp_path / "segs.npz") as arrays:
        assert arrays["segs"].shape == shape
        assert arrays["segs"].any()
