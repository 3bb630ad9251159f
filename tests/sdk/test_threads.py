"""Many threads on one segmenter with a real OpenVINO network give the same bits as serial calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge import Segmentation, Segmenter, VolumeSegmentation
from medsam_edge.geometry import Geometry
from medsam_edge.networks.engine import OpenVinoNetwork
from medsam_edge.results.mask import CroppedMask
from tests.sdk.tiny_bundle import SIZE, write_tiny_bundle

THREADS, CALLS = 16, 200


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("threads") / "bundle")


def pictures() -> list[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    shapes = [(64, 64), (40, 70), (90, 60, 3), (31, 30), (64, 64, 3), (100, 50)]
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def random_boxes(rng: np.random.Generator, sides: tuple[int, ...], count: int) -> npt.NDArray[np.float64]:
    low = rng.uniform(0, np.array(sides) * 0.6, (count, len(sides)))
    return np.concatenate([low, low + rng.uniform(1, np.array(sides) * 0.4, low.shape)], axis=1)


def bits(result: Segmentation | VolumeSegmentation) -> list[bytes]:
    """Every part of a result that a data race could change."""
    found = [result.boxes.tobytes(), result.scores.tobytes(), result.label_map.tobytes()]
    for masks in result.masks:
        for mask in [masks] if isinstance(masks, CroppedMask) else masks.values():
            found.append(f"{mask.top} {mask.left} {mask.pixels.shape}".encode() + mask.pixels.tobytes())
    return found


def works(segmenter: Segmenter) -> Iterator[Callable[[], list[bytes]]]:
    """Calls of each kind: `segment` and `decode` with none to several boxes, `embed`, and `segment` of a volume."""
    rng = np.random.default_rng(1)
    for number, image in enumerate(pictures()):
        for count in (0, 1, 2, 5):
            boxes = random_boxes(rng, image.shape[1::-1], count)
            yield lambda image=image, boxes=boxes: bits(segmenter.segment(image, boxes))  # type: ignore[misc]
            embedding = segmenter.embed(image)
            yield lambda held=embedding, boxes=boxes: bits(segmenter.decode(held, boxes, overlap="score"))  # type: ignore[misc]
        yield lambda image=image: [segmenter.embed(image).features.tobytes()]  # type: ignore[misc]
        if number == 0:
            volume, box = np.stack([image] * 3), random_boxes(rng, (64, 64, 3), 2)
            yield lambda volume=volume, box=box: bits(segmenter.segment(volume, box, streams=2))  # type: ignore[misc]


def test_sixteen_threads_give_the_bits_of_one(bundle: Path) -> None:
    """The cache has room for two embeddings, so that some calls hit it and others encode."""
    segmenter = Segmenter(bundle, cache_bytes=2 * 256 * 8 * 4)
    calls = list(works(segmenter))
    serial = [call() for call in calls]
    assert len({tuple(found) for found in serial}) > len(pictures()) * 6  # they differ
    assert sum(len(mask) > 20 for found in serial for mask in found[3:]) > 50  # and show something
    start = threading.Barrier(THREADS)

    def work(thread: int) -> int:
        order = np.random.default_rng(thread).integers(0, len(calls), CALLS)
        start.wait()
        return sum(calls[index]() != serial[index] for index in order.tolist())

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS))) == [0] * THREADS


@pytest.mark.parametrize("num_threads", [1, 2])
def test_volumes_are_the_same_for_any_number_of_streams(bundle: Path, num_threads: int) -> None:
    """This holds for any number of threads per inference too."""
    rng = np.random.default_rng(2)
    volume = rng.integers(0, 256, (12, 50, 70), dtype=np.uint8)
    boxes = random_boxes(rng, (70, 50, 12), 5)
    expected = bits(Segmenter(bundle).segment(volume, boxes, streams=0))
    segmenter = Segmenter(bundle, num_threads=num_threads, cache_bytes=0)
    for streams in (0, 1, 4):
        result = segmenter.segment(volume, boxes, streams=streams)
        assert bits(result) == expected
        assert result.mask(0).any()


def memory_of(network: Any) -> list[npt.NDArray[Any]]:
    """The output tensors of a network's infer requests."""
    assert isinstance(network, OpenVinoNetwork)
    requests = list(network._pool.queue)
    return [request.get_tensor(name).data for request in requests for name in network._names]


def test_outputs_of_a_network_are_not_overwritten_by_later_calls(bundle: Path) -> None:
    """No returned array shares memory with an infer request, and none changes when the requests run again."""
    segmenter = Segmenter(bundle)
    model, rng = segmenter.model, np.random.default_rng(3)
    prompts = np.array([[8, 8, 30, 40]], np.float32)
    cells = Geometry(SIZE, SIZE, SIZE).windows(prompts, SIZE).cells
    kept = []
    for _ in range(12):
        encoded = model.encoder.infer({"image": rng.random((1, 3, SIZE, SIZE), dtype=np.float32)})
        decoded = model.decoder.infer({**encoded, "boxes": prompts, "cells": cells})
        kept += [(array, array.tobytes()) for array in (*encoded.values(), *decoded.values())]
    embedding = segmenter.embed(pictures()[0])
    result = segmenter.decode(embedding, prompts)
    kept += [(array, array.tobytes()) for array in (embedding.features, result.scores, result.masks[0].pixels)]
    owned = memory_of(model.encoder) + memory_of(model.decoder)
    assert len(owned) >= 3
    segmenter.segment(pictures()[5], [[1, 1, 40, 90], [5, 5, 9, 9]])
    for array, before in kept:
        assert array.tobytes() == before
        assert not any(np.shares_memory(array, other) for other in owned)
