from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge import InputError, Segmenter
from medsam_edge.inference.agreement import agree
from medsam_edge.inference.sweeps import Track
from medsam_edge.networks.model import Model
from medsam_edge.results.mask import Logits, cropped
from medsam_edge.results.result import VolumeSegmentation
from tests.sdk.fake import SIZE, FakeEncoder, PromptedDecoder, SeeingDecoder, SeeingEncoder, fake_model, prompted_model

BOXES = [[3, 5, 2, 20, 17, 9], [10, 2, 1, 25, 20, 12]]


def way(axis: int, voxels: list[tuple[int, int, int]], looked_at: range) -> Track:
    """The way of one object along an axis, with a mask of these voxels (z, y, x) on the slices looked at."""
    volume = np.zeros((6, 7, 8), dtype=bool)
    for voxel in voxels:
        volume[voxel] = True
    planes = np.moveaxis(volume, axis, 0)
    box = np.array([0, 0, 1, 1], dtype=np.float32)
    masks = {z: cropped(planes[z]) for z in looked_at}
    logits = {z: Logits(0, 0, np.ones((4, 4), np.float16), (0, 0, *planes.shape[1:])) for z in looked_at}
    return Track(1, looked_at[0], looked_at[0], looked_at[-1], box, masks=masks, logits=logits)


def voxels_of(axial: Track) -> set[tuple[int, int, int]]:
    return {
        (z, mask.top + int(row), mask.left + int(column))
        for z, mask in axial.masks.items()
        for row, column in np.argwhere(mask.pixels)
    }


def test_two_of_three_masks_decide() -> None:
    everywhere, axial_only, two, other_two = (1, 2, 3), (1, 2, 4), (2, 3, 3), (3, 6, 7)
    ways = [
        way(0, [everywhere, axial_only, two], range(1, 4)),
        way(1, [everywhere, two, other_two], range(7)),
        way(2, [everywhere, other_two], range(8)),
    ]
    agree([[way] for way in ways])
    assert voxels_of(ways[0]) == {everywhere, two, other_two}
    assert ways[1].masks[3].pixels.tolist() == [[True]]  # row 3: z 2, x 3
    assert (ways[1].masks[3].top, ways[1].masks[3].left) == (2, 3)
    assert all(mask.empty for z, mask in ways[2].masks.items() if z not in (3, 7))
    assert not any(own.values.size for way in ways for own in way.logits.values())
    assert (ways[0].masks[3].top, ways[0].masks[3].left, ways[0].masks[3].pixels.shape) == (6, 7, (1, 1))


def test_slices_that_the_object_was_not_looked_for_on_stay_so() -> None:
    ways = [way(0, [(1, 1, 1)], range(1, 3)), *(way(axis, [(1, 1, 1), (5, 1, 1)], range(7)) for axis in (1, 2))]
    agree([[way] for way in ways])
    assert voxels_of(ways[0]) == {(1, 1, 1)}
    assert sorted(ways[0].masks) == [1, 2]


def test_nothing_is_agreed_on() -> None:
    for voxels in ([], [(1, 1, 1)]):
        ways = [way(0, voxels, range(1, 4)), *(way(axis, [], range(6)) for axis in (1, 2))]
        agree([[way] for way in ways])
        assert all(mask.empty for mask in ways[0].masks.values())


def seeing() -> Segmenter:
    return Segmenter(Model(SeeingEncoder(), SeeingDecoder(0), SIZE, "seeing", SIZE))


def noise() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (14, 24, 28), dtype=np.uint8)


def run(segmenter: Segmenter, **settings: Any) -> VolumeSegmentation:
    result = segmenter.segment(noise(), BOXES, **settings)
    assert isinstance(result, VolumeSegmentation)
    return result


