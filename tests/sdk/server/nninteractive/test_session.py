from __future__ import annotations

import numpy as np
import pytest

from medsam_edge.modality import Modality
from medsam_edge.segmenter import Segmenter
from tests.sdk.fake import prompted_model

pytest.importorskip("nnInteractive.inference.remote", reason="needs the extra nninteractive")

from medsam_edge.server.nninteractive.interactions import box_of
from medsam_edge.server.nninteractive.session import ViewerSession

HU = np.repeat(np.array([-1000, 40], np.int16), 128).reshape(1, 4, 8, 8)  # air and tissue


@pytest.mark.parametrize(
    ("given", "properties", "image", "expected"),
    [
        (Modality.MR, {"modality": "PT"}, HU, Modality.MR),
        (None, {"modality": "PT"}, HU, Modality.PET),
        (None, {}, HU, Modality.CT),
        (None, {}, HU.astype(np.float32), Modality.CT),
        (None, {}, HU - HU.min(), None),
        (None, {}, np.zeros((1, 4, 8, 8), np.uint8), None),
    ],
)
def test_modality(given: Modality | None, properties: dict[str, str], image: np.ndarray, expected: object) -> None:
    session = ViewerSession(Segmenter(prompted_model()), given)
    session.set_image(image, properties)
    assert session.modality is expected


@pytest.mark.parametrize(
    ("shape", "spacing", "axis"),
    [
        ((4, 8, 8), None, 0),
        ((8, 8, 4), [1, 1, 3], 2),
        ((8, 4, 8), [1.0, 5.0, 1.0], 1),
        ((8, 8, 8), [1, 1.1, 1], 0),
        ((8, 8, 1), [9, 1, 1], 2),
        ((8, 8, 8), "nonsense", 0),
        ((8, 8, 8), [1, 2], 0),
    ],
)
def test_the_axis_of_slices(shape: tuple[int, ...], spacing: object, axis: int) -> None:
    session = ViewerSession(Segmenter(prompted_model()))
    session.set_image(np.zeros((1, *shape), np.uint8), {"spacing": spacing})
    assert session.axis == axis


def test_a_failed_prediction_leaves_the_object_as_it_was() -> None:
    session = ViewerSession(Segmenter(prompted_model()))
    session.set_image(np.zeros((1, 3, 64, 64), np.uint8), {})
    session.add(box_of([[1, 2], [10, 20], [10, 20]], True, session.shape))
    assert session.predict() is not None
    session.add(box_of([[1, 2], [30, 40], [10, 20]], True, session.shape))
    with pytest.raises(ZeroDivisionError):
        session.predict(lambda done, total: bool(1 // 0))
    undone, change = session.undo()
    assert undone and change is not None and change.bounds == [[0, 3], [10, 20], [10, 20]]
    assert session.undo() == (False, None)
