from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from medsam_edge.cli.main import guarded
from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.modality import Modality
from medsam_edge_train import checkpoint
from medsam_edge_train.cli.main import run
from medsam_edge_train.data.cases import find_cases, read_case
from medsam_edge_train.stages.phantoms import PhantomConfig, write_phantoms
from tests.train.tiny import tiny

pytestmark = pytest.mark.usefixtures("tiny_zoo")


FAST = ["--architecture", "tiny", "--image-size", "64", "--batch-size", "2", "--workers", "0", "--precision", "32-true"]


def test_fit_finetune_and_export(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [*FAST, "--data", str(data), "--epochs", "1", "--images-per-epoch", "4"]
    assert run(["fit", *common, "-o", str(tmp_path / "fit")]) == 0
    best = tmp_path / "fit" / "best.safetensors"
    assert capsys.readouterr().out.strip() == str(best)
    tune = ["finetune", *common, "-o", str(tmp_path / "tune"), "--preset", "small", "--image-size", "64"]
    assert run([*tune, "--init", str(best)]) == 0
    assert checkpoint.read(tmp_path / "tune" / "best.safetensors").architecture == "tiny"
    mean = tmp_path / "mean.safetensors"
    capsys.readouterr()
    words = ["average", str(best), str(best), "-o", str(mean), "--shares", "1", "2", "--data", str(data)]
    assert run([*words, "--image-size", "64"]) == 0
    assert capsys.readouterr() == (f"{mean}\n", "average: batch statistics of 5 images\n")
    assert run(["export", str(best), "-o", str(tmp_path / "out.pth"), "--layout", "module"]) == 0
    loaded = torch.load(tmp_path / "out.pth", weights_only=True)
    assert all(key.startswith("module.") for key in loaded["model"])
    assert checkpoint.read(tmp_path / "out.pth").state.keys() == checkpoint.read(best).state.keys()


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", *FAST, "--data", str(data), "-o", str(tmp_path / "run"), "--dry-run", "--crop-size", "64"]
    assert run([*words, "--epochs", "10", "--image-size", "128", "--images-per-epoch", "20"]) == 0
    plan = capsys.readouterr().out
    assert "5 training images: CT 3, Fundus 2" in plan
    assert "10 of 20 images, 10 steps each (10 at 128, 90 of crops at 64 px)" in plan
    parameters = sum(parameter.numel() for parameter in tiny().parameters())
    assert f"tiny, {parameters:,} parameters, {parameters:,} trained" in plan
    assert not (tmp_path / "run").exists()


def test_the_plan_of_a_network_with_windows(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--data", str(data), "-o", str(tmp_path / "run"), "--dry-run", "--batch-size", "2"]
    assert run([*words, "--architecture", "efficient_medsam", "--images-per-epoch", "0"]) == 0
    assert "efficient_medsam, 8,941,463 parameters" in capsys.readouterr().out


def test_qat_alone_means_its_preset(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.write(tmp_path / "x.safetensors", tiny(), "tiny")
    words = ["finetune", *FAST, "--init", str(tmp_path / "x.safetensors"), "--data", str(data), "--dry-run"]
    words += ["-o", str(tmp_path / "run")]
    (tmp_path / "qat.yaml").write_text("qat: true\n")
    assert run([*words, "--config", str(tmp_path / "qat.yaml")]) == 0
    by_file = capsys.readouterr().out
    words.append("--qat")
    assert run(words) == 0
    plan = capsys.readouterr().out
    assert plan == by_file
    assert "3 of 2000 images, 1000 steps each (3000 at 64 px)" in plan
    assert "precision   32-true; the image encoder in f32 with the rounding of int8" in plan
    assert run([*words, "--preset", "small"]) == 0
    plan = capsys.readouterr().out
    assert "4 of 240 images, 120 steps each (480 at 64 px)" in plan
    assert "rounding of int8" in plan


def test_a_dry_run_refuses_what_the_run_would(data: Path, tmp_path: Path) -> None:
    words = ["fit", *FAST, "--data", str(data), "-o", str(tmp_path / "run"), "--images-per-epoch", "0", "--dry-run"]
    with pytest.raises(InputError, match="batch_size: expected at most the 5 images of an epoch, got 6"):
        run([*words, "--batch-size", "6"])
    shutil.copytree(data / "train", tmp_path / "half" / "train")
    with pytest.raises(FileMissingError, match=r"data: expected a folder, got .*val"):
        run([*words, "--data", str(tmp_path / "half")])


def test_a_dry_run_checks_what_training_starts_from(data: Path, tmp_path: Path) -> None:
    words = ["finetune", *FAST, "--data", str(data), "-o", str(tmp_path / "run"), "--dry-run"]
    with pytest.raises(InputError, match="init: finetune starts from a trained checkpoint"):
        run(words)
    with pytest.raises(FileMissingError, match="checkpoint: no such file"):
        run([*words, "--init", "missing.pth"])
    (tmp_path / "bad.pth").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="cannot read"):
        run([*words, "--init", str(tmp_path / "bad.pth")])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.ckpt").touch()
    with pytest.raises(InputError, match="a run that --resume would continue"):
        run(["fit", *words[1:]])


def test_the_plan_counts_the_arithmetic_by_hand(data: Path, tmp_path: Path) -> None:
    from medsam_edge_train.cli.dry_run import _cost

    with torch.device("meta"):
        network = tiny()
    macs, kept = _cost(network, 64, 2, 0)
    assert macs == 2 * 16 * 16 * 32 * (3 * 4 * 4)  # images × positions × outputs × inputs
    # the input, and the convolution's output for the batch norm, with its 2 × 32 statistics and running ones
    assert 4 * (2 * 3 * 64 * 64 + 2 * 32 * 16 * 16) <= kept <= 4 * (2 * 3 * 64 * 64 + 2 * 32 * 16 * 16 + 4 * 32)


def test_a_preset_and_a_file(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(f"data: {data}\noutput: {tmp_path / 'run'}\nbatch_size: 4\n")
    words = ["fit", "--preset", "rep-medsam", "--config", str(tmp_path / "run.yaml"), "--dry-run"]
    assert run(words) == 0
    plan = capsys.readouterr().out
    assert "rep_medsam, 10,570,092 parameters" in plan
    assert "8 of 5 images, 1 steps each (8 at 256 px)" in plan


def test_a_missing_setting_is_named(data: Path) -> None:
    with pytest.raises(InputError, match="--output requires an argument"):
        run(["fit", "--data", str(data)])
    with pytest.raises(InputError, match="--embeddings requires an argument"):
        run(["distill", "--data", str(data), "-o", "run"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected one of phantoms, prepare, embed, distill, fit, finetune, recipe, average, export"),
        (["polish"], 'Unknown command "polish"'),
        (["fit", "--data", "x", "-o", "x", "--epoch-count", "3"], "Unknown option: --epoch-count"),
        (["fit", "--data", "x", "-o", "x", "word"], "Unused Tokens: .'word'"),
        (["fit", "--data", "x", "-o", "x", "--schedule", "linear"], 'Invalid value "linear" for --schedule'),
    ],
)
def test_unknown_stages_and_options_are_wrong_usage(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(run, words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(f"medsam-edge: error: .*{message}.*\n", said.err)


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["fit", "--help"], ["recipe", "-h"]):
        assert guarded(run, words) == 0
    assert "--image-size" in capsys.readouterr().out


def test_without_an_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in ((["recipe", "--help"], 0), (["recipe", "no.yaml", "--data", "no", "-o", "no"], 2)):
        monkeypatch.setattr(sys, "argv", ["medsam_edge_train", *words])
        with pytest.raises(SystemExit) as caught:
            runpy.run_module("medsam_edge_train", run_name="__main__")
        assert caught.value.code == code
    assert "config: no such file: no.yaml" in capsys.readouterr().err


def test_phantoms_are_a_data_folder(tmp_path: Path) -> None:
    root = write_phantoms(PhantomConfig(tmp_path / "phantoms", count=2, val_count=1))
    for split, count in (("train", 2), ("val", 1)):
        cases = find_cases(root / split)
        assert [case.modality for case in cases].count(Modality.CT) == count
        assert len(cases) == count * len(Modality)
        image, labels = read_case(cases[0])
        assert image.shape[:2] == labels.shape
        assert labels.max() > 0
    first, second = (cv2.imread(str(path)) for path in sorted((root / "train/CT/phantom/images").iterdir()))
    assert first is not None and second is not None
    assert first.shape != second.shape or not np.array_equal(first, second)
    with pytest.raises(InputError, match=r"output: .* exists already"):
        PhantomConfig(tmp_path / "phantoms")
    with pytest.raises(InputError, match="count: expected at least 1, got 0"):
        PhantomConfig(tmp_path / "other", count=0)
    with pytest.raises(InputError, match="seed: expected 0 or more, got -1"):
        PhantomConfig(tmp_path / "other", seed=-1)
