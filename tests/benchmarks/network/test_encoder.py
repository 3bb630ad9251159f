from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from medsam_edge.cli.main import main
from medsam_edge_benchmarks.network.encoder import BASELINE, summarize
from medsam_edge_train import checkpoint
from medsam_edge_train.models import ZOO, MedSAM, fuse
from medsam_edge_train.models.layers import ConvBN
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder


def test_ratios_are_of_medians() -> None:
    timings = summarize({BASELINE: [10.0, 30.0, 20.0], "fast": [5.0, 4.0, 100.0]}, BASELINE)
    assert timings["fast"].median_ms == 5.0
    assert timings["fast"].ratio == 4.0
    assert timings[BASELINE].ratio == 1.0
    assert (timings[BASELINE].low_ms, timings[BASELINE].high_ms) == (15.0, 25.0)


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
