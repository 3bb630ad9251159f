from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge import InputError, Modality, Segmenter
from medsam_edge.inference.cache import EmbeddingCache, content_key
from medsam_edge.inference.predictor import Predictor
from tests.sdk.fake import FakeEncoder, fake_model

KILOBYTE = {"embedding": np.zeros(1000, np.uint8), "class_scores": np.zeros(6, np.float32)}


def test_least_recently_used_goes_first() -> None:
    cache = EmbeddingCache(2048)
    cache.put("a", KILOBYTE)
    cache.put("b", KILOBYTE)
    cache.get("a")
    cache.put("c", KILOBYTE)
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    assert cache.used_bytes == 2048


@pytest.mark.parametrize(
    ("name", "value"),
    [("cache_bytes", None), ("cache_bytes", "1"), ("cache_bytes", -1), ("num_threads", "2"), ("num_threads", 1.5)],
)
def test_a_segmenter_refuses_what_is_no_number_at_once(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{name}: expected .*, got {value!r}"):
        Segmenter(fake_model(), **{name: value})  # type: ignore[arg-type]


def test_numbers_may_be_of_numpy() -> None:
    segmenter = Segmenter(fake_model(), num_threads=np.int64(1), cache_bytes=np.int64(4096))  # type: ignore[arg-type]
    assert segmenter.predictor.cache.budget_bytes == 4096


def test_same_key_is_counted_once() -> None:
    cache = EmbeddingCache(4096)
    cache.put("a", KILOBYTE)
    cache.put("a", KILOBYTE)
    assert (len(cache), cache.used_bytes) == (1, 1024)


def test_larger_than_the_budget_is_not_kept_and_drops_nothing() -> None:
    cache = EmbeddingCache(1024)
    cache.put("a", KILOBYTE)
    cache.put("b", {"embedding": np.zeros(2048, np.uint8)})
    assert cache.get("a") is not None
    assert cache.get("b") is None


def test_key_depends_on_content_shape_type_and_settings() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    keys = {
        content_key(image),
        content_key(image + 1),
        content_key(image.reshape(4, 3)),
        content_key(image.astype(np.uint16)),
        content_key(image, "window"),
    }
    assert len(keys) == 5
    assert content_key(image) == content_key(np.asfortranarray(image))


@pytest.fixture
def grey() -> npt.NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1000, 1000, (48, 40)).astype(np.int16)


def test_what_changes_the_picture_misses_and_what_does_not_hits(grey: npt.NDArray[np.int16]) -> None:
    segmenter = Segmenter(fake_model())
    encoder = cast(FakeEncoder, segmenter.model.encoder)

    def calls(*, image: npt.NDArray[np.int16] = grey, **settings: Any) -> int:
        before = encoder.calls
        segmenter.segment(image, [[4, 4, 30, 30]], **{"modality": "CT", **settings})
        return encoder.calls - before

    assert calls() == 1
    assert calls() == 0
    assert calls(window="lung") == 1
    assert calls(window=(-600.0, 1500.0)) == 0  # the same by its numbers
    assert calls(overlap="score") == 0
    assert calls(modality="MR") == 1  # another rule for intensities
    other = grey.copy()
    other[20, 20] = 40 if grey[20, 20] < 0 else -100
    assert calls(image=other) == 1
    assert calls() == 0


def test_the_modality_alone_changes_nothing_of_a_picture() -> None:
    segmenter = Segmenter(fake_model(classes=(Modality.CT, Modality.MR)))
    image = np.arange(400, dtype=np.uint8).reshape(20, 20)
    for modality in ("CT", "MR", None):
        segmenter.segment(image, [[1, 1, 9, 9]], modality)
    assert cast(FakeEncoder, segmenter.model.encoder).calls == 1


def test_another_model_has_embeddings_of_its_own() -> None:
    """Also where two segmenters were to share what is kept."""
    image, first = np.eye(20, dtype=np.uint8), Segmenter(fake_model("a"))
    second = Predictor(fake_model("b"), first.predictor.cache)
    first.embed(image)
    second.embed(image)
    assert cast(FakeEncoder, second.model.encoder).calls == 1


def test_ten_boxes_encode_each_slice_once_and_a_moved_box_none() -> None:
    segmenter = Segmenter(fake_model())
    encoder = cast(FakeEncoder, segmenter.model.encoder)
    volume = np.random.default_rng(0).integers(0, 255, (9, 40, 40)).astype(np.uint8)
    boxes = [[2 + k, 3, 1 + k % 3, 30 + k, 30, 6 + k % 3] for k in range(10)]  # slices 1 to 7
    segmenter.segment(volume, boxes)
    assert encoder.calls == 7
    moved = segmenter.segment(volume, [*boxes[1:], [5, 5, 2, 20, 20, 8]])
    assert encoder.calls == 7
    assert moved.timings_ms["encode"] == 0.0
    segmenter.segment(volume, [[5, 5, 0, 20, 20, 9]])
    assert encoder.calls == 9


def test_without_a_budget_nothing_is_kept() -> None:
    segmenter = Segmenter(fake_model(), cache_bytes=0)
    for _ in range(2):
        segmenter.embed(np.eye(20, dtype=np.uint8))
    assert cast(FakeEncoder, segmenter.model.encoder).calls == 2
