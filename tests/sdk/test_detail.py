from __future__ import annotations

import numpy as np
import pytest

from medsam_edge.detail import CONTEXT, ENOUGH, Detail, View, check_detail, views
from medsam_edge.errors import InputError
from medsam_edge.geometry import FloatArray


def boxes(*rows: tuple[float, ...]) -> FloatArray:
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def test_by_hand() -> None:
    """2048 pixels are eight times the network's: a side of 20 is 2.5, and is 20 in a tile of 256, the smallest. Tiles
    of 256 are 192 apart: the one whose middle, 128 + 192·k, is nearest to 1010 starts at 960."""
    assert views(boxes((1000, 30, 1020, 45)), 2048, 2048, 256, "auto") == [View(0, 960, 256, 1216, (0,))]


@pytest.mark.parametrize(
    ("side", "length"), [(96, None), (95, 1024), (48, 1024), (47, 512), (24, 512), (23, 256), (1, 256)]
)
def test_the_smaller_the_box_the_smaller_the_tile(side: int, length: int | None) -> None:
    """The whole image while the box is 12 network pixels or more, then as often halved as it takes."""
    (view,) = views(boxes((300, 300, 300 + side, 310)), 2048, 2048, 256, "auto")
    assert view.right - view.left == (length or 2048)


@pytest.mark.parametrize("extent", [(256, 256), (300, 511), (511, 384)])
def test_images_little_larger_than_the_network_are_never_cut(extent: tuple[int, int]) -> None:
    assert views(boxes((1, 1, 3, 3)), *extent, 256, "crop") == [View(0, 0, *extent, (0,))]


def test_image_never_cuts_and_near_boxes_share() -> None:
    two = boxes((1000, 30, 1020, 45), (1030, 60, 1040, 80), (5, 5, 1500, 900))
    assert views(two, 2048, 2048, 256, "image") == [View(0, 0, 2048, 2048, (0, 1, 2))]
    assert [view.own for view in views(two, 2048, 2048, 256, "auto")] == [(0, 1), (2,)]
    assert views(boxes(), 2048, 2048, 256, "auto") == []


@pytest.mark.parametrize("detail", ["auto", "crop"])
def test_every_box_is_in_one_view_with_its_context_and_large_enough(detail: Detail) -> None:
    rng = np.random.default_rng(0)
    for height, width in [(512, 512), (513, 4096), (1920, 2560), (3024, 700), (4000, 90)]:
        corners = rng.uniform(0, [width, height], (300, 2))
        sides = np.exp(rng.uniform(0, np.log(200), (300, 2)))
        own = np.concatenate([corners, corners + sides], axis=1).clip(0, [width, height] * 2).astype(np.float32)
        own = own[(own[:, 2:] - own[:, :2]).min(axis=1) > 0.5]
        found = views(own, height, width, 256, detail)
        assert sorted(index for view in found for index in view.own) == list(range(len(own)))
        for view in found:
            assert 0 <= view.top < view.bottom <= height
            assert 0 <= view.left < view.right <= width
            tile = max(view.bottom - view.top, view.right - view.left)
            inside, scale = view.boxes(own), 256 / tile
            context = CONTEXT / scale - 1  # a step is cut to whole pixels
            far = np.array([view.right - view.left, view.bottom - view.top])
            beyond = np.array([width - view.right, height - view.bottom])
            assert ((inside[:, :2] >= context) | (np.array([view.left, view.top]) == 0)).all()
            assert ((far - inside[:, 2:] >= context) | (beyond == 0)).all()
            shown = (inside[:, 2:] - inside[:, :2]).max(axis=1) * scale
            assert (shown >= ENOUGH[detail] - 1e-3).all() or tile == 256


def test_a_box_that_moves_a_little_stays_in_its_tile() -> None:
    before, after = boxes((1000, 30, 1020, 45)), boxes((1003, 28, 1024, 47))
    assert views(before, 2048, 2048, 256, "auto") == views(after, 2048, 2048, 256, "auto")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="detail: expected 'auto', 'image' or 'crop', got 'fine'"):
        check_detail("fine")
