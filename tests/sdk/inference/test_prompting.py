"""Boxes for objects that have none."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_edge.errors import InputError
from medsam_edge.inference.prompting import box_around
from medsam_edge.prompts import Clicks
from medsam_edge.results.mask import CroppedMask

EMPTY = CroppedMask(0, 0, np.zeros((0, 0), bool))


def clicks(*points: tuple[float, float], label: int) -> Clicks:
    return Clicks(np.array(points, np.float32), np.full(len(points), label))


def test_a_box_holds_the_mask_and_the_clicks_on_the_object_and_is_a_tenth_larger() -> None:
    """The mask spans x 4–14, y 2–7, the click 14–15, 12–13: in all 4–15 and 2–13, a margin of 1.1 on each side."""
    box = box_around(CroppedMask(2, 4, np.ones((5, 10), bool)), clicks((14, 12), label=1), (40, 30))
    np.testing.assert_allclose(box, [2.9, 0.9, 16.1, 14.1], rtol=1e-5)


def test_clicks_on_the_background_of_nothing_are_one_error() -> None:
    with pytest.raises(InputError, match="points: expected a click on the object where its mask is empty"):
        box_around(EMPTY, clicks((3, 3), label=0), (40, 30))
