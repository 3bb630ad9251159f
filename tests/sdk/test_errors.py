from __future__ import annotations

import numpy as np
import pytest

from medsam_edge import Segmenter
from medsam_edge.errors import warn
from tests.sdk.fake import SIZE, fake_model


@pytest.mark.parametrize("depth", [None, 3])
def test_a_warning_of_segment_points_at_the_callers_line(depth: int | None) -> None:
    """Both warnings, of the boxes and of the values, come from deep inside the package."""
    sides = (SIZE, SIZE) if depth is None else (depth, SIZE, SIZE)
    box = [-5, 0, 20, 30] if depth is None else [-5, 0, 0, 20, 30, depth]
    with pytest.warns(UserWarning) as caught:
        Segmenter(fake_model()).segment(np.zeros(sides, np.int16), [box], "CT")
    assert sorted(str(warning.message).split()[0] for warning in caught) == ["boxes", "image:"]
    assert {warning.filename for warning in caught} == {__file__}


def test_warn_outside_the_package_points_at_its_own_line() -> None:
    with pytest.warns(UserWarning, match="^too bright$") as caught:
        warn("too bright")
    assert caught[0].filename == __file__
