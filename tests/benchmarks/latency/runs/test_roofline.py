from __future__ import annotations

import pytest

from medsam_edge import Segmenter
from medsam_edge.networks.bundle import load_bundle, packaged_bundle
from medsam_edge_benchmarks.latency.runs import roofline
from medsam_edge_benchmarks.network.profile import macs, read_part


def test_graphs_by_hand() -> None:
    for quantized in (False, True):
        graphs = roofline.graphs(64, quantized)
        assert macs(graphs["MatMul"]) == 64**3
        assert macs(graphs["Convolution"]) == 4 * 4 * 16 * 16 * 9


@pytest.mark.parametrize(("precision", "ending"), [("f32", "f32"), ("int8", "i8")])
def test_graphs_run_in_the_precision_that_is_measured(precision: str, ending: str) -> None:
    probes = list(roofline._probes(precision, 1, 128))
    assert [probe.name.split()[0] for probe in probes] == ["MatMul", "Convolution"]
    assert all(probe.name.lower().endswith(ending) for probe in probes)


def test_a_rate_is_that_of_the_faster_graph() -> None:
    probes = [roofline._Probe("f32", name, gmacs, lambda: None) for name, gmacs in (("a", 1.0), ("b", 4.0))]
    assert roofline._rate("f32", probes, {"f32 a": 0.5, "f32 b": 1.0}) == roofline.Rate("f32", 4.0, "b")


def test_a_precision_the_machine_lacks_has_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(roofline.NATIVE, "bf16", "NONE")
    assert list(roofline._probes("bf16", 1, 64)) == []
    assert roofline._rate("bf16", [], {}) == roofline.Rate("bf16", None, "not native")


def test_measurements_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "REPEATS", 1)
    log: list[str] = []
    assert set(roofline._seconds({"a": lambda: log.append("a"), "b": lambda: log.append("b")})) == {"a", "b"}
    assert log == ["a", "b"] * 3


def test_shares_of_the_packaged_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "REPEATS", 1)
    monkeypatch.setattr(roofline, "COPY_BYTES", 1 << 20)
    bundle = load_bundle(packaged_bundle())
    measured = roofline.measure_roofline(Segmenter(num_threads=1).model, bundle, 1, size=64)
    rates = {rate.precision: rate.gmacs_per_s for rate in measured.rates}
    assert measured.copy_gb_per_s > 0
    assert [part.part for part in measured.parts] == ["encoder", "decoder"]
    for part in measured.parts:
        rate = rates[part.precision]
        assert rate is not None
        assert part.gmacs == macs(read_part(bundle, part.part, 1)) / 1e9
        assert part.gmacs_per_s == pytest.approx(part.gmacs / part.ms * 1e3)
        assert part.share == pytest.approx(part.gmacs_per_s / rate)
