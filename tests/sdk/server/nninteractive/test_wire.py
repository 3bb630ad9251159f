from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest

from medsam_edge.errors import InputError

pytest.importorskip("nnInteractive.inference.remote", reason="needs the extra nninteractive")

from nnInteractive.inference.remote.serialization import pack_array

from medsam_edge.server.nninteractive.wire import meta_of, packed, unpacked

SHAPE_AT = 8 + len("uint8")


def body() -> bytes:
    return bytes(pack_array(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)))


def claiming(*shape: int) -> bytes:
    own = bytearray(body())
    own[SHAPE_AT : SHAPE_AT + 24] = struct.pack("<3q", *shape)
    return bytes(own)


def test_there_and_back() -> None:
    np.testing.assert_array_equal(unpacked(body(), 3), np.arange(24).reshape(2, 3, 4))
    mask = np.arange(8).reshape(2, 2, 2) % 3 == 0
    np.testing.assert_array_equal(unpacked(packed(mask), 3), mask)


@pytest.mark.parametrize(
    "lie",
    [
        claiming(1 << 20, 1 << 20, 1 << 20),
        claiming(-2, -3, 4),
        claiming(1 << 62, 4, 1),
        claiming(2, 3, 5),
        claiming(1024, 1024, 256),
        claiming(0, 0, 0),
        b"",
        b"NNIA",
        body()[:-5],
        body()[:40],
        body().replace(b"uint8", b"O\x00\x00\x00\x00"),
        body().replace(b"uint8", b"|S999"),
        b"PNGX" + body()[4:],
        body()[: SHAPE_AT + 24] + b"\xff" * 30,
    ],
)
def test_lies_are_refused_before_memory_is_taken(lie: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="array"):
            unpacked(lie, 3)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_damaged_bytes_never_end_the_process() -> None:
    rng = np.random.default_rng(0)
    whole = np.frombuffer(bytes(pack_array(rng.integers(0, 9, (4, 32, 32)).astype(np.uint8))), np.uint8)
    for _ in range(300):
        damaged = whole.copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        try:
            assert unpacked(damaged.tobytes(), 3).size <= 1 << 28
        except InputError:
            continue


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(InputError, match="expected 4 dimensions"):
        unpacked(body(), 4)


@pytest.mark.parametrize("text", ["[", "[]", "3", "[" * 100_000])
def test_what_is_said_beside_it_is_an_object(text: str) -> None:
    assert meta_of(None) == {}
    with pytest.raises(InputError, match="X-Meta"):
        meta_of(text)
