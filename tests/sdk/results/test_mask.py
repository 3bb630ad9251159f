from __future__ import annotations

import numpy as np

from medsam_edge.results.mask import cropped


def test_cropped() -> None:
    plane = np.zeros((5, 6), dtype=bool)
    assert cropped(plane).empty
    plane[1:3, 2:4] = True
    mask = cropped(plane)
    assert (mask.top, mask.left, mask.pixels.shape) == (1, 2, (2, 2))
    plane[:] = False
    assert mask.pixels.all()  # a copy