@pytest.mark.parametrize("detail", ["image", "crop"])
def test_all_axes_are_the_majority_of_the_three(detail: Any) -> None:
    segmenter = seeing()
    single = [run(segmenter, axis=axis, detail=detail) for axis in (0, 1, 2)]
    result = run(segmenter, axis="all", detail=detail)
    for index, box in enumerate(BOXES):
        votes = np.sum([own.mask(index) for own in single], axis=0)
        votes[: box[2]] = votes[box[5] :] = 0
        assert 0 < result.mask(index).sum() < single[0].mask(index).sum()  # the three differ
        np.testing.assert_array_equal(result.mask(index), votes >= 2)
    assert result.axis == 0
    np.testing.assert_array_equal(result.slice_scores, single[0].slice_scores)
    assert not any(own.values.size for by_slice in result.logits for own in by_slice.values())


def test_progress_counts_the_slices_of_all_axes() -> None:
    steps: list[tuple[int, int]] = []
    run(seeing(), axis="all", progress=lambda *step: steps.append(step))
    ups = [11 - 5, 19 - 8 + 1, 24 - 11 + 1]  # from the lowest middle slice of each axis: 5, 8 and 11
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert len(steps) > sum(ups)


def test_a_second_round_is_prompted_by_what_was_agreed_on() -> None:
    model, steps = prompted_model(), list[tuple[int, int]]()
    result = Segmenter(model).segment(noise(), [BOXES[0]], axis="all", progress=lambda *step: steps.append(step))
    assert isinstance(result, VolumeSegmentation) and isinstance(model.decoder, PromptedDecoder)
    first, extent = 7 + 12 + 17, result.mask(0)  # slices of the box along z, y and x
    again = sum(int(extent.any(axis=others).sum()) for others in ((1, 2), (0, 2), (0, 1)))
    assert len(model.decoder.asked) == first + again
    for call in model.decoder.asked[first:]:
        assert call["has_prior"].tolist() == [1]
        assert (call["prior"] > 0).any()
    assert {total for _, total in steps} == {2 * first}
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert len(steps) == first + again


def test_a_second_round_follows_the_image_from_what_was_agreed_on() -> None:
    class Growing(PromptedDecoder):
        """With a mask prompt, the mask is the whole box around it."""

        def infer(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
            filled = np.where(inputs["has_prior"][:, None, None, None] > 0, 10, inputs["prior"])
            return super().infer({**inputs, "prior": filled.astype(np.float32)})

    def count(decoder: PromptedDecoder) -> int:
        model = Model(FakeEncoder(0), decoder, SIZE, "growing", SIZE, prompts=("box", "points", "mask"))
        return int(Segmenter(model).segment(noise(), [BOXES[0]], axis="all").mask(0).sum())

    assert count(Growing()) > count(PromptedDecoder())


def test_corrections_go_on_from_what_was_agreed_on() -> None:
    result = Segmenter(prompted_model()).segment(noise(), [BOXES[0]], axis="all")
    before = result.mask(0)
    assert before[5, 6, 4]
    refined = result.refine([[[4, 6, 5]]], [[0]])
    assert not refined.mask(0)[5, 6, 4]
    assert refined.mask(0).sum() < before.sum()


def test_no_boxes() -> None:
    assert len(seeing().segment(noise(), np.zeros((0, 6)), axis="all")) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"boxes": [[3, 5, 4, 20, 17, 5]], "follow": True},
        {"boxes": None, "points": [[[4, 6, 5]]], "point_labels": [[1]]},
        {"boxes": BOXES, "compat": "rep-medsam"},
    ],
)
def test_what_is_followed_from_one_slice_needs_one_axis(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^axis: 'all' needs a box around each whole object"):
        Segmenter(prompted_model()).segment(noise(), axis="all", **arguments)


def test_a_picture_has_no_axes() -> None:
    segmenter = Segmenter(fake_model())
    expected = segmenter.segment(noise()[0], [[3, 5, 20, 17]])
    assert (segmenter.segment(noise()[0], [[3, 5, 20, 17]], axis="all").label_map == expected.label_map).all()
