"""The published scripts' rules, on inputs small enough to follow by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from medsam_edge_benchmarks.latency.published import scripts as published
from tests.benchmarks.helpers import EchoNetwork
from tests.train.tiny import tiny


def laps() -> tuple[list[str], published.Lap]:
    seen: list[str] = []
    return seen, seen.append


def volume(depth: int) -> npt.NDArray[np.uint8]:
    """Slice z has z + 1 white pixels, so that a network can tell slices apart."""
    slices = np.zeros((depth, 256, 256), dtype=np.uint8)
    for z in range(depth):
        slices[z, 0, : z + 1] = 255
    return slices


def test_challenge_boxes_end_on_the_last_pixel_inside() -> None:
    assert published.challenge_boxes(np.array([[1, 2, 5, 6]], np.float32)).tolist() == [[1, 2, 4, 5]]
    whole = published.challenge_boxes(np.array([[1, 2, 3, 5, 6, 7]], np.float32))
    assert whole.tolist() == [[1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0, 4), [(2, None), (3, 2), (4, 3), (1, 2), (0, 1)]),
        ((3, 6), [(4, None), (5, 4), (6, 5), (3, 4)]),
        ((5, 5), [(5, None)]),
    ],
)
def test_from_the_middle_up_then_down(span: tuple[int, int], expected: list[tuple[int, int | None]]) -> None:
    assert list(published.slice_order(*span)) == expected


def test_a_box_is_truncated() -> None:
    assert published.box_to_square([3, 5, 10, 999], (500, 1000)) == [0, 1, 2, 255]


def test_the_next_box_is_widened_and_clipped() -> None:
    labels = np.zeros((256, 256), dtype=np.uint8)
    labels[100:110, 1:21] = 1
    assert published.next_box(labels) == [0, 97, 23, 112]
    labels[255, 255] = 1
    assert published.next_box(labels) == [0, 97, 256, 256]
    assert published.next_box(np.zeros_like(labels)) is None


@pytest.mark.parametrize(("value", "expected"), [(1, None), (3, [2, 2, 8, 8])])
def test_label_values_are_shrunk_as_published(value: int, expected: list[int] | None) -> None:
    labels = np.zeros((512, 512), dtype=np.uint8)
    labels[10, 10] = value  # a quarter of a network pixel: 1/4 rounds to nothing, 3/4 to something
    assert published.next_box(labels) == expected


def test_a_volume_by_hand() -> None:
    network = EchoNetwork()
    seen, lap = laps()
    labels = published.segment_volume(network, volume(5), np.array([[100, 100, 0, 150, 150, 4]]), lap)
    first, second, third = [100, 100, 150, 150], [97, 97, 152, 152], [94, 94, 154, 154]
    assert network.boxes == [first, second, third, second, third]
    assert [round(value / 3) for value in network.brightness] == [3, 4, 5, 2, 1]
    assert [int((plane > 0).sum()) for plane in labels] == [60**2, 55**2, 50**2, 55**2, 60**2]
    assert seen == ["merge", *["prepare", "encode", "decode", "restore"] * 5, "merge"]


def test_every_object_encodes_its_slices_again_and_later_ones_win() -> None:
    network = EchoNetwork()
    _, lap = laps()
    boxes = np.array([[10, 10, 1, 30, 30, 2], [20, 20, 2, 40, 40, 3]])
    labels = published.segment_volume(network, volume(5), boxes, lap)
    assert [round(value / 3) for value in network.brightness] == [2, 3, 3, 4]
    assert labels[2, 25, 25] == 2
    assert labels[2, 15, 15] == 1
    assert not labels[[0, 4]].any()


def test_an_empty_mask_falls_back_to_the_box() -> None:
    network = EchoNetwork(deaf=True)
    _, lap = laps()
    labels = published.segment_volume(network, volume(3), np.array([[100, 100, 0, 150, 150, 2]]), lap)
    assert network.boxes == [[100, 100, 150, 150]] * 3
    assert not labels.any()


def test_a_box_that_ends_below_the_volume_fails_as_published() -> None:
    with pytest.raises(IndexError):
        published.segment_volume(EchoNetwork(), volume(3), np.array([[1, 1, 0, 9, 9, 3]]), laps()[1])


def test_an_image_is_encoded_once_and_later_boxes_win() -> None:
    network = EchoNetwork()
    seen, lap = laps()
    image = np.zeros((128, 256, 3), dtype=np.uint8)
    image[0, 0] = 200
    labels = published.segment_image(network, image, np.array([[10, 20, 50, 60], [30, 40, 70, 80]]), lap)
    assert labels.shape == (128, 256)
    assert seen == ["prepare", "encode", *["decode", "restore"] * 2]
    assert network.brightness == [3.0]  # one pixel of three channels, stretched to 1
    assert (labels == 2).sum() == 40 * 40
    assert (labels == 1).sum() == 40 * 40 - 20 * 20


def test_padding_comes_after_the_stretch() -> None:
    planes, filled = published.prepare(np.array([[100, 200]], dtype=np.uint8).repeat(2, axis=0))
    assert filled == (256, 256)
    assert planes.shape == (1, 3, 256, 256)
    image = np.full((64, 256), 100, dtype=np.uint8)
    image[:, 128:] = 200
    planes, filled = published.prepare(image)
    assert filled == (64, 256)
    assert planes[0, :, :64, 128:].eq(1).all()
    assert not planes[0, :, 64:].any()


def test_logits_are_resized_as_a_full_plane() -> None:
    logits = torch.full((1, 256, 256), -1.0)
    logits[0, :64, :128] = 1
    mask = published.restore(logits, (128, 256), (256, 512))
    assert mask.shape == (256, 512)
    assert mask[:128, :256].all()
    assert mask.sum() == 128 * 256


def test_a_network_of_ours_goes_through() -> None:
    torch.manual_seed(0)
    network = tiny().eval()
    _, lap = laps()
    one = published.segment_image(network, volume(1)[0], np.array([[10, 10, 90, 90]]), lap)
    whole = published.segment_volume(network, volume(1), np.array([[10, 10, 0, 90, 90, 0]]), lap)
    assert np.array_equal(one, whole[0])
