"""Decoders that read a window around the box, and the ellipse that is added to their logits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medsam_edge.geometry import OUTSIDE, window_groups
from medsam_edge_train.models import MedSAM
from medsam_edge_train.models.class_prompt import CLASSES, ClassPromptMedSAM, one_hot
from medsam_edge_train.models.mask_decoder import Grid, MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder

CONTEXT = 0.5
BOXES = torch.tensor(
    [
        [100.0, 100, 116, 116],
        [0, 0, 16, 12],  # in the corner, and in the others
        [240, 0, 256, 16],
        [0, 250, 9, 256],
        [231, 236.5, 256, 256],
        [96, 64, 160, 128],
        [10, 20, 80, 90],
        [0, 100, 256, 120],
        [0, 0, 256, 256],
        [101, 103, 117.5, 119],
    ]
)


def windowed(ellipse: float = 0.0) -> MedSAM:
    """Without an encoder: 'images' are embeddings."""
    torch.manual_seed(0)
    decoder = MaskDecoder(32, depth=2, heads=2, hidden=32, box_prior=True, ellipse=ellipse)
    network = MedSAM(nn.Identity(), PromptEncoder(32, 4), decoder, CONTEXT)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


def embeddings(count: int = 1, side: int = 64) -> Tensor:
    return torch.randn(count, 32, side, side, generator=torch.Generator().manual_seed(1))


def predicted(network: MedSAM, boxes: Tensor, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """What `forward` gives, on (N, S, S) planes; the embedding stands for images four times its size."""
    rows = images.permute(0, 2, 3, 1).flatten(1, 2)
    with torch.no_grad():
        prediction = network.predict(rows, boxes, index)
    return prediction.planes(256), prediction.scores


@pytest.mark.parametrize("cheap", [False, True], ids=["published", "re-parameterized"])
def test_a_window_that_covers_the_grid_is_the_whole_grid(cheap: bool) -> None:
    network = windowed(4.0)
    if cheap:
        network.reparameterize()
    boxes = torch.tensor([[0.0, 0, 256, 256], [30, 20, 250, 255]])
    rows = embeddings().permute(0, 2, 3, 1).flatten(1, 2)
    ((_, windows),) = window_groups(boxes.numpy(), CONTEXT, 64)
    assert (windows.rows, windows.columns) == (64, 64)
    with torch.no_grad():
        whole, scores = network.decode(rows, boxes)
        pixels, same = network.decode(rows, boxes, torch.from_numpy(windows.cells))
    assert torch.equal(pixels.reshape(2, 64, 64, 4, 4).transpose(2, 3).reshape(2, 256, 256), whole)
    assert torch.equal(scores, same)


@pytest.mark.parametrize("cheap", [False, True], ids=["published", "re-parameterized"])
def test_a_window_is_a_network_that_sees_nothing_else(cheap: bool) -> None:
    """At every edge and corner, against a decoder that is given the rows and positions of the window alone."""
    network = windowed(4.0)
    if cheap:
        network.reparameterize()
    planes, scores = predicted(network, BOXES, embeddings(), torch.zeros(len(BOXES), dtype=torch.int64))
    rows = embeddings().permute(0, 2, 3, 1)[0] + network.prompt_encoder.dense()
    rows = embeddings().permute(0, 2, 3, 1)[0]
    positions = network.prompt_encoder.pe_layer.grid(64).reshape(64, 64, -1)
    for index, box in enumerate(BOXES):
        ((_, windows),) = window_groups(box[None].numpy(), CONTEXT, 64)
        top, left = int(windows.top[0]), int(windows.left[0])
        where = np.s_[top : top + windows.rows, left : left + windows.columns]
        cells = torch.from_numpy(windows.cells)
        with torch.no_grad():
            logits, score = network.mask_decoder(
                rows[where].reshape(1, -1, 32),
                positions[where].reshape(-1, 32),
                network.prompt_encoder(box[None]),
                box[None] / 256,
                Grid(64, cells, windowed=True),
            )
        logits = logits.reshape(windows.rows, windows.columns, 4, 4).transpose(1, 2)
        expected = torch.full((256, 256), OUTSIDE)
        expected[top * 4 : (top + windows.rows) * 4, left * 4 : (left + windows.columns) * 4] = logits.reshape(
            windows.rows * 4, windows.columns * 4
        )
        torch.testing.assert_close(planes[index], expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(scores[index], score[0], rtol=0, atol=1e-5)


def test_boxes_of_unlike_windows_and_images_are_those_one_by_one() -> None:
    network, images = windowed().reparameterize(), embeddings(3)
    index = torch.arange(len(BOXES)) % 3
    planes, scores = predicted(network, BOXES, images, index)
    for number, box in enumerate(BOXES):
        own, score = predicted(network, box[None], images[index[number]][None], torch.zeros(1, dtype=torch.int64))
        torch.testing.assert_close(planes[number], own[0], rtol=0, atol=1e-4)
        torch.testing.assert_close(scores[number], score[0], rtol=0, atol=1e-5)


def test_no_boxes() -> None:
    planes, scores = predicted(windowed(), BOXES[:0], embeddings(), torch.zeros(0, dtype=torch.int64))
    assert planes.shape == (0, 256, 256) and scores.shape == (0,)


def test_parts_crop_the_truth_where_their_logits_lie() -> None:
    network = windowed()
    rows = embeddings().permute(0, 2, 3, 1).flatten(1, 2)
    prediction = network.predict(rows, BOXES, torch.zeros(len(BOXES), dtype=torch.int64))
    planes = prediction.planes(256)
    for part in prediction.parts:
        assert torch.equal(part.crop(planes), part.logits)
    assert sorted(index for part in prediction.parts for index in part.indices.tolist()) == list(range(len(BOXES)))


def test_class_prompts_take_windows_too() -> None:
    torch.manual_seed(0)
    network = ClassPromptMedSAM(nn.Conv2d(3, 256, 4, 4), PromptEncoder(), MaskDecoder(), context=CONTEXT).eval()
    images, index = torch.rand(2, 3, 64, 64), torch.tensor([0, 1, 1])
    boxes, classes = (
        torch.tensor([[4.0, 4, 20, 20], [30, 30, 60, 50], [0, 0, 64, 64]]),
        one_hot([CLASSES[0], CLASSES[3]]),
    )
    whole = copy.deepcopy(network)
    whole.context = None
    with torch.no_grad():
        got, expected = (own(images, boxes, index, classes=classes) for own in (network, whole))
    covers = 2  # the last box's window is the grid
    torch.testing.assert_close(got.planes(64)[covers], expected.planes(64)[covers], rtol=0, atol=1e-4)
    torch.testing.assert_close(got.class_logits, expected.class_logits)


def test_the_ellipse_by_hand() -> None:
    """4 in the middle of the box, 0 on the inscribed ellipse, −8 from √3 half-sides on; the network adds its own."""
    boxes = torch.tensor([[64.0, 96, 192, 160]])
    rows = embeddings().permute(0, 2, 3, 1).flatten(1, 2)
    with torch.no_grad():
        plain, with_ellipse = (windowed(strength).decode(rows, boxes)[0][0] for strength in (0.0, 4.0))
    term = with_ellipse - plain
    y, x = np.mgrid[:256, :256] + 0.5
    radius = ((x - 128) / 64) ** 2 + ((y - 128) / 32) ** 2
    np.testing.assert_allclose(term, 4 * np.clip(1 - radius, -2, 1), atol=1e-3)
    assert (term[radius < 0.99] > 0).all() and (term[radius > 1.01] < 0).all()


def test_the_ellipse_is_added_after_the_limit_of_the_box_prior() -> None:
    network = windowed(10.0)
    with torch.no_grad():
        for parameter in network.mask_decoder.output_hypernetworks_mlps[0].parameters():
            parameter.zero_()  # the features say nothing
        logits = network.decode(embeddings().permute(0, 2, 3, 1).flatten(1, 2), torch.tensor([[64.0, 64, 192, 192]]))[0]
    assert logits[0, 128, 128] > 10 - 4 - 0.1 and logits[0, 0, 0] < -20 + 4 + 0.1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_crop_is_a_part_of_its_square(seed: int) -> None:
    """Decoded as in the square with the crop anywhere in it."""
    network, crop = windowed(4.0), embeddings(side=32)
    boxes, index = torch.tensor([[40.0, 44, 60, 62]]), torch.zeros(1, dtype=torch.int64)  # its window is in the crop
    rows = crop.permute(0, 2, 3, 1).flatten(1, 2)
    with torch.no_grad():
        torch.manual_seed(seed)
        top, left = torch.randint(64 - 32 + 1, (2,)).tolist()
        torch.manual_seed(seed)
        found = network.predict(rows, boxes, index, whole=256)
        square = torch.zeros(1, 32, 64, 64)
        square[:, :, top : top + 32, left : left + 32] = crop
        moved = boxes + 4 * torch.tensor([left, top, left, top])
        expected = network.predict(square.permute(0, 2, 3, 1).flatten(1, 2), moved, index)
    part = expected.planes(256)[:, 4 * top : 4 * top + 128, 4 * left : 4 * left + 128]
    torch.testing.assert_close(found.planes(128)[0], part[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores[0], expected.scores[0], rtol=0, atol=1e-5)
