"""Clicks and mask prompts: what is taken, what is refused, and what reaches the network."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest

from medsam_edge import BoxError, InputError, Segmentation, Segmenter, VolumeSegmentation
from medsam_edge.inference.sweeps import Sweeps
from medsam_edge.prompts import GivenPrompts
from tests.sdk.fake import SIZE, FakeEncoder, PromptedDecoder, fake_model, prompted_model

BOX = [16, 16, 40, 40]


def segmenter() -> Segmenter:
    return Segmenter(prompted_model(), num_threads=1)


def picture(height: int = SIZE, width: int = SIZE) -> Any:
    return np.random.default_rng(0).integers(0, 255, (height, width), dtype=np.uint8)


def asked_of(own: Segmenter) -> list[dict[str, Any]]:
    assert isinstance(own.model.decoder, PromptedDecoder)
    return own.model.decoder.asked


def encodings(own: Segmenter) -> int:
    assert isinstance(own.model.encoder, FakeEncoder)
    return own.model.encoder.calls


@pytest.mark.parametrize("x", [0, 1, 31, SIZE - 1])
@pytest.mark.parametrize("y", [0, SIZE - 1])
def test_clicks_on_every_border_reach_their_pixel(x: int, y: int) -> None:
    """At network size: the click's own coordinates, to which the network adds half a pixel."""
    own = segmenter()
    own.segment(picture(), points=[[[x, y]]], point_labels=[[1]])
    (asked,) = asked_of(own)
    assert asked["points"].tolist() == [[[x, y], [0, 0]]]
    assert asked["point_labels"].tolist() == [[1, -1]]
    assert asked["boxes"].tolist() == [[0, 0, 0, 0]]


def test_the_middle_of_a_clicked_pixel_is_the_same_place_at_every_size() -> None:
    """Pixel 10 of 128 has its middle at 10.5, in the network's 64 at 5.25, which is pixel coordinate 4.75."""
    own = segmenter()
    own.segment(picture(128, 128), points=[[[10, 127]]], point_labels=[[1]])
    assert asked_of(own)[0]["points"][0, 0].tolist() == [4.75, 63.25]


def test_clicks_come_before_the_corners_and_padding_stays_away() -> None:
    own = segmenter()
    own.segment(picture(), [BOX], points=[[[3, 4], [9, 9], [30, 20]]], point_labels=[[1, -1, 0]])
    (asked,) = asked_of(own)
    assert asked["points"].tolist() == [[[3, 4], [30, 20], [16, 16], [40, 40]]]
    assert asked["point_labels"].tolist() == [[1, 0, 2, 3]]


def test_objects_with_unlike_numbers_of_clicks_are_decoded_apart() -> None:
    own = segmenter()
    result = own.segment(picture(), [BOX] * 3, points=[[], [[50, 50]], []], point_labels=[[], [1], []])
    assert [len(asked["boxes"]) for asked in asked_of(own)] == [2, 1]
    assert result.mask(1)[50, 50] and not result.mask(0)[50, 50]


def test_clicks_alone_give_masks_without_boxes() -> None:
    result = segmenter().segment(picture(), points=[[[30, 20]]], point_labels=[[1]])
    assert isinstance(result, Segmentation)
    assert np.isnan(result.boxes).all() and result.boxes.shape == (1, 4)
    rows, columns = np.indices((SIZE, SIZE))
    assert (result.mask(0) == (np.hypot(columns - 30, rows - 20) <= 3)).mean() > 0.99
    assert result.overlay().shape == (SIZE, SIZE, 3)  # draws no box


@pytest.mark.parametrize("kind", ["masks", "label map", "probabilities", "whole numbers", "result"])
def test_mask_prompts_of_every_kind(kind: str) -> None:
    first = np.zeros((SIZE, SIZE), bool)
    first[20:30, 20:30] = True
    second = np.zeros((SIZE, SIZE), bool)
    second[30:36, 18:26] = True
    own = segmenter()
    prior: Any = np.stack([first, second])
    if kind == "label map":
        prior = (first + 2 * second).astype(np.uint8)
    elif kind == "probabilities":
        prior = prior * np.float32(0.9) + np.float32(0.05)
    elif kind == "whole numbers":
        prior = prior * 255
    elif kind == "result":
        prior = own.segment(picture(), [BOX, BOX], prior=prior)
    result = own.segment(picture(), [BOX, BOX], prior=prior)
    assert (result.mask(0) == first).all() and (result.mask(1) == second).all()


