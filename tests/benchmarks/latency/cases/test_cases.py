from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medsam_edge.errors import InputError
from medsam_edge.modality import Modality
from medsam_edge.reading.read import read_image
from medsam_edge_benchmarks.latency.cases.cases import CASES, DrawnCase, LatencyCase, PaperSeconds, choose, draw

PAPER = PaperSeconds(4, 2, 1)


def volume(*boxes: tuple[int, ...]) -> DrawnCase:
    return DrawnCase(Modality.CT, Path("x.npz"), np.array(boxes, dtype=np.float32))


def test_the_table() -> None:
    assert len({case.name for case in CASES}) == 14
    assert sum(len(case.shape) == 3 for case in CASES) == 7
    for case in CASES:
        paper = case.paper
        assert paper is not None
        assert paper.lite_medsam > paper.rep_medsam > paper.rep_medsam_fused > (paper.updated_script or 0)


def test_cases_are_chosen_in_the_order_of_the_table() -> None:
    assert [case.name for case in choose(["US_0525", "CT_0566"])] == ["CT_0566", "US_0525"]
    with pytest.raises(InputError, match=r"--cases: expected some of CT_0566 .*, got 'US_1'"):
        choose(["US_1"])


def test_the_large_case_is_run_only_when_asked_for(tmp_path: Path) -> None:
    (case,) = choose(["CT_1000"])
    assert case not in CASES
    assert case.shape == (1000, 512, 512)
    drawn = draw(replace(case, shape=(8, 64, 72)), tmp_path)
    loaded = read_image(drawn.file)
    assert loaded.pixels.dtype == np.int16
    assert loaded.pixels.min() < -200  # air, in HU
    assert loaded.frame is not None
    assert loaded.frame.spacing_mm[0] == loaded.frame.spacing_mm[1] != loaded.frame.spacing_mm[2]


def test_work_is_counted_by_hand() -> None:
    drawn = volume((0, 0, 2, 9, 9, 6), (0, 0, 4, 9, 9, 9))
    assert drawn.is_volume
    assert drawn.masks == 4 + 5
    assert drawn.slices == 7  # 2..8
    image = DrawnCase(Modality.US, Path("x.npz"), np.ones((3, 4), dtype=np.float32))
    assert (image.masks, image.slices) == (3, 1)


@pytest.mark.parametrize(("slices", "expected"), [(1, (3, 4)), (2, (3, 5)), (4, (2, 6)), (9, (2, 6))])
def test_a_part_of_a_volume_is_the_middle_of_its_first_object(slices: int, expected: tuple[int, int]) -> None:
    drawn = volume((0, 0, 2, 9, 9, 6), (0, 0, 4, 9, 9, 9))
    part = drawn.part(slices, 1)
    assert part.boxes.tolist() == [[0, 0, expected[0], 9, 9, expected[1]]]
    assert drawn.boxes[0].tolist() == [0, 0, 2, 9, 9, 6]


def test_a_part_of_an_image_is_its_first_boxes() -> None:
    image = DrawnCase(Modality.US, Path("x.npz"), np.arange(12, dtype=np.float32).reshape(3, 4))
    assert image.part(1, 2).boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("modality", "shape", "objects", "stored"),
    [
        (Modality.US, (64, 72), 1, (64, 72, 3)),
        (Modality.FUNDUS, (64, 72), 1, (64, 72, 3)),
        (Modality.CT, (8, 64, 72), 2, (8, 64, 72)),
        (Modality.PET, (8, 64, 72), 1, (8, 64, 72)),
    ],
)
def test_a_case_is_drawn_as_the_challenge_stores_it(
    tmp_path: Path, modality: Modality, shape: tuple[int, ...], objects: int, stored: tuple[int, ...]
) -> None:
    drawn = draw(LatencyCase("x", modality, shape, objects, PAPER), tmp_path)
    with np.load(drawn.file) as arrays:
        image = arrays["imgs"]
    assert image.shape == stored
    assert image.dtype == np.uint8
    assert image.max() > image.min()
    assert drawn.boxes.shape == (objects, 2 * len(shape))
    assert (drawn.boxes[:, -1] <= shape[0]).all()  # y1 or z1
