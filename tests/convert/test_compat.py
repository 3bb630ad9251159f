"""`compat="rep-medsam"` beside the published procedure, restated in PyTorch one box and one slice at a time.

Both run one checkpoint of random weights: here as the networks of training compute it, there converted to a bundle.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as functional

from medsam_edge import Segmenter, VolumeSegmentation
from medsam_edge_convert.convert import ConvertConfig, convert
from medsam_edge_train import checkpoint
from medsam_edge_train.models import ZOO, MedSAM
from tests.convert.tiny import tiny

Pixels = npt.NDArray[np.uint8]
SIDE = 256


def random_network() -> MedSAM:
    """Weights at random, but large where the image enters, so that masks follow the picture and not the box alone."""
    torch.manual_seed(3)
    network = tiny().eval()
    with torch.no_grad():
        for name, factor in (("image_encoder.2.bn", 20), ("mask_decoder.output_hypernetworks_mlps.0.layers.2", 60)):
            cast(torch.Tensor, network.get_submodule(name).weight).mul_(factor)
    return network


def published_image(image: Pixels) -> tuple[torch.Tensor, int, int]:
    """(H, W) or (H, W, 3) → (1, 3, 256, 256), and how many of its rows and columns are the image's."""
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    new_height, new_width = int(height * scale + 0.5), int(width * scale + 0.5)
    small_image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    low, high = small_image.min(), small_image.max()
    scaled = (small_image - low) / np.clip(high - low, 1e-8, None)
    padded = np.zeros((SIDE, SIDE, 3), np.float32)
    padded[:new_height, :new_width] = scaled
    return torch.from_numpy(padded).permute(2, 0, 1)[None], new_height, new_width


@torch.inference_mode()
def published_mask(network: MedSAM, image: Pixels, box: list[int]) -> npt.NDArray[np.bool_]:
    """One box in network pixels on one picture, which is encoded for it alone."""
    tensor, new_height, new_width = published_image(image)
    logits, _ = network.decode(network.embed(tensor), torch.tensor([box], dtype=torch.float32))
    cut = logits[:, None, :new_height, :new_width]
    whole = functional.interpolate(cut, size=image.shape[:2], mode="bilinear", align_corners=False)
    return (torch.sigmoid(whole)[0, 0] > 0.5).numpy()


def network_box(box: list[int], height: int, width: int) -> list[int]:
    return [int(value * SIDE / max(height, width)) for value in box]