def test_an_image_twice_as_large_gives_the_mask_prompt_at_network_size() -> None:
    mask = np.zeros((1, 2 * SIZE, 2 * SIZE), bool)
    mask[0, 40:60, 40:60] = True
    own = segmenter()
    own.segment(picture(2 * SIZE, 2 * SIZE), [[32, 32, 80, 80]], prior=mask)
    (asked,) = asked_of(own)
    inside = (asked["prior"][0] > 0).sum()
    assert inside == 100 and np.abs(asked["prior"]).max() == 8


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"points": [[[1, 2]]]}, "point_labels: expected a label for each point"),
        ({"point_labels": [[1]], "boxes": [BOX]}, "point_labels: expected None without points"),
        ({"points": [[[64, 2]]], "point_labels": [[1]]}, r"points\[0\]: expected x, y inside 64x64"),
        ({"points": [[[-1, 2]]], "point_labels": [[1]]}, r"points\[0\]: expected x, y inside"),
        ({"points": [[[np.nan, 2]]], "point_labels": [[1]]}, r"points\[0\]: expected x, y inside"),
        ({"points": [[[1, 2]]], "point_labels": [[2]]}, r"point_labels\[0\]: expected 1 of 1, 0 or -1"),
        ({"points": [[[1, 2]]], "point_labels": [[1, 0]]}, r"point_labels\[0\]: expected 1 of 1, 0 or -1"),
        ({"points": [[[1, 2, 3]]], "point_labels": [[1]]}, r"points\[0\]: expected \(K, 2\) x, y, got shape \(1, 3\)"),
        ({"points": [["a"]], "point_labels": [[1]]}, "points: expected rows of numbers"),
        ({"points": 5, "point_labels": [[1]]}, "points: expected rows of numbers"),
        (
            {"points": [[[1, 2]]], "point_labels": [[1]], "boxes": [BOX, BOX]},
            "points: expected a row for each of 2 boxes",
        ),
        ({"points": [[], [[1, 2]]], "point_labels": [[], [1]]}, "points: expected a click on each object"),
        ({"points": [[[1, 2]]], "point_labels": [[1], [1]]}, "point_labels: expected a row for each of 1 rows"),
        ({"boxes": [BOX], "prior": np.zeros((2, SIZE, SIZE), bool)}, r"prior: expected \(1, 64, 64\)"),
        ({"boxes": [BOX, BOX], "prior": np.zeros((1, SIZE, SIZE), bool)}, r"prior: expected \(2, 64, 64\)"),
        (
            {"boxes": [BOX, BOX], "prior": [np.zeros((9, 9)), np.zeros((8, 8))]},
            r"prior: expected \(2, 64, 64\), .* unlike",
        ),
        ({"boxes": [BOX], "prior": np.zeros((1, 9, 9), bool)}, r"prior: expected \(1, 64, 64\), or a label map"),
        ({"boxes": [BOX], "prior": np.full((1, SIZE, SIZE), 1.5)}, "prior: expected probabilities from 0 to 1"),
        ({"boxes": [BOX], "prior": np.full((1, SIZE, SIZE), np.nan)}, "prior: expected probabilities from 0 to 1"),
        (
            {"boxes": [BOX], "prior": np.full((SIZE, SIZE), 2, np.uint8)},
            "prior: expected labels 0 to 1, one for each box",
        ),
        (
            {"boxes": [BOX], "prior": np.full((SIZE, SIZE), "a")},
            "prior: expected masks, whole numbers or probabilities",
        ),
        ({"boxes": [BOX, BOX], "prior": np.full((SIZE, SIZE), 0.5)}, r"prior: expected \(2, 64, 64\)"),
    ],
)
def test_wrong_prompts_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        segmenter().segment(picture(), **asked)


