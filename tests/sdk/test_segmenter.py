from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, get_type_hints

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge import (
    BoxError,
    FileMissingError,
    ImageError,
    InputError,
    Modality,
    ModalityError,
    Segmentation,
    Segmenter,
    VolumeSegmentation,
    read_image,
)
from medsam_edge.inference.predictor import DECODE_BATCH
from medsam_edge.reading import limits
from medsam_edge.settings import Options, Settings
from tests.sdk.fake import SIZE, FakeDecoder, FakeEncoder, fake_model

GRADIENT = np.arange(SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)


def picture(height: int = SIZE, width: int = SIZE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 255, (height, width), dtype=np.uint8)


def encoder_calls(segmenter: Segmenter) -> int:
    assert isinstance(segmenter.model.encoder, FakeEncoder)
    return segmenter.model.encoder.calls


def test_box_comes_back_as_its_mask_at_network_size() -> None:
    result = Segmenter(fake_model()).segment(picture(), [[8, 16, 24, 20]])
    expected = np.zeros((SIZE, SIZE), dtype=bool)
    expected[16:20, 8:24] = True
    assert (result.mask(0) == expected).all()
    assert result.scores.tolist() == pytest.approx([0.524])
    assert (result.masks[0].top, result.masks[0].left, result.masks[0].pixels.shape) == (16, 8, (4, 16))


