from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge import BoxError, InputError, Segmentation, Segmenter
from medsam_edge.geometry import Geometry
from medsam_edge.inference.propagation import Corrected, Published
from medsam_edge.modality import Modality
from medsam_edge.networks.model import Model
from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.result import VolumeSegmentation
from tests.sdk.fake import SIZE, FakeDecoder, SeeingDecoder, SeeingEncoder, fake_model

START = np.array([5, 6, 7, 8], np.float32)


def block(top: int, left: int, height: int, width: int) -> CroppedMask:
    return CroppedMask(top, left, np.ones((height, width), bool))


NOTHING = CroppedMask(0, 0, np.zeros((0, 0), bool))


class Recorder(FakeDecoder):
    """Keeps the prompts, in network pixels."""

    def __init__(self) -> None:
        super().__init__(0)
        self.boxes: list[list[float]] = []

    def infer(self, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        self.boxes += inputs["boxes"].tolist()
        return super().infer(inputs)


class Keeper(SeeingEncoder):
    """Keeps the images it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[npt.NDArray[Any]] = []

    def infer(self, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        self.images.append(inputs["image"][0])
        return super().infer(inputs)


def recording() -> tuple[Segmenter, Recorder]:
    recorder = Recorder()
    return Segmenter(Model(SeeingEncoder(), recorder, SIZE, "recording", SIZE)), recorder


WHOLE = [0, 0, 100, 128]


@pytest.mark.parametrize(
    ("mask", "start", "expected"),
    [
        (block(40, 20, 10, 30), WHOLE, [14, 34, 56, 56]),  # two image pixels to a network pixel: six on each side
        (block(2, 90, 10, 8), WHOLE, [84, 0, 100, 18]),  # the image is 100 wide, 128 high
        (block(120, 0, 8, 4), WHOLE, [0, 114, 10, 128]),
        (block(40, 20, 10, 30), [18, 20, 60, 52.5], [18, 34, 56, 52.5]),  # left and bottom stop at the user's box
        (block(40, 20, 10, 30), [10, 36, 53, 90], [14, 36, 53, 56]),  # top and right
        (block(40, 20, 10, 30), [25, 42, 45, 48], [25, 42, 45, 48]),  # larger than the box on all sides
        (block(40, 20, 10, 30), [53, 0, 90, 90], [53, 34, 56, 56]),  # only the margin reaches into the box
    ],
)
def test_the_corrected_rule_by_hand(mask: CroppedMask, start: list[float], expected: list[float]) -> None:
    geometry = Geometry(128, 100, SIZE)
    for label in (1, 200):
        prompt = Corrected().follow(mask, label, np.array(start, np.float32), geometry)
        assert (2 * prompt).tolist() == expected  # in image pixels


@pytest.mark.parametrize(
    "start",
    [[56, 0, 90, 128], [70, 0, 90, 128], [0, 0, 14, 128], [0, 56, 100, 128], [0, 0, 100, 34], [0, 0, 100, 20]],
)
def test_a_mask_whose_grown_box_lies_beside_the_users_leaves_that_one(start: list[float]) -> None:
    """[14, 34, 56, 56] ends where these begin, or before: on the left, right, top and bottom."""
    box, geometry = np.array(start, np.float32), Geometry(128, 100, SIZE)
    assert Corrected().follow(block(40, 20, 10, 30), 1, box, geometry).tolist() == (box / 2).tolist()


def test_an_empty_mask_leaves_the_users_box() -> None:
    assert Corrected().follow(NOTHING, 1, START, Geometry(128, 100, SIZE)).tolist() == (START / 2).tolist()


@pytest.mark.parametrize(
    ("mask", "label", "expected"),
    [
        (block(40, 20, 10, 30), 9, [7, 17, 27, 27]),  # network columns 10–24, rows 20–24; far edge: last pixel + 3
        (block(2, 90, 10, 8), 9, [42, 0, 51, 8]),  # up to column 48: 48 + 3 is beyond the image's 50
        (block(120, 0, 8, 4), 9, [0, 57, 4, 64]),  # row 63 + 3, cut at the square
        (block(40, 20, 1, 1), 1, [2, 3, 3, 4]),  # a quarter of a network pixel of label 1 rounds down to nothing …
        (block(40, 20, 1, 1), 3, [7, 17, 13, 23]),  # … of label 3 to something
        (NOTHING, 9, [2, 3, 3, 4]),
    ],
)
def test_the_published_rule_by_hand(mask: CroppedMask, label: int, expected: list[float]) -> None:
    assert Published().follow(mask, label, START, Geometry(128, 100, SIZE)).tolist() == expected


def test_published_boxes_lose_their_fraction_in_network_pixels() -> None:
    boxes = np.array([[3, 5, 31, 127], [0.9, 2, 99.9, 128]], np.float32)
    assert Published().start(boxes, Geometry(128, 100, SIZE)).tolist() == [[1, 2, 15, 63], [0, 1, 49, 64]]
    assert (Corrected().start(boxes, Geometry(128, 100, SIZE)) == boxes / 2).all()


def test_published_rule_on_a_picture() -> None:
    segmenter, recorder = recording()
    image = np.zeros((128, 100), np.uint8)
    result = segmenter.segment(image, [[3, 5, 31, 127]], compat="rep-medsam")
    assert isinstance(result, Segmentation)
    assert recorder.boxes == [[1, 2, 15, 63]]
    assert result.boxes.tolist() == [[3, 5, 31, 127]]
    rows, columns = np.nonzero(result.mask(0))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (2, 4, 30, 126)
    segmenter.segment(image, [[3, 5, 31, 127]])
    assert recorder.boxes[1] == [1.5, 2.5, 15.5, 63.5]


def test_published_rule_in_a_volume() -> None:
    """The mask is the prompt: each next box grows by 3 at its near edges and by 2 at its far ones."""
    segmenter, recorder = recording()
    result = segmenter.segment(
        np.zeros((7, SIZE, 50), np.uint8), [[20.7, 30, 1, 45, 40, 5]], compat="rep-medsam", streams=0
    )
    assert isinstance(result, VolumeSegmentation)
    assert recorder.boxes == [
        [20, 30, 45, 40],  # slice 3: z_mid of 1 and 5, where 5 is the last slice
        [17, 27, 47, 42],  # 4
        [14, 24, 49, 44],  # 5
        [17, 27, 47, 42],  # 2
        [14, 24, 49, 44],  # 1
    ]
    assert np.flatnonzero(result.mask(0).any(axis=(1, 2))).tolist() == [1, 2, 3, 4, 5]
    assert result.boxes[0].tolist() == pytest.approx([20.7, 30, 1, 45, 40, 6])


def test_published_boxes_reach_into_the_padding() -> None:
    segmenter, recorder = recording()
    segmenter.segment(np.zeros((2, SIZE, 50), np.uint8), [[40, 30, 0, 50, 40, 1]], compat="rep-medsam", streams=0)
    assert recorder.boxes == [[40, 30, 50, 40], [37, 27, 52, 42]]


def plain_published(volume: npt.NDArray[np.uint8], boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """The published procedure restated as plainly as it can be: one box and one whole plane at a time."""
    encoder, decoder = SeeingEncoder(), SeeingDecoder(0)
    height, width = volume.shape[1:]
    ratio = SIZE / max(height, width)
    size = int(height * ratio + 0.5), int(width * ratio + 0.5)

    def infer(z: int, box: list[int]) -> npt.NDArray[np.bool_]:
        small = cv2.resize(np.repeat(volume[z, :, :, None], 3, axis=2), size[::-1], interpolation=cv2.INTER_AREA)
        scaled = (small - small.min()) / np.clip(small.max() - small.min(), 1e-8, None)
        padded = np.pad(scaled, ((0, SIZE - size[0]), (0, SIZE - size[1]), (0, 0))).astype(np.float32)
        embedding = encoder.infer({"image": padded.transpose(2, 0, 1)[None]})["embedding"]
        inputs = {"embedding": embedding, "boxes": np.array([box], np.float32), "cells": np.arange(256)[None]}
        cells = decoder.infer(inputs)["logits"].reshape(16, 16, 4, 4)
        logits = cells.transpose(0, 2, 1, 3).reshape(SIZE, SIZE)
        whole = cv2.resize(logits[: size[0], : size[1]], (width, height), interpolation=cv2.INTER_LINEAR)
        return 1 / (1 + np.exp(-whole)) > 0.5

    segs = np.zeros(volume.shape, np.uint16)
    for label, (x0, y0, z_min, x1, y1, z_max) in enumerate(boxes.tolist(), start=1):
        own, first = np.zeros(volume.shape, np.uint8), [int(value * ratio) for value in (x0, y0, x1, y1)]
        z_mid = int((z_max - z_min) / 2 + z_min)
        for z in [*range(z_mid, min(z_max + 1, len(volume))), *range(z_mid - 1, max(-1, z_min - 1), -1)]:
            box = first
            if z != z_mid:
                before = cv2.resize(own[z - 1 if z > z_mid else z + 1], size[::-1], interpolation=cv2.INTER_AREA)
                if before.max() > 0:
                    rows, columns = np.where(np.pad(before, ((0, SIZE - size[0]), (0, SIZE - size[1]))) > 0)
                    low = [max(0, columns.min() - 3), max(0, rows.min() - 3)]
                    box = [*low, min(SIZE, columns.max() + 3), min(SIZE, rows.max() + 3)]
            own[z][infer(z, box)] = label
        segs[own > 0] = label
    return segs


@pytest.mark.parametrize("shape", [(9, 128, 101), (8, 50, 77), (7, 64, 64)])
def test_compat_is_the_published_procedure(shape: tuple[int, int, int]) -> None:
    """On blobs that come and go, so that masks shrink, vanish and reach the edges."""
    depth, height, width = shape
    rng = np.random.default_rng(shape)
    cloud = np.stack([cv2.GaussianBlur(plane, (0, 0), 5) for plane in rng.normal(size=shape)])
    cloud = cv2.GaussianBlur(cloud.reshape(depth, -1), (1, 3), 1).reshape(shape)
    volume = (255 * (cloud - cloud.min()) / (cloud.max() - cloud.min())).astype(np.uint8)
    low = rng.integers(0, [width // 2, height // 2, depth // 2], (6, 3))
    high = low + rng.integers(2, [width // 2, height // 2, depth // 2 + 1], (6, 3))
    odd = [
        [-9, 5, 0, width + 40, height + 7, depth + 2],  # beyond the volume on five sides: its middle slice is another
        [8, 8, 2, 8, 30, 4],  # one pixel wide
        [5, 9, 3, width - 8, height - 9, 3],  # one slice
        [width - 6, height - 5, -3, 4, 6, depth - 1],  # corners swapped, slices before the first
    ]
    boxes = np.concatenate([low, high], axis=1)
    expected = plain_published(volume, boxes)
    model = Model(SeeingEncoder(), SeeingDecoder(0), SIZE, "seeing", SIZE)
    for box in odd:
        alone = Segmenter(model).segment(volume, [box], compat="rep-medsam").label_map
        assert (alone == plain_published(volume, np.array([box]))).all()
    labels = Segmenter(model).segment(volume, boxes, compat="rep-medsam").label_map
    assert len(np.unique(expected)) > 4
    assert (labels == expected).all()
    corrected = Segmenter(model).segment(volume, boxes).label_map
    assert (corrected != expected).any()


@pytest.mark.parametrize(
    ("box", "prompt"),
    [
        ([30, 10, 30, 20], [15, 5, 15, 10]),  # one pixel wide, and two image pixels to a network pixel
        ([-10, -5, 150, 301], [-5, -2, 75, 150]),  # beyond the image; cut towards zero
        ([200, 300, 220, 310], [100, 150, 110, 155]),  # beside it
        ([40, 50, 20, 10], [20, 25, 10, 5]),  # swapped
        ([0.2, 0.2, 0.9, 0.9], [0, 0, 0, 0]),
    ],
)
def test_published_boxes_are_taken_as_they_are(box: list[float], prompt: list[int], recwarn: Any) -> None:
    segmenter, recorder = recording()
    result = segmenter.segment(np.zeros((128, 100), np.uint8), [box], compat="rep-medsam")
    assert recorder.boxes == [prompt]
    assert result.boxes.tolist() == [pytest.approx(box)]
    assert result.overlay().shape == (128, 100, 3)
    assert not recwarn.list


def test_published_middle_slice_is_that_of_the_whole_box() -> None:
    """Slices 1 to 9 of 7: 5 is in the middle, not 3, and the object goes on to the last."""
    segmenter, _ = recording()
    result = segmenter.segment(np.zeros((7, SIZE, 50), np.uint8), [[9, 9, 1, 30, 30, 9]], compat="rep-medsam")
    assert list(result.masks[0]) == [5, 6, 4, 3, 2, 1]
    flat = segmenter.segment(np.zeros((7, SIZE, 50), np.uint8), [[9, 9, 4, 30, 30, 4]], compat="rep-medsam")
    assert list(flat.masks[0]) == [4]
    before = segmenter.segment(np.zeros((7, SIZE, 50), np.uint8), [[9, 9, -4, 30, 30, 3]], compat="rep-medsam")
    assert list(before.masks[0]) == [0, 1, 2, 3]  # int(-0.5) is 0


@pytest.mark.parametrize("ends", [(7, 9), (5, 9), (-9, 2), (4, 2), (0, 1e12), (0, np.nan)])
def test_a_published_box_without_a_middle_slice_is_refused(ends: tuple[float, float]) -> None:
    """The scripts stop with an IndexError there, or count from the end."""
    segmenter, _ = recording()
    low, high = ends
    with pytest.raises(BoxError, match=r"boxes\[1\]: expected"):
        boxes = [[9, 9, 0, 30, 30, 2], [9, 9, low, 30, 30, high]]
        segmenter.segment(np.zeros((7, SIZE, 50), np.uint8), boxes, compat="rep-medsam")


@pytest.mark.parametrize(
    ("name", "shape", "boxes", "used"),
    [
        ("2DBox_X", (128, 100), [[30, 10, 30, 20], [7, 7, 7, 7]], [[30, 10, 31, 20], [7, 7, 8, 8]]),
        ("3DBox_X", (7, SIZE, 50), [[9, 9, 4, 9, 30, 4]], [[9, 9, 4, 10, 30, 5]]),
    ],
)
def test_boxes_of_one_pixel_in_a_challenge_file(
    name: str, shape: tuple[int, ...], boxes: list[list[int]], used: list[list[int]], tmp_path: Path
) -> None:
    """They end with the last pixel: without `compat` they get its far edge, with it they stay without area."""
    file = tmp_path / f"{name}.npz"
    np.savez(file, imgs=np.zeros(shape, np.uint8), boxes=np.array(boxes), spacing=np.ones(3))
    segmenter, recorder = recording()
    assert segmenter.segment(file).boxes.tolist() == used
    recorder.boxes.clear()
    segmenter.segment(file, compat="rep-medsam")
    scale = SIZE / max(shape)
    flat = [[int(box[i] * scale) for i in ((0, 1, 2, 3) if len(box) == 4 else (0, 1, 3, 4))] for box in boxes]
    assert sorted(recorder.boxes) == sorted(flat)


def test_published_labels_have_eight_bits() -> None:
    """More boxes are refused before anything is decoded; 255 are all labelled."""
    model, volume = fake_model(), np.zeros((3, 9, 9), np.uint8)
    boxes = [[1, 1, 0, 5, 5, 1]] * 254 + [[6, 6, 0, 9, 9, 1]]
    for too_many in ([*boxes, boxes[0]], np.array([*boxes, boxes[0]])):
        with pytest.raises(InputError, match=r"compat: expected at most 255 boxes, .* got 256"):
            Segmenter(model).segment(volume, too_many, compat="rep-medsam")
    assert isinstance(model.decoder, FakeDecoder)
    assert model.decoder.batches == []
    assert Segmenter(model).segment(volume, boxes, compat="rep-medsam").label_map.max() == 255


@pytest.mark.parametrize("boxes", [[[2, 3, 9, 12]], [[2, 3, 0, 9, 12, 1]]])
def test_published_slices_are_enlarged_in_blocks(boxes: list[list[int]]) -> None:
    """Ours are interpolated; neither finds the other's embedding."""
    keeper = Keeper()
    segmenter = Segmenter(Model(keeper, SeeingDecoder(0), SIZE, "seeing", SIZE))
    image = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.uint8)
    pixels = image if len(boxes[0]) == 4 else np.stack([image] * 2)
    segmenter.segment(pixels, boxes)
    segmenter.segment(pixels, [[*box[:-1], box[-1] - 1] for box in boxes], compat="rep-medsam")
    geometry = Geometry(16, 16, SIZE)
    for seen, enlarging in zip(keeper.images, (cv2.INTER_LINEAR, cv2.INTER_AREA), strict=True):
        np.testing.assert_array_equal(seen, geometry.image_to_network(image, enlarging))


def test_a_class_is_recognised_in_the_slice_that_is_segmented() -> None:
    model = fake_model(classes=(Modality.CT, Modality.MR))
    small = np.random.default_rng(0).integers(0, 256, (2, 16, 16)).astype(np.uint8)
    Segmenter(model).segment(small, [[2, 3, 0, 9, 12, 0]], compat="rep-medsam", streams=0)
    assert model.encoder.calls == 1  # type: ignore[attr-defined]
