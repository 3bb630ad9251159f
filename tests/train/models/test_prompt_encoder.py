from __future__ import annotations

import pytest
import torch

from medsam_edge_train.models.prompt_encoder import PromptEncoder, RandomPositionEncoding


def encoding(matrix: list[list[float]]) -> RandomPositionEncoding:
    layer = RandomPositionEncoding(len(matrix[0]))
    layer.positional_encoding_gaussian_matrix.copy_(torch.tensor(matrix))
    return layer


def test_a_zero_matrix_gives_sine_zero_and_cosine_one() -> None:
    positions = torch.rand(4, 5, 2)
    encoded = encoding([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])(positions)
    assert encoded.shape == (4, 5, 6)
    assert (encoded[..., :3] == 0).all()
    assert (encoded[..., 3:] == 1).all()


@pytest.mark.parametrize(
    ("x", "y", "sines", "cosines"),
    [
        (0.5, 0.5, [0.0, 0.0], [1.0, 1.0]),  # the middle is the origin
        (0.75, 0.5, [1.0, 0.0], [0.0, 1.0]),  # 2·0.75 - 1 = ½; 2π·½·½ = π/2
        (0.25, 0.5, [-1.0, 0.0], [0.0, 1.0]),
        (0.5, 0.625, [0.0, 1.0], [1.0, 0.0]),  # ¼ · 1 turn
        (1.0, 1.0, [0.0, 0.0], [-1.0, 1.0]),  # half a turn; a whole turn
    ],
)
def test_positions_by_hand(x: float, y: float, sines: list[float], cosines: list[float]) -> None:
    encoded = encoding([[0.5, 0.0], [0.0, 1.0]])(torch.tensor([x, y]))  # first feature: x; second: y
    torch.testing.assert_close(encoded, torch.tensor(sines + cosines), rtol=0, atol=1e-6)


def test_the_grid_runs_along_x_first() -> None:
    layer = encoding([[0.25, 0.0], [0.0, 0.25]])  # half a turn from edge to edge: the sine rises all the way
    grid = layer.grid(4)
    assert grid.shape == (16, 4)
    for row in range(4):
        for column in range(4):
            centre = torch.tensor([(column + 0.5) / 4, (row + 0.5) / 4])
            torch.testing.assert_close(grid[4 * row + column], layer(centre))
    assert grid[1, 0] > grid[0, 0]  # the second position is further along x …
    assert grid[1, 1] == grid[0, 1]  # … and on the same row


def test_the_random_matrix_is_in_the_state_dict() -> None:
    layer = RandomPositionEncoding(128)
    assert {key: value.shape for key, value in layer.state_dict().items()} == {
        "positional_encoding_gaussian_matrix": (2, 128)
    }
    assert layer.positional_encoding_gaussian_matrix.std() == pytest.approx(1, abs=0.2)


def hand_encoder() -> PromptEncoder:
    encoder = PromptEncoder(dim=4, mask_channels=4)
    encoder.pe_layer.positional_encoding_gaussian_matrix.zero_()
    with torch.no_grad():
        for index, embedding in enumerate(encoder.point_embeddings):
            embedding.weight.fill_(10.0 * index)  # type: ignore[operator]
    return encoder


def test_tokens_without_positions_are_the_corner_embeddings() -> None:
    tokens = hand_encoder()(torch.tensor([[1.0, 2, 3, 4], [50, 60, 70, 80]]))
    assert tokens.shape == (2, 2, 4)
    for box in tokens.tolist():
        assert box == [[20, 20, 21, 21], [30, 30, 31, 31]]  # embeddings 2 and 3; sine 0, cosine 1


def test_tokens_encode_the_corners_plus_half_a_pixel() -> None:
    encoder = hand_encoder()
    encoder.pe_layer.positional_encoding_gaussian_matrix.copy_(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
    tokens = encoder(torch.tensor([[127.5, 191.5, 191.5, 255.5]]))  # (½, ¾) and (¾, 1)
    expected = torch.tensor([[[20.0, 21, 21, 20], [31, 30, 30, 29]]])  # sin x, sin y, cos x, cos y
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)


def test_no_boxes_give_no_tokens() -> None:
    assert PromptEncoder()(torch.zeros(0, 4)).shape == (0, 2, 256)


def test_dense_is_the_no_mask_embedding() -> None:
    encoder = PromptEncoder()
    assert torch.equal(encoder.dense(), encoder.no_mask_embed.weight[0])
    assert encoder.dense().shape == (256,)