def published_2d(network: MedSAM, image: Pixels, boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    segs = np.zeros(image.shape[:2], np.uint16)
    for label, box in enumerate(boxes.tolist(), start=1):
        segs[published_mask(network, image, network_box(box, *image.shape[:2]))] = label
    return segs


def published_3d(network: MedSAM, volume: Pixels, boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    segs = np.zeros(volume.shape, np.uint16)
    for label, (x_min, y_min, z_min, x_max, y_max, z_max) in enumerate(boxes.tolist(), start=1):
        own = np.zeros(volume.shape, np.uint8)
        first = network_box([x_min, y_min, x_max, y_max], *volume.shape[1:])
        z_mid = int((z_max - z_min) / 2 + z_min)
        for z in range(z_mid, z_max + 1):
            box = first if z == z_mid else following_box(own[z - 1], first)
            own[z][published_mask(network, volume[z], box)] = label
        for z in range(z_mid - 1, z_min - 1, -1):
            own[z][published_mask(network, volume[z], following_box(own[z + 1], first))] = label
        segs[own > 0] = label
    return segs


def following_box(before: Pixels, first: list[int]) -> list[int]:
    """Around the mask of the slice before, shrunk with its label as its value; the user's box where that is empty."""
    scale = SIDE / max(before.shape)
    height, width = (int(side * scale + 0.5) for side in before.shape)
    padded = np.zeros((SIDE, SIDE), np.uint8)
    padded[:height, :width] = cv2.resize(before, (width, height), interpolation=cv2.INTER_AREA)
    rows, columns = np.where(padded > 0)
    if len(rows) == 0:
        return first
    low, high = [columns.min() - 3, rows.min() - 3], [columns.max() + 3, rows.max() + 3]
    return [int(max(0, value)) for value in low] + [int(min(SIDE, value)) for value in high]


@pytest.fixture(scope="module")
def network() -> MedSAM:
    return random_network()


@pytest.fixture(scope="module")
def segmenter(network: MedSAM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmenter]:
    folder = tmp_path_factory.mktemp("compat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ZOO, "tiny", tiny)
        checkpoint.write(folder / "tiny.safetensors", network, "tiny")
        convert(ConvertConfig(folder / "tiny.safetensors", output=folder / "bundle", precision="f32"))
        yield Segmenter(folder / "bundle")


def cloud(seed: int, *shape: int) -> Pixels:
    """Blobs that come and go from slice to slice, or differ from channel to channel."""
    rng = np.random.default_rng(seed)
    noise = np.stack([cv2.GaussianBlur(plane, (0, 0), 9) for plane in rng.normal(size=shape)])
    noise = noise + 0.7 * np.roll(noise, 1, axis=0)
    return (255 * (noise - noise.min()) / (noise.max() - noise.min())).astype(np.uint8)


COLOUR, GREY = cloud(0, 3, 300, 420).transpose(1, 2, 0).copy(), cloud(1, 1, 140, 90)[0]
PICTURES: dict[str, tuple[Pixels, Any]] = {
    "colour, larger": (COLOUR, [[30, 40, 200, 260], [150, 20, 410, 290], [100, 100, 103, 102], [0, 0, 420, 300]]),
    "colour, smaller": (COLOUR[:120, :77].copy(), [[5, 7, 70, 100], [20, 33, 76, 119]]),
    "grey, smaller": (GREY, [[3, 5, 80, 61], [11, 60, 90, 140], [40, 40, 60, 90]]),
    "grey, larger": (cloud(2, 1, 200, 513)[0], [[17, 5, 311, 190], [300, 20, 511, 199], [501, 6, 502, 9]]),
}
VOLUMES: dict[str, tuple[Pixels, Any]] = {
    "smaller": (cloud(3, 7, 150, 100), [[5, 9, 0, 60, 80, 6], [40, 60, 2, 95, 140, 5], [20, 20, 6, 90, 90, 6]]),
    "larger": (cloud(4, 5, 270, 330), [[20, 30, 0, 200, 190, 4], [150, 100, 0, 320, 260, 0], [107, 50, 1, 108, 53, 4]]),
}


"""The last box of "larger" and of "grey, larger" is less than a network pixel wide: its object vanishes."""


def check(ours: npt.NDArray[Any], published: npt.NDArray[Any], boxes: Any) -> None:
    """At least 99.5 % of what either says is an object is the same object for both, and it is not the boxes."""
    either = (ours > 0) | (published > 0)
    assert (ours == published)[either].mean() >= 0.995
    inside = np.zeros(published.shape, dtype=bool)
    for box in boxes:
        low, high = box[: len(box) // 2][::-1], box[len(box) // 2 :][::-1]
        inside[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
    assert 0.05 < (inside != (published > 0)).mean() < 0.5


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name: str, network: MedSAM, segmenter: Segmenter, tmp_path: Path) -> None:
    image, boxes = PICTURES[name]
    np.savez(tmp_path / "2DBox_X.npz", imgs=image, boxes=np.array(boxes), spacing=np.ones(3))
    result = segmenter.segment(tmp_path / "2DBox_X.npz", boxes, compat="rep-medsam")
    check(result.label_map, published_2d(network, image, np.array(boxes)), boxes)
    other = segmenter.segment(255 - image, boxes, compat="rep-medsam")
    assert (other.label_map != result.label_map).mean() > 0.01  # masks follow the picture, not the boxes alone
    assert result.masks[-1].empty is (name == "grey, larger")


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes(name: str, network: MedSAM, segmenter: Segmenter, tmp_path: Path) -> None:
    volume, boxes = VOLUMES[name]
    np.savez(tmp_path / "3DBox_X.npz", imgs=volume, boxes=np.array(boxes), spacing=np.ones(3))
    result = segmenter.segment(tmp_path / "3DBox_X.npz", boxes, compat="rep-medsam")
    check(result.label_map, published_3d(network, volume, np.array(boxes)), boxes)
    assert isinstance(result, VolumeSegmentation)
    assert any(mask.empty for mask in result.masks[-1].values()) is (name == "larger")