def test_a_model_of_boxes_alone_says_so() -> None:
    own = Segmenter(fake_model())
    for asked in ({"points": [[[1, 2]]], "point_labels": [[1]]}, {"prior": np.zeros((1, SIZE, SIZE), bool)}):
        with pytest.raises(InputError, match="the model takes box prompts, got"):
            own.segment(picture(), [BOX], **asked)
    result = own.segment(picture(), [BOX])
    with pytest.raises(InputError, match="points: the model takes box prompts"):
        result.refine([[[1, 2]]], [[1]])


def test_neither_boxes_nor_clicks_is_an_error() -> None:
    with pytest.raises(BoxError, match="got None"):
        GivenPrompts().check(9, 9)
    with pytest.raises(BoxError, match="carries none"):
        segmenter().segment(picture())


def test_refining_goes_on_from_the_mask_so_far_and_encodes_nothing() -> None:
    own = segmenter()
    first = own.segment(picture(), [BOX, [2, 2, 10, 10]])
    second = first.refine([[[50, 50]], []], [[1], []])
    third = own.refine(second, points=[[[20, 20]], []], point_labels=[[0], []])
    assert encodings(own) == 1
    assert not first.mask(0)[50, 50] and second.mask(0)[50, 50] and second.mask(0)[20, 20]
    assert third.mask(0)[50, 50] and not third.mask(0)[20, 20]  # all clicks so far
    assert (third.mask(1) == first.mask(1)).all() and third.scores[1] == first.scores[1]
    assert [len(clicks) for clicks in third.clicks] == [2, 0]
    assert [len(clicks) for clicks in first.clicks] == [0, 0]  # undo is keeping the former
    last = asked_of(own)[-1]
    assert last["has_prior"].tolist() == [1] and last["point_labels"].tolist() == [[1, 0, 2, 3]]


def test_dropped_logits_and_embeddings_are_made_again() -> None:
    own = Segmenter(prompted_model(), cache_bytes=0)
    kept, dropped = (own.segment(picture(), [BOX], keep_logits=keep) for keep in (True, False))
    assert kept.logits[0].values.size and not dropped.logits[0].values.size
    for result in (kept, dropped):
        calls = encodings(own)
        refined = result.refine([[[50, 50]]], [[1]])
        assert encodings(own) == calls + 1
        assert refined.mask(0)[50, 50] and refined.mask(0)[20, 20]
        assert bool(refined.logits[0].values.size) is (result is kept)


def test_results_pickle_without_their_segmenter() -> None:
    own = segmenter()
    result = own.segment(picture(), [BOX])
    again = pickle.loads(pickle.dumps(result))
    with pytest.raises(InputError, match="does not know its segmenter"):
        again.refine([[[50, 50]]], [[1]])
    assert (own.refine(again, points=[[[50, 50]]], point_labels=[[1]]).mask(0)[50, 50]).all()


def test_corrections_of_small_objects_stay_in_their_tiles() -> None:
    own = segmenter()
    image = picture(8 * SIZE, 8 * SIZE)
    result = own.segment(image, [[300, 300, 312, 312]])
    top, left, bottom, right = result.logits[0].view
    assert (bottom - top, right - left) != image.shape and top <= 300 < bottom
    refined = result.refine([[[320, 306]]], [[1]])
    assert refined.mask(0)[306, 320] and refined.logits[0].view == result.logits[0].view
    assert encodings(own) == 1


def test_refining_a_wrong_number_of_rows_is_refused() -> None:
    result = segmenter().segment(picture(), [BOX, BOX])
    with pytest.raises(InputError, match="points: expected a row for each of 2 objects, got 1"):
        result.refine([[[1, 1]]], [[1]])


# --- volumes


def volume(depth: int = 9) -> Any:
    return np.random.default_rng(1).integers(0, 255, (depth, SIZE, SIZE), dtype=np.uint8)


BOX_3D = [16, 16, 1, 40, 40, 8]


def test_slices_are_prompted_with_the_mask_of_the_slice_before() -> None:
    own = segmenter()
    result = own.segment(volume(), [BOX_3D], streams=0)
    assert isinstance(result, VolumeSegmentation)
    assert [int(asked["has_prior"][0]) for asked in asked_of(own)] == [0, 1, 1, 1, 1, 1, 1]
    assert sorted(result.masks[0]) == [1, 2, 3, 4, 5, 6, 7]
    assert result.masks[0][4].pixels.shape == (24, 24)  # the middle; towards the ends the box is narrowed
    assert all(16 <= mask.pixels.shape[0] <= 24 for mask in result.masks[0].values())


