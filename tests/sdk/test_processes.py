"""Images, boxes, embeddings and results can be sent to other processes; a segmenter cannot."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

import medsam_edge
from medsam_edge import Embedding, InputError, Segmentation, Segmenter, VolumeSegmentation
from medsam_edge.image import Frame
from medsam_edge.phantom import phantom, phantom_volume
from tests.sdk.fake import SIZE, fake_model


def test_a_segmenter_refuses_to_be_pickled_or_copied() -> None:
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(InputError, match=r"make one in each process.* or call medsam_edge\.segment"):
            act(Segmenter(fake_model()))  # type: ignore[operator]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal field by field, arrays bit by bit; but for the segmenter, which is not sent."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one if key != "segmenter")
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dict__") and not isinstance(one, (str, Frame)):
        return type(one) is type(other) and same(vars(one), vars(other))
    return bool(one == other)


def test_embeddings_and_results_are_equal_after_pickling() -> None:
    segmenter = Segmenter(fake_model(classes=(medsam_edge.Modality.CT, medsam_edge.Modality.US)))
    image = np.random.default_rng(0).integers(0, 255, (5, SIZE, SIZE), dtype=np.uint8)
    embedding = segmenter.embed(image[0])
    flat, volume = segmenter.decode(embedding, [[3, 4, 30, 50]]), segmenter.segment(image, [[3, 4, 0, 30, 50, 5]])
    assert flat.label_map.any()  # now it is part of the object
    for sent, kind in ((embedding, Embedding), (flat, Segmentation), (volume, VolumeSegmentation)):
        came = pickle.loads(pickle.dumps(sent))
        assert type(came) is kind
        assert same(sent, came)
    decoded = segmenter.decode(pickle.loads(pickle.dumps(embedding)), [[3, 4, 30, 50]])
    assert same(decoded.masks, flat.masks)


def test_a_spawned_pool_segments() -> None:
    """Each process loads the packaged model itself, and gives the same masks as this one, for images and volumes."""
    flat, deep = phantom("CT", (96, 96), objects=2), phantom_volume("MR", (8, 64, 64), objects=1)
    tasks = [(source.image, source.boxes, source.modality) for source in (flat, deep)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = [future.result() for future in [pool.submit(medsam_edge.segment, *task) for task in tasks]]
        refused = pool.submit(Segmenter(fake_model()).segment, *tasks[0])
        with pytest.raises(InputError, match="make one in each process"):
            refused.result()
    for task, came in zip(tasks, results, strict=True):
        here = medsam_edge.segment(*task)
        assert type(came) is type(here)
        assert came.label_map.any()
        assert came.label_map.tobytes() == here.label_map.tobytes()
        assert came.scores.tobytes() == here.scores.tobytes()