@pytest.mark.parametrize("factor", [2, 5])
def test_box_comes_back_at_image_size(factor: int) -> None:
    """Whole-numbered network boxes: the bilinear zero crossing lies on the box's edge."""
    image = picture(SIZE * factor, SIZE * factor // 2)
    box = np.array([4, 8, 20, 40]) * factor
    mask = Segmenter(fake_model()).segment(image, [box]).mask(0)
    expected = np.zeros(image.shape, dtype=bool)
    expected[box[1] : box[3], box[0] : box[2]] = True
    corners = mask != expected  # the interpolated corner is rounded: less than one network pixel each
    assert corners.sum() <= 4 * factor**2
    assert mask[box[1] : box[3], (box[0] + box[2]) // 2].all()
    assert not mask[: box[1]].any()
    assert not mask[box[3] :].any()


def test_second_call_finds_the_embedding() -> None:
    segmenter = Segmenter(fake_model())
    first = segmenter.segment(picture(), [[1, 1, 9, 9]])
    second = segmenter.segment(picture(), [[2, 2, 30, 30]])
    assert encoder_calls(segmenter) == 1
    assert first.timings_ms["encode"] > 0
    assert second.timings_ms["encode"] == 0


@pytest.mark.parametrize("change", ["pixel", "shape", "window"])
def test_other_content_is_encoded_again(change: str) -> None:
    segmenter = Segmenter(fake_model())
    segmenter.embed(GRADIENT, window=(2000.0, 4000.0))
    image, window = GRADIENT.copy(), (2000.0, 4000.0)
    if change == "pixel":
        image[3, 5] += 500
    elif change == "shape":
        image = image.reshape(SIZE // 2, SIZE * 2)
    else:
        window = (2000.0, 3000.0)
    segmenter.embed(image, window=window)
    assert encoder_calls(segmenter) == 2


def test_no_cache_encodes_every_time() -> None:
    segmenter = Segmenter(fake_model(), cache_bytes=0)
    segmenter.embed(picture())
    segmenter.embed(picture())
    assert encoder_calls(segmenter) == 2


def test_embed_and_decode_equal_segment() -> None:
    segmenter = Segmenter(fake_model())
    boxes = [[3, 4, 30, 50], [0, 0, 64, 64]]
    embedding = segmenter.embed(picture(), "MR")
    apart, together = segmenter.decode(embedding, boxes), segmenter.segment(picture(), boxes, "MR")
    assert (apart.label_map == together.label_map).all()
    assert apart.modality is together.modality is Modality.MR
    for values in (embedding.features, embedding.display):
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 0


def test_changing_the_image_afterwards_changes_no_embedding() -> None:
    image = picture()
    embedding = Segmenter(fake_model()).embed(image)
    image[:] = 0
    assert (embedding.display == picture()).all()


def test_many_boxes_are_decoded_in_batches_and_keep_their_order() -> None:
    segmenter = Segmenter(fake_model())
    boxes = [[column, row, column + 4, row + 4] for row in range(0, 60, 8) for column in range(0, 60, 8)]
    result = segmenter.segment(picture(), boxes)
    assert isinstance(segmenter.model.decoder, FakeDecoder)
    assert segmenter.model.decoder.batches == [DECODE_BATCH] * (len(boxes) // DECODE_BATCH)
    for index, (x, y, _, _) in enumerate(boxes):
        assert result.label_map[y + 1, x + 1] == index + 1


def test_boxes_of_all_sizes_keep_their_order_and_their_scores() -> None:
    boxes = [[0, 0, 64, 64], [40, 8, 44, 12], [8, 8, 40, 40], [2, 50, 20, 60], [30, 1, 33, 60], [60, 60, 64, 64]]
    result = Segmenter(fake_model()).segment(picture(), boxes)
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        assert result.mask(index).sum() == (x1 - x0) * (y1 - y0)
        assert result.mask(index)[y0:y1, x0:x1].all()
    assert result.scores.tolist() == pytest.approx([0.5, 0.548, 0.516, 0.552, 0.531, 0.62])


def test_a_mask_ends_at_the_models_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that takes everything for the object; the box is 8..16, cells are 4 pixels, the reach is 5 and 64."""

    def everything(inputs: Mapping[str, Any]) -> dict[str, Any]:
        logits = np.ones((*inputs["cells"].shape, 4, 4), np.float32)
        return {"logits": logits, "scores": np.ones(len(inputs["boxes"]), np.float32)}

    for reach, first, last in ((5, 0, 24), (64, 0, 64), (0, 8, 16)):
        segmenter = Segmenter(fake_model(reach=reach))
        monkeypatch.setattr(segmenter.model.decoder, "infer", everything)
        mask = segmenter.segment(picture(), [[8, 8, 16, 16]]).mask(0)
        assert np.flatnonzero(mask.any(axis=0))[[0, -1]].tolist() == [first, last - 1]
        assert mask.sum() == (last - first) ** 2


def test_no_boxes_give_an_empty_result() -> None:
    result = Segmenter(fake_model()).segment(picture(10, 20), np.zeros((0, 4)))
    assert len(result) == 0
    assert result.scores.shape == (0,)
    assert result.label_map.shape == (10, 20)
    assert result.label_map.max() == 0


def test_box_outside_is_clipped_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="clipped"):
        result = Segmenter(fake_model()).segment(picture(), [[-5, 60, 10, 90]])
    assert result.boxes.tolist() == [[0, 60, 10, 64]]


def test_overlap_later_or_score() -> None:
    segmenter = Segmenter(fake_model())  # the fake's scores rise with the boxes' x0 + y0
    boxes = [[0, 0, 32, 32], [16, 16, 48, 48]]
    assert segmenter.segment(picture(), boxes).label_map[20, 20] == 2
    low_last = segmenter.segment(picture(), boxes, overlap="score")
    assert low_last.label_map[20, 20] == 2
    assert segmenter.segment(picture(), boxes[::-1]).label_map[20, 20] == 2
    assert segmenter.segment(picture(), boxes[::-1], overlap="score").label_map[20, 20] == 1
    with pytest.raises(InputError, match="overlap"):
        segmenter.segment(picture(), boxes, overlap="first")  # type: ignore[arg-type]


def test_embedding_of_another_model_is_refused() -> None:
    embedding = Segmenter(fake_model("one")).embed(picture())
    with pytest.raises(InputError, match="another model"):
        Segmenter(fake_model("two")).decode(embedding, [[0, 0, 4, 4]])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 6, 7), np.uint8), "expected"),
        (np.zeros((8, 64, 64), np.uint8), "volumes"),
        (np.zeros((0, 5), np.uint8), "no pixels"),
        (np.zeros((), np.uint8), "expected"),
        (np.zeros((5, 5, 4), np.uint8), "expected"),
        (np.zeros((5, 5), complex), "dtype"),
        (np.full((5, 5), np.nan), "finite"),
        ([[1, 2], [3, 4]], "list"),
        (None, "NoneType"),
        (sitk.Image([5, 5], sitk.sitkLabelUInt8), "expected pixels, the SimpleITK image is a map of labels"),
        (sitk.Image([5, 5], sitk.sitkLabelUInt64), "map of labels"),
    ],
)
def test_bad_images_are_refused(image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Segmenter(fake_model()).segment(image, [[0, 0, 1, 1]])


@pytest.mark.parametrize("is_array", [True, False])
def test_what_is_in_memory_has_the_limits_of_files(monkeypatch: pytest.MonkeyPatch, is_array: bool) -> None:
    """Otherwise labels could be made that `save` refuses, since it reads what it wrote."""
    segmenter = Segmenter(fake_model())
    monkeypatch.setattr(limits, "MAXIMUM_BYTES", 59)
    for array, boxes in ((np.zeros((3, 4, 5), np.uint8), [[0, 0, 0, 2, 2, 2]]), (picture(6, 10), [[0, 0, 2, 2]])):
        with pytest.raises(ImageError, match=r"^image: the .* has size \([\d, ]*\): 60 bytes of values, more than 59"):
            segmenter.segment(array if is_array else sitk.GetImageFromArray(array), boxes)
    assert encoder_calls(segmenter) == 0
    colour = np.dstack([picture(5, 11)] * 3)
    image = colour if is_array else sitk.GetImageFromArray(colour, isVector=True)
    assert len(segmenter.segment(image, [[0, 0, 2, 2]])) == 1


def test_bad_arguments_name_themselves() -> None:
    segmenter = Segmenter(fake_model())
    with pytest.raises(ModalityError, match="modality"):
        segmenter.segment(picture(), [[0, 0, 4, 4]], "XYZ")
    with pytest.raises(BoxError, match="swapped"):
        segmenter.segment(picture(), [[4, 0, 0, 4]])
    with pytest.raises(InputError, match="window"):
        segmenter.embed(picture(), window=(40.0, 0.0))
    with pytest.raises(FileMissingError, match=r"nowhere\.png"):
        segmenter.embed("nowhere.png")


def test_array_file_and_simpleitk_image_give_the_same(tmp_path: Path) -> None:
    segmenter = Segmenter(fake_model())
    boxes = [[3, 4, 30, 50]]
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    expected = segmenter.segment(picture(), boxes)
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), sitk.GetImageFromArray(picture())):
        assert (segmenter.segment(image, boxes).label_map == expected.label_map).all()
    assert encoder_calls(segmenter) == 1  # the same pixels each time


def test_modality_rule_is_applied_to_other_dtypes() -> None:
    hounsfield = np.full((SIZE, SIZE), -1000, np.int16)
    hounsfield[:, 32:] = 240
    display = Segmenter(fake_model()).embed(hounsfield, "CT").display
    assert display[0, 0] == 0
    assert display[0, 63] == 255


PROMPTED = (Modality.CT, Modality.US, Modality.FUNDUS)


def box_at(margin: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The mask of box (8, 16, 40, 48) less a margin."""
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[16 + margin : 48 - margin, 8 + margin : 40 - margin] = True
    return mask


def test_the_modality_told_is_the_class_prompt() -> None:
    segmenter = Segmenter(fake_model(classes=PROMPTED))
    for number, modality in enumerate(PROMPTED):
        result = segmenter.segment(picture(), [[8, 16, 40, 48]], modality)
        assert (result.mask(0) == box_at(number)).all()
        assert result.modality is modality
        assert result.modality_confidence is None
    assert encoder_calls(segmenter) == 1  # the encoder does not see the modality


def partly_bright(rows: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[:rows] = 255
    return image


@pytest.mark.parametrize(("rows", "modality", "confidence"), [(16, Modality.CT, 0.75), (48, Modality.US, 0.375)])
def test_a_modality_that_is_not_told_is_recognised(rows: int, modality: Modality, confidence: float) -> None:
    """A quarter bright is class 0 with 0.75; three quarters bright gives the two others 0.375 each."""
    segmenter = Segmenter(fake_model(classes=PROMPTED))
    result = segmenter.segment(partly_bright(rows), [[8, 16, 40, 48]])
    assert result.modality is modality
    assert result.modality_confidence == pytest.approx(confidence)
    assert (result.mask(0) == box_at(PROMPTED.index(modality))).all()


def test_an_embedding_says_what_the_network_sees_whatever_is_told() -> None:
    segmenter = Segmenter(fake_model(classes=PROMPTED))
    told, untold = segmenter.embed(partly_bright(16), "US"), segmenter.embed(partly_bright(16))
    assert told.class_scores == untold.class_scores == dict(zip(PROMPTED, (0.75, 0.125, 0.125), strict=True))
    assert (told.modality, untold.modality) == (Modality.US, None)
    assert told.recognized is untold.recognized is Modality.CT
    assert (told.class_prompt, untold.class_prompt) == ((Modality.US, None), (Modality.CT, 0.75))
    again = segmenter.decode(replace(untold, modality=Modality.US), [[8, 16, 40, 48]])
    assert (again.mask(0) == box_at(1)).all()
    assert segmenter.decode(untold, np.zeros((0, 4))).modality is Modality.CT


def test_an_embedding_takes_a_modality_by_any_of_its_names() -> None:
    segmenter = Segmenter(fake_model(classes=PROMPTED))
    for name in ("US", "ultrasound", Modality.US):
        for embedding in (
            segmenter.predictor.embed(picture(), name),
            replace(segmenter.embed(picture()), modality=name),
        ):  # type: ignore[arg-type]
            result = segmenter.decode(embedding, [[8, 16, 40, 48]])
            assert result.modality is Modality.US
            assert (result.mask(0) == box_at(1)).all()
    assert segmenter.model.one_hot("US").tolist() == [[0, 1, 0]]  # type: ignore[arg-type]
    with pytest.raises(ModalityError, match="modality: expected one of"):
        segmenter.decode(replace(segmenter.embed(picture()), modality="XYZ"), [[0, 0, 4, 4]])  # type: ignore[arg-type]


def test_a_recognised_modality_does_not_change_the_intensities() -> None:
    """Dark HU values are recognised as CT, and still have gone through percentiles, not through the CT window."""
    image = np.full((SIZE, SIZE), -1000, np.int16)
    image[:4] = 3000
    segmenter = Segmenter(fake_model(classes=PROMPTED))
    embedding = segmenter.embed(image)
    assert embedding.recognized is Modality.CT
    assert (embedding.display == Segmenter(fake_model()).embed(image).display).all()


def test_a_modality_that_is_no_class_is_refused() -> None:
    segmenter = Segmenter(fake_model(classes=PROMPTED))
    with pytest.raises(ModalityError, match="the model knows CT, US, Fundus, got MR"):
        segmenter.embed(picture(), "MR")
    with pytest.raises(ModalityError, match="got MR"):
        segmenter.decode(replace(segmenter.embed(picture()), modality=Modality.MR), [[0, 0, 4, 4]])


def test_without_class_prompts_nothing_is_recognised() -> None:
    segmenter = Segmenter(fake_model())
    result = segmenter.segment(picture(), [[0, 0, 4, 4]])
    assert (result.modality, result.modality_confidence) == (None, None)
    assert segmenter.embed(picture()).class_scores == {}
    assert segmenter.embed(picture()).recognized is None
    assert segmenter.embed(picture()).class_prompt == (None, None)


def test_threads_agree_with_serial() -> None:
    segmenter = Segmenter(fake_model())
    images = [np.roll(picture(), shift, axis=1) for shift in range(4)]
    boxes = [[3, 4, 30, 50], [10, 10, 60, 20]]
    serial = [segmenter.segment(image, boxes).label_map for image in images]
    start = threading.Barrier(8)

    def work(worker: int) -> bool:
        start.wait()
        return all(
            (segmenter.segment(images[(worker + step) % 4], boxes).label_map == serial[(worker + step) % 4]).all()
            for step in range(20)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_a_cache_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cache_dir: expected a folder, got the file"):
        Segmenter(fake_model(), cache_dir=tmp_path / "file")


def test_both_rules_share_an_embedding_that_is_not_enlarged() -> None:
    segmenter = Segmenter(fake_model())
    image = np.random.default_rng(0).integers(0, 256, (70, 90)).astype(np.uint8)
    segmenter.segment(image, [[2, 3, 60, 50]], detail="image")
    assert segmenter.segment(image, [[2, 3, 60, 50]], compat="rep-medsam").timings_ms["encode"] == 0.0


@pytest.mark.parametrize("boxes", [[[1, 1, 3, 9]], []])
def test_a_grey_volume_three_voxels_wide_is_no_picture(boxes: list[list[int]]) -> None:
    """Of an array nobody knows; SimpleITK says so."""
    voxels, segmenter = np.zeros((20, 30, 3), dtype=np.int16), Segmenter(fake_model())
    assert isinstance(segmenter.segment(voxels, boxes), Segmentation)
    volume = sitk.GetImageFromArray(voxels)
    if boxes:
        with pytest.raises(
            ImageError, match=r"expected \(H, W\) or \(H, W, 3\), got \(20, 30, 3\); `segment` takes volumes"
        ):
            segmenter.segment(volume, boxes)
    else:
        assert isinstance(segmenter.segment(volume, boxes), VolumeSegmentation)


def test_no_boxes_encode_nothing() -> None:
    for model in (fake_model(), fake_model(classes=PROMPTED)):
        segmenter = Segmenter(model)
        for image, boxes in ((picture(), []), (picture(), np.zeros((0, 4))), (np.stack([picture()] * 4), [])):
            result = segmenter.segment(image, boxes)
            assert len(result) == 0
            assert result.timings_ms["encode"] == 0.0
            assert not result.label_map.any()
        assert encoder_calls(segmenter) == 0


def test_without_boxes_those_of_the_file_are_taken(tmp_path: Path) -> None:
    segmenter = Segmenter(fake_model())
    np.savez(tmp_path / "own.npz", imgs=np.stack([picture()] * 6), boxes=np.array([[8, 16, 1, 24, 20, 3]]))
    for compat in (None, "rep-medsam"):
        result = segmenter.segment(tmp_path / "own.npz", compat=compat, box_space="pixel" if compat else "physical")
        assert isinstance(result, VolumeSegmentation)
        assert result.boxes.tolist() == [[8, 16, 1, 24, 20, 4]]  # the file's z1 is its last slice
    with pytest.raises(BoxError, match="None, and the image carries none"):
        segmenter.segment(picture())


def test_time_of_reading_is_that_of_the_file(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    loaded = read_image(tmp_path / "a.png")
    assert loaded.read_ms > 0
    assert Segmenter(fake_model()).segment(loaded, [[1, 1, 9, 9]]).timings_ms["read"] == loaded.read_ms
    assert Segmenter(fake_model()).segment(picture(), [[1, 1, 9, 9]]).timings_ms["read"] == 0.0


def test_options_are_the_fields_of_settings_the_window_and_prompts() -> None:
    prompts = {"points", "point_labels", "prior"}
    assert set(get_type_hints(Options)) == {"window", *prompts, *(field.name for field in fields(Settings))}
    keywords = {
        name: parameter.default
        for name, parameter in signature(Segmenter.segment).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }
    assert keywords == {"window": None, **dict.fromkeys(prompts)} | vars(Settings())
