from __future__ import annotations

import numpy as np

from medsam_edge.server.nninteractive.strokes import MOST_POINTS, centre_points, flattest, fullest, spread


def test_points_lie_on_the_centre_line() -> None:
    plane = np.zeros((40, 100), dtype=bool)
    plane[10:15, 5:95] = True
    points = centre_points(plane)
    assert (points[:, 0] == 12).all()
    assert points[:, 1].tolist() == [49, 92, 7, 28, 70]  # the middle, the ends, between them: at least 18 apart


def test_a_dot_is_one_point_and_nothing_none() -> None:
    plane = np.zeros((9, 9), dtype=bool)
    assert centre_points(plane).shape == (0, 2)
    plane[4, 5] = True
    assert centre_points(plane).tolist() == [[4, 5]]


def test_spread_takes_the_farthest_first() -> None:
    line = np.stack([np.arange(101), np.zeros(101, int)], axis=1)
    assert spread(line)[:3, 0].tolist() == [50, 0, 100]
    assert len(spread(line)) == MOST_POINTS


def test_the_plane_of_a_drawing() -> None:
    mask = np.zeros((5, 6, 7), dtype=bool)
    mask[2:4, 1:5, 3] = True
    mask[2, 1, 3] = False
    assert flattest(mask, 0) == 2
    assert fullest(mask, 0) == 3
    assert flattest(np.ones((3, 3, 3), dtype=bool), 1) == 1
