"""Clicks and mask prompts beside boxes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medsam_edge_train.models.mask_decoder import Grid, Hint, HintTerms, MaskDecoder, likeness
from medsam_edge_train.models.medsam import BOXES_ALONE, EXTRA_WEIGHTS, ExtraPrompts, MedSAM
from medsam_edge_train.models.prompt_encoder import PromptEncoder

BOXES = torch.tensor([[20.0, 24, 120, 90], [130, 60, 200, 250]])
NO_POINTS = (torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.int64))


def encoder(seed: int = 0) -> PromptEncoder:
    torch.manual_seed(seed)
    return PromptEncoder().eval()


def windowed(hints: bool = True) -> MedSAM:
    torch.manual_seed(0)
    decoder = MaskDecoder(box_prior=True, ellipse=4.0, hints=hints)
    network = MedSAM(nn.Conv2d(3, 256, 4, 4), PromptEncoder(), decoder, context=0.5)
    return network.reparameterize().eval()  # type: ignore[return-value]


def cells_of(planes: Tensor) -> Tensor:
    """(N, 4·s, 4·s) → (N, s², 4, 4), written out."""
    side = planes.shape[-1] // 4
    cells = [planes[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] for y in range(side) for x in range(side)]
    return torch.stack(cells, dim=1)


def test_mask_prompts_on_rows_equal_the_published_convolutions() -> None:
    """SAM: (N, 1, 4·s, 4·s) → `mask_downscaling` → (N, 256, s, s)."""
    prompts = encoder().double()
    planes = torch.randn(2, 32, 32, dtype=torch.float64) * 5
    with torch.no_grad():
        expected = prompts.mask_downscaling(planes[:, None]).flatten(2).transpose(1, 2)
        torch.testing.assert_close(prompts.prior_rows(cells_of(planes)), expected, rtol=1e-12, atol=1e-12)


def test_the_corners_as_points_are_the_box() -> None:
    prompts = encoder()
    with torch.no_grad():
        got = prompts.tokens(BOXES.reshape(2, 2, 2), torch.tensor([[2, 3]]).expand(2, -1))
        assert torch.equal(got, prompts(BOXES))


def test_tokens_of_clicks_by_hand() -> None:
    """A click on pixel (12, 7) is encoded at (12.5, 7.5) / 256; padding has no position."""
    prompts = encoder()
    with torch.no_grad():
        tokens = prompts.tokens(torch.tensor([[[12.0, 7], [12, 7], [12, 7]]]), torch.tensor([[1, 0, -1]]))[0]
        place = prompts.pe_layer(torch.tensor([12.5, 7.5]) / 256)
        torch.testing.assert_close(tokens[0], place + prompts.point_embeddings[1].weight[0])
        torch.testing.assert_close(tokens[1], place + prompts.point_embeddings[0].weight[0])
        torch.testing.assert_close(tokens[2], prompts.not_a_point_embed.weight[0])


def test_forgotten_masks_are_no_masks() -> None:
    prompts = encoder()
    prompts.forget_masks()
    with torch.no_grad():
        rows = prompts.prior_rows(torch.randn(1, 4, 4, 4))
    torch.testing.assert_close(rows, prompts.dense().expand(1, 4, -1))


def test_at_first_clicks_and_masks_leave_the_network_as_it_was() -> None:
    """Clicks have tokens; so here there are none of them."""
    network = windowed()
    network.prompt_encoder.forget_masks()
    images, index = torch.rand(2, 3, 256, 256), torch.tensor([0, 1])
    masks = torch.randn(2, 256, 256) * 5
    with torch.no_grad():
        plain = network(images, BOXES, index)
        asked = network(images, BOXES, index, None, ExtraPrompts(*NO_POINTS, masks, torch.ones(2)))
    torch.testing.assert_close(asked.planes(256), plain.planes(256), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(asked.scores, plain.scores)


def test_a_mask_prompt_counts_only_where_there_is_one() -> None:
    network = windowed()
    images, index = torch.rand(1, 3, 256, 256), torch.zeros(2, dtype=torch.int64)
    masks = torch.randn(2, 256, 256) * 5
    with torch.no_grad():
        plain = network(images, BOXES, index).planes(256)
        asked = network(images, BOXES, index, None, ExtraPrompts(*NO_POINTS, masks, torch.tensor([0.0, 1.0]))).planes(
            256
        )
    torch.testing.assert_close(asked[0], plain[0], rtol=1e-5, atol=1e-5)
    assert (asked[1] - plain[1]).abs().max() > 0.01


def test_decoding_with_all_prompts_equals_training() -> None:
    """`decode` takes corners and clicks as points and the mask in cells, `predict` boxes, clicks and whole masks."""
    network = windowed()
    nn.init.normal_(network.mask_decoder.hints.rows.weight)  # type: ignore[union-attr]
    nn.init.normal_(network.mask_decoder.hints.pixels.weight)  # type: ignore[union-attr]
    nn.init.normal_(network.mask_decoder.hints.share.weight)  # type: ignore[union-attr]
    images, box = torch.rand(1, 3, 256, 256), BOXES[:1]
    points, labels = torch.tensor([[[60.0, 50], [100, 30]]]), torch.tensor([[1, 0]])
    mask = torch.randn(1, 256, 256)
    with torch.no_grad():
        expected = network(images, box, torch.zeros(1).long(), None, ExtraPrompts(points, labels, mask, torch.ones(1)))
        part = expected.parts[0]
        cells = torch.from_numpy(part.windows.cells)
        every = cells_of(mask)[:, cells[0]]
        all_points = torch.cat([points, box.reshape(1, 2, 2)], dim=1)
        extra = ExtraPrompts(all_points, torch.tensor([[1, 0, 2, 3]]), every, torch.ones(1))
        logits, scores = network.decode(network.embed(images), box, cells, extra)
    planes = logits.reshape(part.windows.rows, part.windows.columns, 4, 4).transpose(1, 2).flatten(2).flatten(0, 1)
    torch.testing.assert_close(planes, part.logits[0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scores, expected.scores, rtol=1e-4, atol=1e-4)


def test_without_a_box_there_is_neither_box_prior_nor_ellipse() -> None:
    """A box without area: what is left does not depend on where it lies."""
    network = windowed()
    nn.init.normal_(network.mask_decoder.box_prior.dense.weight)  # type: ignore[union-attr]
    rows, cells = torch.randn(1, 256, 256), torch.arange(256)[None]
    extra = ExtraPrompts(
        torch.tensor([[[30.0, 30], [0, 0]]]), torch.tensor([[1, -1]]), torch.zeros(1, 1, 4, 4), torch.zeros(1)
    )
    with torch.no_grad():
        first, second = (network.decode(rows, torch.full((1, 4), at), cells, extra)[0] for at in (0.0, 40.0))
        boxed, _ = network.decode(rows, torch.tensor([[10.0, 10, 50, 50]]), cells, extra)
    assert torch.equal(first, second)
    assert (boxed - first).abs().max() > 1


@pytest.mark.parametrize(("strength", "label", "left"), [(6.0, -1, 4.0), (3.0, -1, 3.0), (6.0, 0, 6.0), (6.0, 1, 6.0)])
def test_with_a_mask_prompt_and_no_click_the_ellipse_is_no_stronger_than_four(
    strength: float, label: int, left: float
) -> None:
    """The middle of a box of 40 pixels, 0.5 from its centre: 1 − 2·(0.5/20)² of the strength."""
    network = windowed()
    images, index = torch.rand(1, 3, 256, 256), torch.zeros(2, dtype=torch.int64)
    boxes = torch.tensor([[100.0, 100, 140, 140]]).expand(2, 4)
    clicks = torch.full((2, 1, 2), 110.0), torch.full((2, 1), label)
    extra = ExtraPrompts(*clicks, torch.randn(2, 256, 256), torch.tensor([0.0, 1.0]))
    with torch.no_grad():
        network.mask_decoder.ellipse = 0.0
        plain = network(images, boxes, index, None, extra).planes(256)
        network.mask_decoder.ellipse = strength
        term = network(images, boxes, index, None, extra).planes(256) - plain
    share = 1 - 2 * (0.5 / 20) ** 2
    torch.testing.assert_close(term[:, 120, 120], torch.tensor([strength, left]) * share, rtol=1e-3, atol=1e-3)


def hint_of(points: list[list[float]], labels: list[int], prior: torch.Tensor | None = None) -> Hint:
    """Clicks of one box on a 4 × 4 grid, x and y in cells, and a mask prompt (16, 4, 4)."""
    given = torch.zeros(1, 1, 4, 4) if prior is None else prior[None]
    has_prior = torch.tensor([0.0 if prior is None else 1.0])
    return Hint(torch.tensor([points]) / 4, torch.tensor([labels]), given, has_prior, torch.ones(1))


def test_nearness_to_clicks_by_hand() -> None:
    """A click in the middle of cell (1, 2): exp(−d²/2σ²), d in cells, σ 1.5 and 6."""
    bumps = HintTerms.nearness(hint_of([[2.5, 1.5], [0.5, 0.5]], [1, 2]), Grid(4)).reshape(4, 4, 4)
    assert torch.equal(bumps[..., 0], torch.zeros(4, 4))  # no click on the background; a corner (2) is none
    torch.testing.assert_close(bumps[1, 2, 1], torch.tensor(1.0))
    torch.testing.assert_close(bumps[1, 0, 1], torch.exp(torch.tensor(-4 / (2 * 1.5**2))))
    torch.testing.assert_close(bumps[3, 3, 3], torch.exp(torch.tensor(-5 / (2 * 6.0**2))))


def test_likeness_by_hand() -> None:
    """Rows along x, along y and between them, compared with the first, with the mean of the first two, with none."""
    rows = torch.tensor([[[2.0, 0], [0, 3], [1, 1]]])
    weights = torch.tensor([[[1.0, 1, 0], [0, 1, 0], [0, 0, 0]]])
    half = 0.5**0.5
    expected = torch.tensor([[[1, half, 0], [0, half, 0], [half, 1, 0]]])
    torch.testing.assert_close(likeness(rows, weights), expected, rtol=1e-5, atol=1e-5)


def test_hints_add_nothing_to_boxes_alone_and_nothing_at_first() -> None:
    terms, rows = HintTerms(8), torch.randn(1, 16, 8)
    clicked = hint_of([[2.5, 1.5]], [1])
    assert not any(part.any() for part in terms(rows, clicked, Grid(4)))
    for layer in (terms.rows, terms.pixels):
        nn.init.normal_(layer.weight)
    assert not any(part.any() for part in terms(rows, hint_of([[2.5, 1.5], [0, 0]], [2, 3]), Grid(4)))
    for hint in (clicked, hint_of([], [], torch.zeros(16, 4, 4))._replace(points=torch.zeros(1, 0, 2))):
        more, told = terms(rows, hint, Grid(4))
        assert more.shape == (1, 16, 8) and told.shape == (1, 16, 4, 4) and more.all() and told.all()


def test_boxes_frozen_leaves_what_clicks_and_mask_prompts_use() -> None:
    network = windowed()
    network.freeze([BOXES_ALONE])
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert trained and all(name.startswith(EXTRA_WEIGHTS) for name in trained)
    assert {"mask_decoder.hints.look.weight", "prompt_encoder.point_embeddings.1.weight"} <= trained


def test_no_objects_with_prompts_give_no_masks() -> None:
    network = windowed()
    empty = ExtraPrompts(torch.zeros(0, 2, 2), torch.zeros(0, 2).long(), torch.zeros(0, 256, 256), torch.zeros(0))
    with torch.no_grad():
        prediction = network(torch.rand(1, 3, 256, 256), torch.zeros(0, 4), torch.zeros(0).long(), None, empty)
    assert prediction.planes(256).shape == (0, 256, 256)
