from __future__ import annotations

import numpy as np

from medsam_edge import Segmenter, VolumeSegmentation
from tests.sdk.fake import SIZE, fake_model


def test_the_users_box_is_narrowed_towards_its_ends_by_half_of_what_the_ellipsoid_is() -> None:
    """Five slices, 40 × 24 pixels: at ±0.4 and ±0.8 of the extent the section of the ellipsoid has √0.84 and 0.6 of its
    sides, so the box keeps 1 − 0.5·(1 − √0.84) and 0.8 of them. The fake's mask fills its box."""
    volume = np.random.default_rng(0).integers(0, 255, (5, SIZE, SIZE), dtype=np.uint8)
    result = Segmenter(fake_model()).segment(volume, [(10, 20, 0, 50, 44, 5)])
    assert isinstance(result, VolumeSegmentation)
    sides = [result.masks[0][z].pixels.shape for z in range(5)]
    assert sides[2] == (24, 40)
    assert sides[0] == sides[4] == (20, 32)  # 0.8 · 24 = 19.2 and its neighbours' centres, 0.8 · 40 = 32
    assert sides[1] == sides[3] == (22, 38)  # 0.958 · 24 = 23.0, 0.958 · 40 = 38.3