def test_following_finds_the_whole_object_from_one_slice() -> None:
    own = segmenter()
    result = own.segment(volume(), [[16, 16, 4, 40, 40, 5]], follow=True)
    assert sorted(result.masks[0]) == list(range(9))
    assert result.follow and np.isnan(result.slice_scores).sum() == 0


def test_following_ends_after_two_empty_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network gives nothing from slice 5 on."""
    own = segmenter()
    decode = own.predictor.model.decoder.infer
    at: list[int] = []
    before = Sweeps._decode

    def noted(self: Sweeps, z: int, *others: Any) -> None:
        at.append(z)
        before(self, z, *others)

    monkeypatch.setattr(Sweeps, "_decode", noted)

    def fading(inputs: Any) -> Any:
        outputs = decode(inputs)
        return {**outputs, "logits": np.where(at[-1] >= 5, np.float32(-1), outputs["logits"])}

    monkeypatch.setattr(own.model.decoder, "infer", fading)
    result = own.segment(volume(12), [[16, 16, 3, 40, 40, 4]], follow=True, streams=0)
    assert sorted(result.masks[0]) == [0, 1, 2, 3, 4, 5, 6]
    assert [z for z, mask in sorted(result.masks[0].items()) if mask.empty] == [5, 6]


def test_a_box_to_follow_lies_on_one_slice() -> None:
    with pytest.raises(BoxError, match="expected a box on one slice along axis 0, got 1 to 7"):
        segmenter().segment(volume(), [BOX_3D], follow=True)


def test_a_model_of_boxes_alone_follows_boxes_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="the model takes no mask prompts"):
        result = Segmenter(fake_model()).segment(volume(), [[16, 16, 4, 40, 40, 5]], follow=True)
    assert len(result.masks[0]) == 9
    grown = result.masks[0][0].pixels.shape  # three network pixels a slice, past the box
    assert grown[0] > 40


def test_clicks_in_a_volume_correct_their_slice_and_what_follows_from_it() -> None:
    own = segmenter()
    result = own.segment(volume(), [BOX_3D, [2, 2, 1, 10, 10, 8]])
    calls = encodings(own)
    refined = result.refine([[[20, 20, 6]], []], [[0], []])
    assert encodings(own) == calls
    assert not refined.masks[0][6].empty and not refined.mask(0)[6, 20, 20]
    assert not refined.mask(0)[7, 20, 20]  # it goes on
    assert refined.masks[1] == result.masks[1]  # the other object is untouched
    assert result.mask(0)[6, 20, 20]
    again = refined.refine([[[20, 20, 2]], []], [[1], []])
    assert not again.mask(0)[6, 20, 20]  # a slice that somebody corrected stays


def test_clicks_alone_in_a_volume_are_followed() -> None:
    result = segmenter().segment(volume(), points=[[[30, 20, 4]]], point_labels=[[1]])
    assert isinstance(result, VolumeSegmentation)
    assert result.follow and np.isnan(result.boxes).all()
    assert sorted(result.masks[0]) == list(range(9))


def test_a_mask_prompt_of_a_volume_prompts_each_slice() -> None:
    labels = np.zeros((9, SIZE, SIZE), np.uint8)
    for z in range(9):
        labels[z, 20:30, 20 + z : 30 + z] = 1
    result = segmenter().segment(volume(), [BOX_3D], prior=labels)
    assert (result.mask(0)[1:8] == (labels[1:8] == 1)).mean() > 0.99


@pytest.mark.parametrize("axis", [1, 2])
def test_clicks_along_another_axis(axis: int) -> None:
    box = [1, 16, 16, 8, 40, 40] if axis == 2 else [16, 1, 16, 40, 8, 40]
    whole = np.random.default_rng(1).integers(0, 255, (SIZE, SIZE, SIZE), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = segmenter().segment(whole, [box], axis=axis)
        point = [6, 20, 30] if axis == 2 else [20, 6, 30]
        refined = result.refine([[point]], [[0]])
    x, y, z = point
    assert result.mask(0)[z, y, x] and not refined.mask(0)[z, y, x]
