"""C++ beside Python in one process, in turns: `python -m tests.sdk.cpp.latency --rounds 5` after `make cpp`.

Nothing is taken from the cache. Each line has the medians, and the median of the ratios of each turn. The masks of both
must be the same.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge import Segmenter
from medsam_edge.networks.bundle import packaged_bundle
from medsam_edge.phantom import phantom, phantom_volume
from tests.sdk.cpp.binding import Library

THREADS = 2


def cases(slices: int) -> dict[str, Callable[[], tuple[npt.NDArray[Any], npt.NDArray[Any], str]]]:
    """Image, boxes and modality of each; drawn when asked for."""

    def picture(modality: str, *arguments: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any], str]:
        drawn = phantom(modality, *arguments)
        return drawn.image, drawn.boxes, modality

    def volume() -> tuple[npt.NDArray[Any], npt.NDArray[Any], str]:
        drawn = phantom_volume("CT", (slices, 512, 512), objects=6)
        return drawn.image, drawn.boxes, "CT"

    return {
        "one box, 512 x 512": lambda: picture("US", (512, 512), 0, 1),
        "16 boxes, 512 x 512": lambda: picture("Microscopy", (512, 512), 0, 16),
        "241 boxes, 1920 x 2560": lambda: picture("Microscopy", (1920, 2560), 0, 241),
        f"6 boxes, CT of {slices} slices": volume,
    }


def timed(call: Callable[[], npt.NDArray[np.uint16]]) -> tuple[float, npt.NDArray[np.uint16]]:
    gc.collect()
    start = time.perf_counter()
    labels = call()
    return time.perf_counter() - start, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=287, help="of the volume")
    parser.add_argument("--only", default="", help="cases whose names hold this")
    options = parser.parse_args()
    library = Library(packaged_bundle(), THREADS, cache=False)
    segmenter = Segmenter(num_threads=THREADS, cache_bytes=0)
    for name, draw in cases(options.slices).items():
        if options.only not in name:
            continue
        image, boxes, modality = draw()
        times = []
        for round_number in range(options.rounds + 1):
            by_python, expected = timed(lambda: segmenter.segment(image, boxes, modality).label_map)  # noqa: B023
            by_cpp, found = timed(lambda: library.segment(image, boxes, modality))  # noqa: B023
            if not (found == expected).all():
                raise SystemExit(f"{name}: {(found != expected).sum()} pixels differ")
            if round_number or options.rounds == 1:  # the first call is slower
                times.append((by_python, by_cpp))
            if options.rounds == 1:
                break
        python, cpp = np.median(times, axis=0)
        ratio = np.median([one[1] / one[0] for one in times])
        print(
            f"{name}: Python {python * 1e3:.1f} ms, C++ {cpp * 1e3:.1f} ms, ratio {ratio:.2f}, the same masks",
            flush=True,
        )
    library.close()


if __name__ == "__main__":
    main()
