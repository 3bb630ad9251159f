from __future__ import annotations

import numpy as np

from medsam_edge.cache import EmbeddingCache, content_key

KILOBYTE = {"embedding": np.zeros(1000, np.uint8), "class_scores": np.zeros(6, np.float32)}


def test_least_recently_used_goes_first() -> None:
    cache = EmbeddingCache(2048)
    cache.put("a", KILOBYTE)
    cache.put("b", KILOBYTE)
    cache.get("a")
    cache.put("c", KILOBYTE)
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    assert cache.used_bytes == 2048


def test_same_key_is_counted_once_and_clear_frees_all() -> None:
    cache = EmbeddingCache(4096)
    cache.put("a", KILOBYTE)
    cache.put("a", KILOBYTE)
    assert (len(cache), cache.used_bytes) == (1, 1024)
    cache.clear()
    assert (len(cache), cache.used_bytes) == (0, 0)


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
