from __future__ import annotations

import re

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from medsam_edge.cli.main import main
from medsam_edge.errors import InputError
from medsam_edge.networks.bundle import load_bundle, packaged_bundle
from medsam_edge_benchmarks.network.profile import PARTS, Layer, PartProfile, as_table, macs, profile


def weights(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.float32)


def test_macs_by_hand() -> None:
    image = ops.parameter([1, 4, 8, 8], np.float32)
    plain = ops.convolution(image, weights(6, 4, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])
    grouped = ops.group_convolution(plain, weights(6, 1, 1, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1])  # 4 × 4 left
    larger = ops.convolution_backprop_data(grouped, weights(6, 5, 2, 2), [2, 2])  # 8 × 8 again
    flat = ops.reshape(larger, np.array([5, 64]), special_zero=False)
    product = ops.matmul(flat, weights(64, 7), False, False)
    swapped = ops.matmul(product, weights(5, 3), True, False)  # (7 × 5) · (5 × 3)
    model = ov.Model([swapped], [image])
    expected = [6 * 64 * 4 * 9, 6 * 16 * 9, 6 * 16 * 5 * 4, 5 * 7 * 64, 7 * 3 * 5]
    assert macs(model) == sum(expected)


def test_the_packaged_bundle() -> None:
    bundle = load_bundle(packaged_bundle())
    one, two = profile(bundle, boxes=1, rounds=1), profile(bundle, boxes=2, rounds=1)
    assert [own.part for own in one] == list(PARTS)
    for own in one:
        assert own.megabytes / 4 < own.parameters / 1e6 < own.megabytes  # one to four bytes each
        assert own.megabytes < 20
        assert own.ms == pytest.approx(sum(layer.ms for layer in own.layers))
        assert [layer.ms for layer in own.layers] == sorted((layer.ms for layer in own.layers), reverse=True)
    assert one[0].gmacs == two[0].gmacs
    assert 1.9 < two[1].gmacs / one[1].gmacs <= 2
    table = as_table(one, 3)
    assert f"encoder: {one[0].parameters:,} parameters" in table
    assert one[1].layers[0].name in table


def test_the_table_by_hand() -> None:
    layers = [Layer("a", "MatMul", "f32", 3.0), Layer("b", "Softmax", "f32", 1.0), Layer("c", "MatMul", "f32", 1.0)]
    lines = as_table([PartProfile("decoder", 1000, 2.0, 0.05, 5.0, layers)], 2).splitlines()
    assert lines[0] == "decoder: 1,000 parameters, 2.0 MB, 0.05 GMAC, 5.0 ms in nodes, 10 GMAC/s"
    assert [line.split() for line in lines[1:]] == [
        ["4.00", "ms", "80.0%", "MatMul", "(f32)"],
        ["1.00", "ms", "20.0%", "Softmax", "(f32)"],
        ["slowest", "nodes"],
        ["3.00", "ms", "60.0%", "a"],
        ["1.00", "ms", "20.0%", "b"],
    ]


@pytest.mark.parametrize("option", ["--boxes", "--rounds", "--threads", "--top"])
def test_bad_options_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "model", option, "-1"]) == 2
    assert re.search(rf"{option[2:]}.*: expected positive numbers", capsys.readouterr().err)


@pytest.mark.parametrize("settings", [{"boxes": 0}, {"rounds": 0}])
def test_bad_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(InputError, match="boxes, rounds: expected positive numbers"):
        profile(load_bundle(packaged_bundle()), **settings)
