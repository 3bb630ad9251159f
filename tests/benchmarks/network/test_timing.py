from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medsam_edge.cli.main import main
from medsam_edge_benchmarks.network.timing import (
    DECODER_BASELINE,
    ENCODER_BASELINE,
    SIDES,
    decoder_variants,
    draw_boxes,
    summarize,
)
from medsam_edge_train import checkpoint
from medsam_edge_train.models import ZOO, MedSAM, fuse
from medsam_edge_train.models.layers import ConvBN
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder


def test_ratios_are_of_medians() -> None:
    timings = summarize({ENCODER_BASELINE: [10.0, 30.0, 20.0], "fast": [5.0, 4.0, 100.0]}, ENCODER_BASELINE)
    assert timings["fast"].median_ms == 5.0
    assert timings["fast"].ratio == 4.0
    assert timings[ENCODER_BASELINE].ratio == 1.0
    assert (timings[ENCODER_BASELINE].low_ms, timings[ENCODER_BASELINE].high_ms) == (15.0, 25.0)


def tiny() -> MedSAM:
    return MedSAM(nn.Sequential(ConvBN(3, 8, 3, 2), ConvBN(8, 256, 3, 2)), PromptEncoder(), MaskDecoder())


def test_a_checkpoint_without_branches_to_fuse_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ZOO, "tiny", tiny)
    checkpoint.write(tmp_path / "fused.safetensors", fuse(tiny()), "tiny")
    assert main(["bench", "encoder", "--checkpoint", str(tmp_path / "fused.safetensors"), "--rounds", "1"]) == 2
    assert "--checkpoint: expected branches not fused" in capsys.readouterr().err


def test_command_measures_four_variants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ZOO, "tiny", tiny)
    threads = torch.get_num_threads()
    out = tmp_path / "encoder.json"
    command = ["bench", "encoder", "--architecture", "tiny", "--rounds", "2", "--threads", "1", "--json", str(out)]
    assert main(command) == 0
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    measured = json.loads(out.read_text(encoding="utf-8"))
    timings = measured["timings"]
    assert measured["gmacs"] == pytest.approx((128**2 * 3 * 8 * 9 + 64**2 * 8 * 256 * 9) / 1e9)
    assert len(timings) == 4
    assert all(timing["median_ms"] > 0 and name in printed for name, timing in timings.items())
    assert main(["bench", "encoder", "--rounds", "0"]) == 2
    assert main(["bench", "encoder", "--architecture", "medsam_vit_b"]) == 2


def tiny_decoder() -> MedSAM:
    return MedSAM(nn.Conv2d(3, 256, 4, 4), PromptEncoder(), MaskDecoder(depth=1, hidden=32))


def test_boxes_lie_in_the_square_and_are_always_the_same() -> None:
    boxes = draw_boxes(20)
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min() >= 0
    assert boxes.max() <= 256
    assert (SIDES[0] - 0.01 <= sides).all()
    assert (sides <= SIDES[1] + 0.01).all()
    assert (boxes == draw_boxes(20)).all()


def test_the_baseline_decodes_box_by_box_and_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = tiny_decoder().eval()
    calls = decoder_variants(network, draw_boxes(3), 1)
    seen: list[tuple[int, bool]] = []
    decode = MedSAM.decode

    def watched(self: MedSAM, rows: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((len(boxes), self.mask_decoder.reparameterized))
        return decode(self, rows, boxes)

    monkeypatch.setattr(MedSAM, "decode", watched)
    calls[DECODER_BASELINE]()
    assert seen == [(1, False)] * 3
    for call in calls.values():
        call()
    assert seen == [(1, False)] * 6 + [(1, True)] * 3


def test_command_says_ratios_per_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ZOO, "rep_medsam", tiny_decoder)
    out = tmp_path / "out.json"
    command = ["bench", "decoder", "--boxes", "2", "--rounds", "1", "--threads", "1", "--json", str(out)]
    assert main(command) == 0
    values = json.loads(out.read_text(encoding="utf-8"))
    assert list(values["timings"]) == ["2"]
    for timings in values["timings"].values():
        assert timings[DECODER_BASELINE]["ratio"] == 1
        assert len(timings) == 6
        assert all(np.isfinite(own["median_ms"]) for own in timings.values())
    printed = capsys.readouterr().out
    assert printed.count(DECODER_BASELINE) == 1
    assert main(["bench", "decoder", "--boxes", "0"]) == 2
