from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from medsam_edge.metrics import dice
from medsam_edge.modality import Modality
from medsam_edge_train.models import MedSAM, build
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM, one_hot
from medsam_edge_train.models.mask_decoder import MASK_TOKENS, PRIOR_LIMIT, BoxPrior, Grid, MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder
from medsam_edge_train.models.transformer import MLP, Attention
from tests.train import reference_sam

Pair = tuple[Tensor, Tensor]

BOXES = torch.tensor([[20.0, 30, 120, 200], [0, 0, 256, 256], [140.5, 9.25, 170, 33]])


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Ordinary gains, biases and norms away from 0 and 1, attention far from uniform, logits of a few units."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.ndim == 1:
                tensor.copy_((1.0 if "norm" in name and name.endswith("weight") else 0.0) + 0.2 * noise)
            elif "embed" in name or "token." in name or "tokens." in name or "gaussian" in name:
                tensor.copy_(noise)
            else:
                fan_in = tensor.shape[0] if tensor.ndim == 4 else tensor.shape[1]
                gain = 1.5 if "q_proj" in name or "k_proj" in name else 15.0 if "mlps.0.layers.2" in name else 1.0
                tensor.copy_(noise * gain / fan_in**0.5)
    return module.eval()


def decoders(depth: int) -> MedSAM:
    """The network without its encoder: `embed` only adds the dense prompt."""
    if depth != 2:
        network = MedSAM(nn.Identity(), PromptEncoder(), MaskDecoder(depth=depth))
    else:
        network = build("rep_medsam")
        network.image_encoder = nn.Identity()
    randomise(network)
    return network


@pytest.fixture(scope="module", params=[2, 3], ids=["rep_medsam", "depth 3"])
def published(request: pytest.FixtureRequest) -> MedSAM:
    return decoders(request.param)


@pytest.fixture(params=[False, True], ids=["published", "re-parameterized"])
def network(request: pytest.FixtureRequest, published: MedSAM) -> MedSAM:
    """Whatever is asked of the decoder is asked of both its forms."""
    own = copy.deepcopy(published)
    return own.reparameterize() if request.param else own


@pytest.fixture
def exact_network(network: MedSAM) -> Iterator[MedSAM]:
    """In double precision, where two orders of the same arithmetic differ by next to nothing."""
    torch.set_default_dtype(torch.float64)
    try:
        yield network.double()
    finally:
        torch.set_default_dtype(torch.float32)


def both_decoders(network: MedSAM, side: int, count: int, shared: bool) -> tuple[Pair, Pair]:
    generator = torch.Generator().manual_seed(side)
    embedding = torch.randn(1 if shared else count, 256, side, side, generator=generator)
    boxes = BOXES[-count:].to(embedding)
    with torch.no_grad():
        got = network.decode(network.embed(embedding), boxes)
        expected = reference_sam.decode(network.state_dict(), embedding, boxes)
    assert got[0].shape == (count, 4 * side, 4 * side)
    assert got[1].shape == (count,)
    assert 0.8 < expected[0].std() < 10  # a comparison of zeros would be an easy one
    return got, expected


@pytest.mark.parametrize("side", [4, 8, 16])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("shared", [True, False], ids=["shared image", "own images"])
def test_decode_equals_the_plain_restatement(exact_network: MedSAM, side: int, count: int, shared: bool) -> None:
    got, expected = both_decoders(exact_network, side, count, shared)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shared", [True, False], ids=["shared image", "own images"])
def test_decode_equals_the_plain_restatement_in_single_precision(network: MedSAM, shared: bool) -> None:
    got, expected = both_decoders(network, 16, 3, shared)
    # random weights make sharp transitions, where single pixels of either form are wrong in the fourth digit
    error = (got[0] - expected[0]).pow(2).mean().sqrt()
    assert error < 1e-4 * expected[0].abs().max()
    torch.testing.assert_close(got[1], expected[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["rep_medsam_s", "class_prompt_tinyvit", "class_prompt_tinyvit_code"])
def test_reparameterized_with_class_tokens_and_with_the_box_prior(name: str) -> None:
    network = build(name)
    network.image_encoder = nn.Identity()
    randomise(network)
    exact, rows = network.double(), rows_of(1, 64, 256, seed=0).double()
    prompts = {"classes": one_hot([Modality.US]).double()} if isinstance(network, ClassPromptMedSAM) else {}
    with torch.no_grad():
        expected = exact.decode(rows, BOXES.double(), **prompts)
        got = exact.reparameterize().decode(rows, BOXES.double(), **prompts)
    assert expected[0].std() > 0.5
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)  # the grid's positions are f32 in both


