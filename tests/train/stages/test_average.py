from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.networks.bundle import PROMPTS
from medsam_edge_train import checkpoint
from medsam_edge_train.models import fuse
from medsam_edge_train.stages.average import average
from tests.train.tiny import tiny, tiny_no_norm, tiny_rep, write_data

pytestmark = pytest.mark.usefixtures("tiny_zoo")


def write(path: Path, value: float, prompts: tuple[str, ...] = PROMPTS, ellipse: float = 0.0) -> Path:
    """A checkpoint all of whose weights are one number."""
    network = tiny()
    for weight in network.parameters():
        nn.init.constant_(weight, value)
    network.prompt_kinds, network.mask_decoder.ellipse = prompts, ellipse
    checkpoint.write(path, network, "tiny")
    return path


def weights(path: Path) -> dict[str, float]:
    """The first number of each parameter."""
    return {name: float(value.detach().flatten()[0]) for name, value in checkpoint.load(path)[0].named_parameters()}


def test_the_mean_has_the_shares_of_each_and_what_the_first_says(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{value}.safetensors", value, ellipse=value) for value in (2.0, 6.0)]
    made = average(paths, tmp_path / "equal.safetensors")
    assert set(weights(made).values()) == {4.0}
    made = average(paths, tmp_path / "shares.safetensors", shares=[3, 1])
    assert set(weights(made).values()) == {3.0}
    network, name = checkpoint.load(made)
    assert (name, network.mask_decoder.ellipse, network.prompt_kinds) == ("tiny", 2.0, PROMPTS)


def test_what_clicks_and_masks_use_is_of_those_that_take_them(tmp_path: Path) -> None:
    boxes = write(tmp_path / "boxes.safetensors", 2.0, PROMPTS[:1])
    all_kinds = write(tmp_path / "all.safetensors", 6.0)
    found = weights(average([all_kinds, boxes], tmp_path / "mean.safetensors"))
    assert found["prompt_encoder.mask_downscaling.0.weight"] == 6
    assert found["prompt_encoder.point_embeddings.1.weight"] == 6
    assert found["prompt_encoder.point_embeddings.2.weight"] == 4  # a box's corner
    assert found["mask_decoder.iou_token.weight"] == 4


def test_batch_statistics_are_those_of_whole_training_images(tmp_path: Path) -> None:
    images = tmp_path / "data/train/CT/set/images"
    for kind in ("images", "masks"):
        (images.parent / kind).mkdir(parents=True)
    for index, white in enumerate((32, 16)):  # columns: half of one image, a quarter of the other
        image = np.repeat(np.where(np.arange(64) < white, 255, 0)[None], 64, axis=0).astype(np.uint8)
        assert cv2.imwrite(str(images / f"{index}.png"), image)
        assert cv2.imwrite(str(images.parent / f"masks/{index}.png"), np.full((64, 64), 1, np.uint8))
    network = tiny()
    convolution = network.image_encoder.get_submodule("0")
    assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
    nn.init.constant_(convolution.weight, 1 / 48)  # the mean of a patch of 4 × 4 pixels in three channels
    nn.init.zeros_(convolution.bias)
    checkpoint.write(start := tmp_path / "start.safetensors", network, "tiny")
    lines: list[str] = []
    made = average([start], tmp_path / "made.safetensors", (), tmp_path / "data", 64, lines.append)
    norm = checkpoint.load(made)[0].image_encoder.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    assert norm.running_mean.tolist() == pytest.approx([0.375] * 32)
    assert norm.running_var.tolist() == pytest.approx([0.375 * 0.625 * 512 / 511] * 32)  # over 2 × 16 × 16 patches
    assert lines == ["average: batch statistics of 2 images"]
    state = {key: value for key, value in checkpoint.read(start).state.items() if "running" not in key}
    after = checkpoint.read(made).state
    assert all(torch.equal(after[key], value) for key, value in state.items() if "num_batches" not in key)


def test_of_each_set_six_images_are_measured(tmp_path: Path) -> None:
    lines: list[str] = []
    start = write(tmp_path / "start.safetensors", 1.0)
    average([start], tmp_path / "made.safetensors", data=write_data(tmp_path / "data"), progress=lines.append)
    assert lines == ["average: batch statistics of 5 images"]  # three of CT, two of Fundus
    for index in range(10):
        for kind in ("images", "masks"):
            image = np.full((48, 64), 90 + index, np.uint8)
            assert cv2.imwrite(str(tmp_path / f"data/train/CT/phantom/{kind}/{index}.png"), image)
    average([start], tmp_path / "more.safetensors", data=tmp_path / "data", progress=lines.append)
    assert lines[1] == "average: batch statistics of 8 images"


def test_a_network_without_batch_norm_is_averaged_alike(tmp_path: Path) -> None:
    torch.manual_seed(1)
    networks = [tiny_no_norm(), tiny_no_norm()]
    for index, network in enumerate(networks):
        network.prompt_kinds = PROMPTS
        checkpoint.write(tmp_path / f"{index}.safetensors", network, "tiny_no_norm")
    paths = [tmp_path / "0.safetensors", tmp_path / "1.safetensors"]
    made = average(paths, tmp_path / "made.safetensors", data=write_data(tmp_path / "data"), image_size=64)
    pairs = zip(*(network.parameters() for network in networks), strict=True)
    for got, (one, other) in zip(checkpoint.load(made)[0].parameters(), pairs, strict=True):
        assert torch.allclose(got, (one + other) / 2, atol=1e-6)


def test_what_cannot_be_averaged_is_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.safetensors", 1.0)
    other = tmp_path / "other.safetensors"
    checkpoint.write(other, tiny_no_norm(), "tiny_no_norm")
    out = tmp_path / "out.safetensors"
    with pytest.raises(InputError, match=r"^checkpoints: expected one or more, got none"):
        average([], out)
    with pytest.raises(InputError, match=r"^checkpoints: expected tiny as in .*one\.safetensors, got tiny_no_norm in"):
        average([one, other], out)
    whole, fused = tmp_path / "whole.safetensors", tmp_path / "fused.safetensors"
    checkpoint.write(whole, tiny_rep(), "tiny_rep")
    checkpoint.write(fused, fuse(tiny_rep()), "tiny_rep")
    with pytest.raises(InputError, match=r"^checkpoints: expected all fused alike or none, got .*whole.* and .*fused"):
        average([whole, fused], out)
    for shares in ([1.0], [1.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]):
        with pytest.raises(InputError, match=r"^shares: expected 2 numbers above 0, got \["):
            average([one, one], out, shares)
    for name in (one, tmp_path / "out.pth"):
        with pytest.raises(InputError, match=r"^output: expected the name of a new \.safetensors file, got "):
            average([one], name)
    with pytest.raises(InputError, match=r"^image_size: expected a positive multiple of 64, got 100"):
        average([one], out, image_size=100)
    with pytest.raises(FileMissingError, match=r"^checkpoint: no such file"):
        average([tmp_path / "nothing.safetensors"], out)
    with pytest.raises(FileMissingError, match=r"^data: expected a folder"):
        average([one], out, data=tmp_path)
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot read"):
        average([tmp_path / "damaged.safetensors"], out)
    assert not out.exists()
