"""SAM's box prompt and mask decoder, restated plainly from the paper's architecture over a state dict.

The image stays a (channels, height, width) map, every projection is done in full, all four masks are computed.
Slow and obvious on purpose: the package's decoder is compared with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

State = Mapping[str, Tensor]

DECODER = "mask_decoder."
PROMPT = "prompt_encoder."
INPUT_SIDE = 256.0
HEADS = 8


def encode_positions(state: State, xy: Tensor) -> Tensor:
    """x, y in 0..1 → sines, then cosines, of random projections."""
    turned = (xy * 2 - 1) @ state[PROMPT + "pe_layer.positional_encoding_gaussian_matrix"] * (2 * math.pi)
    return torch.cat((torch.sin(turned), torch.cos(turned)), dim=-1)


def image_positions(state: State, height: int, width: int) -> Tensor:
    """(1, C, height, width)."""
    ones = torch.ones(height, width)
    y = (ones.cumsum(dim=0) - 0.5) / height
    x = (ones.cumsum(dim=1) - 0.5) / width
    return encode_positions(state, torch.stack((x, y), dim=-1)).permute(2, 0, 1).unsqueeze(0)


def box_tokens(state: State, boxes: Tensor) -> Tensor:
    """(N, 4) → (N, 2, C)."""
    top_left = encode_positions(state, (boxes[:, 0:2] + 0.5) / INPUT_SIDE)
    bottom_right = encode_positions(state, (boxes[:, 2:4] + 0.5) / INPUT_SIDE)
    top_left = top_left + state[PROMPT + "point_embeddings.2.weight"]
    bottom_right = bottom_right + state[PROMPT + "point_embeddings.3.weight"]
    return torch.stack((top_left, bottom_right), dim=1)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, state[name + ".weight"], state[name + ".bias"])


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], state[name + ".weight"], state[name + ".bias"], 1e-5)


def attention(state: State, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = linear(state, name + ".q_proj", q), linear(state, name + ".k_proj", k), linear(state, name + ".v_proj", v)
    heads = []
    width = q.shape[-1] // HEADS
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(-1, -2) / math.sqrt(width)
        heads.append(scores.softmax(dim=-1) @ v[..., part])
    return linear(state, name + ".out_proj", torch.cat(heads, dim=-1))


def two_way_transformer(state: State, image: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """image and positions (N, C, H, W), tokens (N, T, C) → tokens (N, T, C), image (N, H·W, C)."""
    name = DECODER + "transformer."
    keys = image.flatten(2).permute(0, 2, 1)
    key_pe = positions.flatten(2).permute(0, 2, 1)
    queries, query_pe = tokens, tokens
    depth = len({key.split(".")[3] for key in state if key.startswith(name + "layers.")})
    for index in range(depth):
        block = f"{name}layers.{index}."
        if index == 0:
            queries = attention(state, block + "self_attn", queries, queries, queries)
        else:
            placed = queries + query_pe
            queries = queries + attention(state, block + "self_attn", placed, placed, queries)
        queries = layer_norm(state, block + "norm1", queries)

        attended = attention(state, block + "cross_attn_token_to_image", queries + query_pe, keys + key_pe, keys)
        queries = layer_norm(state, block + "norm2", queries + attended)

        hidden = functional.relu(linear(state, block + "mlp.lin1", queries))
        queries = layer_norm(state, block + "norm3", queries + linear(state, block + "mlp.lin2", hidden))

        attended = attention(state, block + "cross_attn_image_to_token", keys + key_pe, queries + query_pe, queries)
        keys = layer_norm(state, block + "norm4", keys + attended)
    attended = attention(state, name + "final_attn_token_to_image", queries + query_pe, keys + key_pe, keys)
    return layer_norm(state, name + "norm_final_attn", queries + attended), keys


def channel_norm(state: State, name: str, x: Tensor) -> Tensor:
    """SAM's LayerNorm2d."""
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    x = (x - mean) / torch.sqrt(variance + 1e-6)
    return state[name + ".weight"][:, None, None] * x + state[name + ".bias"][:, None, None]


def upscale(state: State, image: Tensor) -> Tensor:
    """(N, C, H, W) → (N, C/8, 4H, 4W)."""
    name = DECODER + "output_upscaling."
    image = functional.conv_transpose2d(image, state[name + "0.weight"], state[name + "0.bias"], stride=2)
    image = functional.gelu(channel_norm(state, name + "1", image))
    return functional.gelu(
        functional.conv_transpose2d(image, state[name + "3.weight"], state[name + "3.bias"], stride=2)
    )


def three_layers(state: State, name: str, x: Tensor) -> Tensor:
    x = functional.relu(linear(state, name + ".layers.0", x))
    x = functional.relu(linear(state, name + ".layers.1", x))
    return linear(state, name + ".layers.2", x)


def decode(state: State, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """embedding (1 or N, C, H, W) without the dense prompt, boxes (N, 4) → mask 0 (N, 4H, 4W) and IoU 0 (N,)."""
    count, (height, width) = len(boxes), embedding.shape[2:]
    image = embedding.repeat_interleave(count // len(embedding), dim=0)
    image = image + state[PROMPT + "no_mask_embed.weight"].reshape(1, -1, 1, 1).expand(count, -1, height, width)
    positions = image_positions(state, height, width).repeat_interleave(count, dim=0)

    own = torch.cat((state[DECODER + "iou_token.weight"], state[DECODER + "mask_tokens.weight"]))
    tokens = torch.cat((own.unsqueeze(0).expand(count, -1, -1), box_tokens(state, boxes)), dim=1)
    tokens, rows = two_way_transformer(state, image, positions, tokens)

    features = upscale(state, rows.transpose(1, 2).reshape(image.shape))
    kernels = torch.stack(
        [three_layers(state, f"{DECODER}output_hypernetworks_mlps.{i}", tokens[:, 1 + i]) for i in range(4)], dim=1
    )
    masks = (kernels @ features.flatten(2)).reshape(count, 4, *features.shape[2:])
    scores = three_layers(state, DECODER + "iou_prediction_head", tokens[:, 0])
    return masks[:, 0], scores[:, 0]
