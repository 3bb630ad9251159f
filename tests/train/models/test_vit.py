from __future__ import annotations

import torch
from torch import nn

from medsam_edge_train.models.vit import RelativeAttention, ViT, ViTBlock


def test_parameters_are_as_many_as_published() -> None:
    """SAM ViT-B: 177 entries, 89,670,912 parameters; tables of 27 in windows, of 127 in the global blocks."""
    with torch.device("meta"):
        state = ViT().state_dict()
    assert len(state) == 177
    assert sum(value.numel() for value in state.values()) == 89_670_912
    assert state["pos_embed"].shape == (1, 64, 64, 768)
    tables = {index: tuple(state[f"blocks.{index}.attn.rel_pos_h"].shape) for index in range(12)}
    assert tables == {index: (127, 64) if index in (2, 5, 8, 11) else (27, 64) for index in range(12)}


def test_embedding_has_a_sixteenth_of_the_side() -> None:
    with torch.inference_mode():
        assert ViT(64, dim=16, depth=2, heads=2, global_blocks=(1,))(torch.rand(2, 3, 64, 64)).shape == (2, 256, 4, 4)


def test_relative_positions_against_their_definition() -> None:
    torch.manual_seed(0)
    attention = RelativeAttention(8, heads=2, side=3)
    nn.init.normal_(attention.rel_pos_h)
    nn.init.normal_(attention.rel_pos_w)
    q = torch.rand(1, 2, 9, 4)
    got = attention._positions(q)
    for head, (a, b) in ((0, (0, 8)), (1, (5, 1)), (1, (7, 7))):
        (ya, xa), (yb, xb) = divmod(a, 3), divmod(b, 3)
        table = attention.rel_pos_h[ya - yb + 2] + attention.rel_pos_w[xa - xb + 2]
        torch.testing.assert_close(got[0, head, a, b], q[0, head, a] @ table)


def test_windows_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    block = ViTBlock(8, heads=2, grid=6, window=4).eval()
    before = torch.rand(1, 6, 6, 8)
    after = before.clone()
    after[0, 1, 2, 0] += 1
    with torch.inference_mode():
        changed = (block(before) - block(after)).abs().amax(dim=(0, 3)) > 1e-6
    assert changed[:4, :4].all()
    assert changed.sum() == 16
