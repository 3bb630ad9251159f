"""Slices encoded in threads before they are decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from medsam_edge.inference.embedding import Embedding

AHEAD_PER_STREAM = 2
"""Slices that each stream may have encoded before they are wanted."""


def encoded_ahead(
    embed: Callable[[int], Embedding], slices: Iterable[int], streams: int
) -> Generator[tuple[int, Embedding], None, None]:
    """Yield (z, embedding) in the order given, while `streams` threads encode the next slices.

    At most AHEAD_PER_STREAM embeddings a stream are waiting. With no streams, this thread encodes. Close the iterator
    to end the threads early. An exception of `embed` is raised where its slice would come.
    """
    if streams == 0:
        yield from ((z, embed(z)) for z in slices)
        return
    waiting: deque[tuple[int, Future[Embedding]]] = deque()
    with ThreadPoolExecutor(streams, thread_name_prefix="encode-ahead") as pool:
        try:
            for z in slices:
                waiting.append((z, pool.submit(embed, z)))
                if len(waiting) > AHEAD_PER_STREAM * streams:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            for _, future in waiting:
                future.cancel()


def _first(waiting: deque[tuple[int, Future[Embedding]]]) -> tuple[int, Embedding]:
    z, future = waiting.popleft()
    return z, future.result()