def test_masks_depend_on_box_and_image(network: MedSAM) -> None:
    rows = torch.randn(2, 16, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, _ = network.decode(rows[:1], BOXES)
        second, _ = network.decode(rows[1:], BOXES)
    assert (first[0] - first[1]).abs().max() > 0.1
    assert (first - second).abs().max() > 0.1


def test_cells_are_parts_of_the_whole_mask(network: MedSAM) -> None:
    rows = rows_of(1, 64, 256, seed=0)
    cells = torch.tensor([[0, 1, 8, 9], [27, 28, 35, 36], [62, 63, 54, 55]])
    with torch.no_grad():
        whole, scores = network.decode(rows, BOXES)
        parts, same = network.decode(rows, BOXES, cells)
    assert parts.shape == (3, 4, 4, 4)
    torch.testing.assert_close(same, scores)
    torch.testing.assert_close(parts[0, 3], whole[0, 4:8, 4:8], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(parts[1, 1], whole[1, 12:16, 16:20], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(parts[2, 2], whole[2, 24:28, 24:28], rtol=1e-4, atol=1e-3)


def test_boxes_do_not_influence_each_other(exact_network: MedSAM) -> None:
    rows = torch.randn(1, 64, 256, generator=torch.Generator().manual_seed(0))
    boxes = BOXES.to(rows)
    with torch.no_grad():
        together, scores = exact_network.decode(rows, boxes)
        for index in range(3):
            alone, score = exact_network.decode(rows, boxes[index : index + 1])
            torch.testing.assert_close(together[index], alone[0], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(scores[index], score[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("box_prior", [False, True])
def test_no_boxes_decode_to_no_masks(box_prior: bool) -> None:
    network = MedSAM(nn.Identity(), PromptEncoder(), MaskDecoder(box_prior=box_prior))
    with torch.no_grad():
        logits, scores = network.decode(torch.zeros(1, 16, 256), torch.zeros(0, 4))
    assert (logits.shape, scores.shape) == ((0, 16, 16), (0,))


def attention(downsample: int) -> Attention:
    layer = randomise(Attention(32, heads=4, downsample=downsample))
    assert isinstance(layer, Attention)
    return layer


def rows_of(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("downsample", [1, 2])
@pytest.mark.parametrize("images", [1, 3])
def test_the_three_forms_of_attention_agree(downsample: int, images: int) -> None:
    layer = attention(downsample)
    tokens, values = rows_of(3, 7, 32, seed=1), rows_of(3, 7, 32, seed=2)
    image, image_values = rows_of(images, 50, 32, seed=3), rows_of(images, 50, 32, seed=4)
    full, full_values = image.expand(3, -1, -1), image_values.expand(3, -1, -1)
    with torch.no_grad():
        expected = layer(tokens, full, full_values)
        got = layer.tokens_to_image(tokens, image, image_values)
        assert got.shape == (3, 7, 32)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        expected = layer(full, tokens, values)
        got = layer.image_to_tokens(image, tokens, values)
        assert got.shape == (3, 50, 32)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_attention_equals_torch() -> None:
    layer = attention(1)
    q, k, v = rows_of(2, 5, 32, seed=1), rows_of(2, 9, 32, seed=2), rows_of(2, 9, 32, seed=3)
    with torch.no_grad():
        expected, _ = nn.functional.multi_head_attention_forward(
            q.transpose(0, 1),
            k.transpose(0, 1),
            v.transpose(0, 1),
            32,
            4,
            None,
            torch.cat([layer.q_proj.bias, layer.k_proj.bias, layer.v_proj.bias]),
            None,
            None,
            False,
            0.0,
            layer.out_proj.weight,
            layer.out_proj.bias,
            use_separate_proj_weight=True,
            q_proj_weight=layer.q_proj.weight,
            k_proj_weight=layer.k_proj.weight,
            v_proj_weight=layer.v_proj.weight,
        )
        torch.testing.assert_close(layer(q, k, v), expected.transpose(0, 1), rtol=1e-4, atol=1e-5)


def test_attention_by_hand() -> None:
    # one head of width one; keys 0 and ln 3 under a query of 1 weigh ¼ and ¾
    layer = Attention(1, heads=1)
    with torch.no_grad():
        for linear in (layer.q_proj, layer.k_proj, layer.v_proj, layer.out_proj):
            linear.weight.fill_(1.0)
            linear.bias.zero_()
        q, k, v = (
            torch.ones(1, 1, 1),
            torch.tensor([0.0, 3.0]).reshape(1, 2, 1),
            torch.tensor([8.0, 16]).reshape(1, 2, 1),
        )
        k[0, 1, 0] = k[0, 1, 0].log()
        for form in (layer.forward, layer.tokens_to_image, layer.image_to_tokens):
            assert form(q, k, v).item() == pytest.approx(14.0, abs=1e-5)


def test_mlp_by_hand() -> None:
    mlp = MLP([1, 2, 1])
    with torch.no_grad():
        mlp.layers[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))  # type: ignore[operator]
        mlp.layers[0].bias.zero_()  # type: ignore[operator]
        mlp.layers[1].weight.copy_(torch.tensor([[2.0, 5.0]]))  # type: ignore[operator]
        mlp.layers[1].bias.fill_(-20.0)  # type: ignore[operator]
        assert mlp(torch.tensor([[3.0]])).item() == -14.0  # no ReLU after the last layer
        assert mlp(torch.tensor([[-3.0]])).item() == -5.0


def test_the_published_decoder_has_four_mask_tokens_and_no_box_prior() -> None:
    decoder = MaskDecoder()
    assert MASK_TOKENS == 4
    assert decoder.box_prior is None
    assert not any("box_prior" in key for key in decoder.state_dict())


def limited(form: Tensor | float) -> Tensor:
    return PRIOR_LIMIT * torch.tanh(torch.as_tensor(form) / PRIOR_LIMIT)


def plane_of(prior: BoxPrior, token: Tensor, box: list[float], side: int) -> Tensor:
    """The prior's answer for one box, in shares of the side, on all of side × side pixels."""
    pixels: Tensor = prior(token, *Grid(side // 4).pixel_coordinates(torch.tensor([box])))
    return pixels.reshape(side // 4, side // 4, 4, 4).transpose(1, 2).reshape(side, side)


def prior_of(box: list[float], side: int) -> Tensor:
    """A fresh box prior's; the token is random and must not matter."""
    with torch.no_grad():
        return plane_of(BoxPrior(16), torch.randn(1, 16), box, side)


def test_the_box_prior_starts_as_the_inscribed_ellipse() -> None:
    side, (x0, y0, x1, y1) = 64, (0.25, 0.125, 0.75, 0.5)
    prior = prior_of([x0, y0, x1, y1], side)
    centres = (torch.arange(side) + 0.5) / side
    u = ((centres - (x0 + x1) / 2) / ((x1 - x0) / 2))[None, :]
    v = ((centres - (y0 + y1) / 2) / ((y1 - y0) / 2))[:, None]
    expected = 4 * (1 - u**2 - v**2)
    inside = (u.abs() <= 3) & (v.abs() <= 3)
    assert prior.shape == (side, side)
    torch.testing.assert_close(prior[inside], limited(expected[inside]), rtol=1e-5, atol=1e-5)
    assert 0 < inside.float().mean() < 1


def test_the_box_prior_is_constant_beyond_three_half_boxes() -> None:
    prior = BoxPrior(4)
    with torch.no_grad():
        prior.coefficients.layers[-1].bias.copy_(torch.tensor([0.125, 0, 0, 0, 0.5, 0]))  # type: ignore[operator]
        out = plane_of(prior, torch.zeros(1, 4), [0.5, 0.5, 0.5625, 0.5625], 64)  # pixels 32–36
    assert out[34, 34] == pytest.approx(limited(0.25**2 / 8 + 0.25 / 2).item())  # half a box is two pixels
    torch.testing.assert_close(out[34, 40:], limited(9 / 8 + 0.25 / 2).expand(24))
    torch.testing.assert_close(out[:28, 34], limited(0.25**2 / 8 - 3 / 2).expand(28))
    assert out[63, 0] == pytest.approx(limited(9 / 8 + 3 / 2).item())


def test_the_box_prior_is_bounded() -> None:
    prior = prior_of([0.5, 0.5, 0.5625, 0.5625], 64)
    assert prior.abs().max() <= PRIOR_LIMIT
    assert prior[0, 0] == pytest.approx(-PRIOR_LIMIT, rel=1e-3)


@pytest.mark.parametrize("box", [[0.25, 0.125, 0.75, 0.5], [0.0, 0.0, 1.0, 1.0], [0.6, 0.1, 0.7, 0.95]])
def test_the_zero_level_fills_the_share_of_an_ellipse(box: list[float]) -> None:
    side = 256
    x0, y0, x1, y1 = (value * side for value in box)
    pixels = torch.arange(side) + 0.5
    ellipse = (((pixels[None, :] - (x0 + x1) / 2) * 2 / (x1 - x0)) ** 2) + (
        ((pixels[:, None] - (y0 + y1) / 2) * 2 / (y1 - y0)) ** 2
    ) < 1
    mask = prior_of(box, side) > 0
    assert dice(mask.numpy(), ellipse.numpy()) > 0.999
    assert mask.sum().item() == pytest.approx(torch.pi / 4 * (x1 - x0) * (y1 - y0), rel=0.01)
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    edges = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert (edges - torch.tensor([x0, y0, x1, y1])).abs().max() <= 2.5  # a flat pole may end a little early


def test_box_prior_coefficients_by_hand() -> None:
    prior = BoxPrior(4)
    with torch.no_grad():
        prior.coefficients.layers[-1].bias.copy_(torch.tensor([0.1, 0.2, 0.4, 0.8, 1.6, 3.2]))  # type: ignore[operator]
        out = plane_of(prior, torch.zeros(1, 4), [0.0, 0, 1, 1], 4)[::3, ::3]  # the corners: u, v = ±¾
    squares = 3.2 + 0.5625 * (0.1 + 0.2)
    expected = [
        [squares + 0.225 - 0.6 - 1.2, squares - 0.225 + 0.6 - 1.2],
        [squares - 0.225 - 0.6 + 1.2, squares + 0.225 + 0.6 + 1.2],
    ]
    torch.testing.assert_close(out, limited(torch.tensor(expected)))


def test_the_box_prior_is_added_to_the_logits() -> None:
    torch.manual_seed(0)
    with_prior = MedSAM(nn.Identity(), PromptEncoder(), MaskDecoder(box_prior=True))
    without = MedSAM(nn.Identity(), PromptEncoder(), MaskDecoder())
    without.load_state_dict(with_prior.state_dict(), strict=False)
    rows = torch.randn(1, 64, 256)
    with torch.no_grad():
        difference = with_prior.decode(rows, BOXES)[0] - without.decode(rows, BOXES)[0]
    for index, box in enumerate(BOXES):
        torch.testing.assert_close(difference[index], prior_of((box / 256).tolist(), 32), rtol=1e-4, atol=1e-4)


def test_the_box_prior_learns() -> None:
    prior = BoxPrior(4)
    plane_of(prior, torch.randn(1, 4), [0.2, 0.2, 0.6, 0.8], 8).sum().backward()
    last = prior.coefficients.layers[-1]
    assert isinstance(last, nn.Linear)
    assert last.weight.grad is not None and last.weight.grad.abs().sum() > 0


def test_place_gives_each_row_its_position_in_the_box() -> None:
    """Zero at first; then what the weights read: here u into channel 0, v into 1, u²/3 into 2, 'inside' into 3."""
    prior = BoxPrior(4)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.25, 1.0]])  # on a 4×4 grid: all of it; 1 column × 2 rows
    assert torch.equal(prior.place(boxes, Grid(4)), torch.zeros(2, 16, 4))
    with torch.no_grad():
        for channel, feature in enumerate((0, 1, 3, 5)):
            prior.dense.weight[channel, feature] = 1
    told = prior.place(boxes, Grid(4)).reshape(2, 4, 4, 4)  # box, y, x, channel
    torch.testing.assert_close(told[0, 2, :, 0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(told[0, :, 1, 1], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(told[1, 0, :, 0], torch.tensor([0.0, 2.0, 3.0, 3.0]))  # clamped at three half-boxes
    torch.testing.assert_close(told[1, :, 0, 1], torch.tensor([-2.5, -1.5, -0.5, 0.5]))
    torch.testing.assert_close(told[1, 0, :, 2], torch.tensor([0.0, 4 / 3, 3.0, 3.0]))
    assert told[1, 2, 0, 3] > 0 > told[1, 2, 1, 3]  # in the box, and outside it
