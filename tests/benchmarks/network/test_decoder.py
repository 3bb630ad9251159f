from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medsam_edge.cli.main import main
from medsam_edge_benchmarks.network.decoder import BASELINE, SIDES, draw_boxes, variants
from medsam_edge_train.models import ZOO, MedSAM
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder


def tiny() -> MedSAM:
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
    network = tiny().eval()
    calls = variants(network, draw_boxes(3), 1)
    seen: list[tuple[int, bool]] = []
    decode = MedSAM.decode

    def watched(self: MedSAM, rows: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((len(boxes), self.mask_decoder.reparameterized))
        return decode(self, rows, boxes)

    monkeypatch.setattr(MedSAM, "decode", watched)
    calls[BASELINE]()
    assert seen == [(1, False)] * 3
    for call in calls.values():
        call()
    assert seen == [(1, False)] * 6 + [(1, True)] * 3


def test_command_says_ratios_per_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ZOO, "rep_medsam", tiny)
    out = tmp_path / "out.json"
    command = ["bench", "decoder", "--boxes", "2", "--rounds", "1", "--threads", "1", "--json", str(out)]
    assert main(command) == 0
    values = json.loads(out.read_text(encoding="utf-8"))
    assert list(values["timings"]) == ["2"]
    for timings in values["timings"].values():
        assert timings[BASELINE]["ratio"] == 1
        assert len(timings) == 6
        assert all(np.isfinite(own["median_ms"]) for own in timings.values())
    printed = capsys.readouterr().out
    assert printed.count(BASELINE) == 1
    assert main(["bench", "decoder", "--boxes", "0"]) == 2
