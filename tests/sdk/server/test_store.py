from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medsam_edge.image import LoadedImage
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.errors import TooLarge, Unknown
from medsam_edge.server.held import HeldImage
from medsam_edge.server.limits import Limits
from medsam_edge.server.masks import Kept
from medsam_edge.server.schemas import Shown
from medsam_edge.server.store import Store
from tests.sdk.fake import fake_model

KIB = 1024


def held(name: str, size: int = 32, folder: Path | None = None) -> HeldImage:
    """An image of size × size bytes."""
    return HeldImage(name, name, LoadedImage(np.zeros((size, size), np.uint8)), folder)


def names(store: Store) -> list[str]:
    return [own.id for own in store.images()]


def test_least_recently_used_images_go_first(tmp_path: Path) -> None:
    store = Store(Limits(memory_bytes=3 * KIB, client_bytes=3 * KIB))
    (tmp_path / "a").mkdir()
    store.add(held("a", folder=tmp_path / "a"), "me")
    store.add(held("b"), "me")
    store.add(held("c"), "me")
    store.image("b", "me")
    assert (tmp_path / "a").exists()
    store.add(held("d"), "me")
    assert names(store) == ["c", "b", "d"]
    assert not (tmp_path / "a").exists()
    with pytest.raises(Unknown, match="open it again"):
        store.image("a", "me")


def test_one_client_does_not_push_out_the_images_of_another() -> None:
    store = Store(Limits(memory_bytes=100 * KIB, client_bytes=2 * KIB))
    store.add(held("theirs"), "them")
    for name in "abc":
        store.add(held(name), "me")
    assert names(store) == ["theirs", "b", "c"]


def test_an_image_of_two_clients_stays_for_the_other() -> None:
    store = Store(Limits(memory_bytes=100 * KIB, client_bytes=2 * KIB))
    store.add(held("both"), "them")
    first = store.image("both", "me")
    assert store.add(held("both"), "me") is first
    store.add(held("a"), "me")
    store.add(held("b"), "me")
    assert names(store) == ["both", "a", "b"]


def test_an_image_that_is_too_large_for_a_client() -> None:
    store = Store(Limits(memory_bytes=100 * KIB, client_bytes=KIB))
    with pytest.raises(TooLarge, match="2304 bytes of memory, more than 1024"):
        store.add(held("a", 48), "me")


def test_old_results_of_the_image_at_hand_make_room_for_new_ones() -> None:
    store = Store(Limits(memory_bytes=100_000, client_bytes=60_000))
    own = store.add(held("a", 64), "me")
    segmenter = Segmenter(fake_model())
    results = []
    for _ in range(8):
        result = segmenter.segment(own.loaded, [[0, 0, 64, 64]])
        results.append(store.keep(Kept("a", "me", result, Shown())))
    size = results[0].nbytes
    kept = (60_000 - 64 * 64) // size
    assert 1 <= kept < 8
    for result in results[-kept:]:
        assert store.result(result.id) is result
    with pytest.raises(Unknown, match="dropped"):
        store.result(results[0].id)
    store.drop("a")
    assert store.nbytes == 0
