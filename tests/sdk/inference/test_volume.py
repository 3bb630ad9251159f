from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

import medsam_edge
from medsam_edge import BoxError, CancelledError, ImageError, InputError, Modality, Segmentation, Segmenter
from medsam_edge.inference.ahead import encoded_ahead
from medsam_edge.networks.model import Arrays, Model
from medsam_edge.reading.itk import from_simpleitk
from medsam_edge.reading.read import read_image
from medsam_edge.results.result import VolumeSegmentation
from tests.sdk.fake import SIZE, FakeDecoder, FakeEncoder, SeeingDecoder, SeeingEncoder, fake_model

pytestmark = pytest.mark.usefixtures("no_narrowing")

Volume = npt.NDArray[np.uint8]


def seeing(**settings: Any) -> tuple[Segmenter, SeeingEncoder, SeeingDecoder]:
    """A mask is what is bright inside the prompt; that of `fake_model` is the prompt."""
    encoder, decoder = SeeingEncoder(), SeeingDecoder(0)
    return Segmenter(Model(encoder, decoder, SIZE, "seeing", SIZE), **settings), encoder, decoder


def numbered(depth: int) -> Volume:
    """Each slice has its number in its first row, as `SeeingEncoder` reads it."""
    volume = np.zeros((depth, SIZE, SIZE), np.uint8)
    volume[np.arange(depth), 0, np.arange(depth)] = 255
    return volume


def noise(depth: int, height: int, width: int) -> Volume:
    return np.random.default_rng(0).integers(0, 255, (depth, height, width), dtype=np.uint8)


CROSSING = [[10, 10, 2, 30, 30, 7], [20, 20, 5, 40, 40, 10]]
"""Slices 2–6 from 4, and 5–9 from 7: up 4 to 9, then down 6, 5, 3, 2."""


def run(segmenter: Segmenter, volume: Any, boxes: Any, *arguments: Any, **settings: Any) -> VolumeSegmentation:
    result = segmenter.segment(volume, boxes, *arguments, **settings)
    assert isinstance(result, VolumeSegmentation)
    return result


def extent(mask: npt.NDArray[np.bool_]) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def unfolding(depth: int, middle: int, x0: int, y0: int, x1: int, y1: int) -> Volume:
    """A bright block on the middle slice; the others are bright from row 1 on, so that a mask there is its prompt."""
    volume = np.zeros((depth, SIZE, SIZE), np.uint8)
    volume[:, 1:] = 200
    volume[middle] = 0
    volume[middle, y0:y1, x0:x1] = 200
    return volume


@pytest.mark.parametrize("factor", [1, 2])
def test_the_next_box_is_the_mask_grown_by_three_network_pixels(factor: int) -> None:
    volume = unfolding(9, 4, 24, 28, 40, 36).repeat(factor, axis=1).repeat(factor, axis=2)
    box = [10 * factor, 15 * factor, 2, 60 * factor, 50 * factor, 7]  # slices 2–6, the middle is 4
    mask = run(seeing()[0], volume, [box]).mask(0)
    assert mask.any(axis=(1, 2)).tolist() == [False, False, True, True, True, True, True, False, False]
    for z in range(2, 7):
        grown = 3 * abs(z - 4)
        expected = [24 - grown, 28 - grown, 40 + grown, 36 + grown]
        assert extent(mask[z]) == [value * factor for value in expected]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 0, 48, SIZE, 7], [0, 1, 48, 29]),  # the image is 48 wide
        ([0, 5, 0, 46, 26, 7], [0, 5, 46, 26]),
        ([1, 10, 0, 48, 20, 7], [1, 10, 48, 20]),
    ],
)
def test_boxes_grow_no_further_than_the_image_and_the_users_box(box: list[int], expected: list[int]) -> None:
    mask = run(seeing()[0], unfolding(7, 3, 2, 10, 44, 20)[:, :, :48], [box]).mask(0)
    assert extent(mask[3]) == [2, 10, 44, 20]
    assert extent(mask[0]) == extent(mask[6]) == expected


class GenerousDecoder(FakeDecoder):
    """Each mask is its prompt and two network pixels more on each side."""

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return super().infer({**inputs, "boxes": inputs["boxes"] + np.array([-2, -2, 2, 2])})


def test_masks_that_are_too_large_do_not_grow_from_slice_to_slice() -> None:
    model = Model(FakeEncoder(0), GenerousDecoder(0), SIZE, "generous", reach=4)
    mask = run(Segmenter(model), noise(9, SIZE, SIZE), [[24, 28, 0, 40, 36, 9]]).mask(0)
    assert [extent(plane) for plane in mask] == [[22, 26, 42, 38]] * 9


def leaning(depth: int = 12) -> tuple[Volume, npt.NDArray[np.bool_]]:
    """A bar of 12 × 10 pixels that moves by 3 columns and 2 rows a slice: of 12 slices, through [4, 8, 49, 40]."""
    volume = numbered(depth)
    for z in range(depth):
        volume[z, 8 + 2 * z : 18 + 2 * z, 4 + 3 * z : 16 + 3 * z] = 200
    truth = volume > 0
    truth[:, 0] = False
    return volume, truth


def test_a_moving_object_is_followed() -> None:
    """Past something as bright, which the user's box holds too and only the middle slice, 5, does not have."""
    volume, truth = leaning()
    volume[np.arange(12) != 5, 8:14, 40:49] = 200
    segmenter, _, _ = seeing()
    result = run(segmenter, volume, [[4, 8, 0, 49, 40, 12]])
    assert (result.mask(0) == truth).all()
    assert (result.label_map == truth).all()
    assert result.label_map.dtype == np.uint16


@pytest.mark.parametrize("streams", [0, 1, 3])
def test_slice_order_and_each_slice_encoded_once(streams: int) -> None:
    segmenter, encoder, decoder = seeing()
    run(segmenter, numbered(12), CROSSING, streams=streams)
    assert sorted(encoder.seen) == [2, 3, 4, 5, 6, 7, 8, 9]
    if streams < 2:
        assert encoder.seen == [4, 5, 6, 7, 8, 9, 3, 2]
    assert decoder.batches == [1] * 10  # first on 4 5 6, second on 7 8 9, then 6 5; first on 3 2


def test_one_sweep_encodes_each_slice_once_without_a_cache() -> None:
    segmenter, encoder, _ = seeing(cache_bytes=0)
    run(segmenter, numbered(12), CROSSING)
    assert encoder.seen == [4, 5, 6, 7, 8, 9, 6, 5, 3, 2]


def test_all_objects_of_a_slice_are_decoded_in_one_call() -> None:
    segmenter, encoder, decoder = seeing()
    boxes = [[10, 10, 3, 20, 20, 6], [30, 30, 4, 40, 40, 5], [40, 10, 2, 50, 20, 7]]  # middles 4, 4, 4
    run(segmenter, numbered(12), boxes)
    assert encoder.seen == [4, 5, 6, 3, 2]
    assert decoder.batches == [3, 2, 1, 2, 1]


def test_first_and_last_slice_are_reached() -> None:
    mask = run(Segmenter(fake_model()), noise(6, SIZE, SIZE), [[10, 10, 0, 20, 20, 6]]).mask(0)
    assert mask.any(axis=(1, 2)).all()
    one = run(Segmenter(fake_model()), noise(6, SIZE, SIZE), [[10, 10, 0, 20, 20, 1]]).mask(0)
    assert np.flatnonzero(one.any(axis=(1, 2))).tolist() == [0]


def test_parts_of_slices_count_as_slices() -> None:
    mask = run(Segmenter(fake_model()), noise(9, SIZE, SIZE), [[10, 10, 2.5, 20, 20, 5.25]]).mask(0)
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [2, 3, 4, 5]


def test_a_box_that_reaches_out_of_the_volume_is_clipped_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"boxes \[0\] reach outside the 64x64x6 volume and were clipped"):
        result = run(Segmenter(fake_model()), noise(6, SIZE, SIZE), [[10, 10, -3, 20, 20, 9]])
    assert result.boxes.tolist() == [[10, 10, 0, 20, 20, 6]]
    assert result.mask(0).any(axis=(1, 2)).all()


def broken_bar() -> Volume:
    """Bright on rows 20–29, columns 20–39; not at all on slice 6; on slice 7 columns 44–61, then 30–61."""
    volume = numbered(10)
    volume[:6, 20:30, 20:40] = 200
    volume[7, 20:30, 44:62] = 200
    volume[8:, 20:30, 30:62] = 200
    return volume


def test_after_an_empty_mask_the_box_prompts_again() -> None:
    segmenter, _, _ = seeing()
    mask = run(segmenter, broken_bar(), [[10, 10, 0, 55, 40, 10]]).mask(0)
    assert extent(mask[5]) == [20, 20, 40, 30]
    assert not mask[6].any()
    assert extent(mask[7]) == [44, 20, 55, 30]  # the box, not what was seen before
    assert extent(mask[8]) == [41, 20, 55, 30]
    assert extent(mask[9]) == [38, 20, 55, 30]


def test_stop_when_empty_ends_that_direction_only() -> None:
    segmenter, encoder, _ = seeing()
    steps: list[tuple[int, int]] = []
    result = run(
        segmenter,
        broken_bar(),
        [[20, 20, 0, 40, 30, 10]],  # the middle is 4
        stop_when_empty=True,
        streams=0,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert np.flatnonzero(result.mask(0).any(axis=(1, 2))).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(np.isfinite(result.slice_scores[0])).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert encoder.seen == [4, 5, 6, 3, 2, 1, 0]
    assert steps == [(1, 10), (2, 10), (3, 10), (7, 10), (8, 10), (9, 10), (10, 10)]


def test_an_empty_middle_slice_ends_both_directions() -> None:
    segmenter, encoder, _ = seeing()
    result = run(segmenter, broken_bar(), [[20, 20, 4, 40, 30, 9]], stop_when_empty=True, streams=0)
    assert not result.mask(0).any()
    assert encoder.seen == [6]


@pytest.mark.parametrize(("axis", "name"), [(0, "axial"), (1, "coronal"), (2, "sagittal")])
def test_slices_along_another_axis_are_those_of_the_transposed_volume(axis: Any, name: Any) -> None:
    volume = noise(20, 24, 28)
    box = np.array([[3, 5, 7, 20, 15, 12], [10, 2, 1, 25, 20, 9]])  # x0, y0, z0, x1, y1, z1
    order = [axis, *(other for other in range(3) if other != axis)]
    columns = [2 - order[2], 2 - order[1], 2 - order[0]]  # where the new x, y, z stand among the old ones
    moved_box = box[:, [*columns, *(3 + column for column in columns)]]
    expected = run(Segmenter(fake_model()), volume.transpose(order), moved_box)
    for said in (axis, name, float(axis)):
        result = run(Segmenter(fake_model()), volume, box, axis=said)
        assert result.mask(0).any()
        assert (result.label_map.transpose(order) == expected.label_map).all()
        assert (result.scores == expected.scores).all()
        assert (result.overlay(8) == expected.overlay(8)).all()


def test_changed_and_added_boxes_need_no_encoding() -> None:
    segmenter, encoder, _ = seeing()
    first = run(segmenter, numbered(12), CROSSING)
    before = len(encoder.seen)
    second = run(segmenter, numbered(12), [[1, 1, 2, 9, 9, 7], CROSSING[1], [3, 3, 4, 9, 9, 9]])
    assert len(encoder.seen) == before
    assert first.timings_ms["encode"] > 0
    assert second.timings_ms["encode"] == 0
    assert set(first.timings_ms) == {"read", "prepare", "encode", "decode", "restore"}


def test_threads_ahead_give_the_same_bits() -> None:
    volume, _ = leaning()
    boxes = [[10, 10, 0, 40, 40, 12], [20, 20, 3, 30, 30, 9]]
    results = [run(seeing(cache_bytes=0)[0], volume, boxes, streams=streams) for streams in (0, 1, 2, 4)]
    for other in results[1:]:
        assert (other.label_map == results[0].label_map).all()
        assert other.slice_scores.tobytes() == results[0].slice_scores.tobytes()


def threads_encoding() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("encode-ahead")]


@pytest.mark.parametrize("streams", [1, 2])
def test_no_more_than_two_slices_a_stream_are_ahead(streams: int) -> None:
    asked: list[int] = []
    ahead = encoded_ahead(lambda z: asked.append(z) or z, iter(range(100)), streams)  # type: ignore[return-value,func-returns-value]
    assert [next(ahead)[0] for _ in range(3)] == [0, 1, 2]
    ahead.close()
    assert len(asked) <= 3 + 2 * streams
    assert threads_encoding() == []


@pytest.mark.parametrize("streams", [0, 1, 3])
def test_what_goes_wrong_while_encoding_comes_out(streams: int) -> None:
    segmenter, encoder, decoder = seeing()
    plain = encoder.infer

    def fails(inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        outputs = plain(inputs)
        if outputs["embedding"][0, 0].argmax() == 7:  # not `seen`: other threads add to it meanwhile
            raise RuntimeError("out of memory")
        return outputs

    encoder.infer = fails  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="out of memory"):
        run(segmenter, numbered(12), [[10, 10, 4, 20, 20, 12]], streams=streams)
    assert len(decoder.batches) == 0  # the middle is 7
    assert threads_encoding() == []


def test_progress_counts_slices_and_cancels() -> None:
    steps: list[tuple[int, int]] = []
    run(Segmenter(fake_model()), noise(12, SIZE, SIZE), CROSSING, progress=lambda *step: steps.append(step))
    assert steps == [(number, 10) for number in range(1, 11)]
    segmenter, _, decoder = seeing()
    with pytest.raises(CancelledError, match="after 3 of 10 slices") as caught:
        run(segmenter, numbered(12), CROSSING, progress=lambda done, total: done < 3)
    assert decoder.batches == [1, 1, 1]
    with pytest.raises(CancelledError, match="after 3 of 10 slices"):
        run(segmenter, numbered(12), CROSSING, progress=lambda done, total: np.int64(done) < 3)  # numpy's False
    run(segmenter, numbered(12), CROSSING, progress=lambda done, total: 0)  # type: ignore[arg-type, return-value]
    assert threads_encoding() == []  # though the error, and with it every frame it passed, is still held
    del caught


def test_scores_are_means_over_slices() -> None:
    """The fake scores half and a thousandth of a prompt's x0 + y0; a prompt is the mask before, grown by 3 pixels."""
    volume = numbered(8)
    volume[:, 5:8, 4:8] = 200  # prompts with x0, y0 = 1, 2
    volume[:, 25:36, 26:36] = 200  # 23, 22
    volume[6, :, :30] = 0  # 27, 22 on slice 7
    result = run(seeing()[0], volume, [[1, 1, 3, 9, 9, 6], [20, 20, 4, 40, 40, 8]])
    nan = float("nan")  # object 1: slices 3 4 5 from 4; object 2: 4 5 6 7 from 5
    expected = [[nan, nan, nan, 0.503, 0.502, 0.503, nan, nan], [nan, nan, nan, nan, 0.545, 0.54, 0.545, 0.549]]
    np.testing.assert_allclose(result.slice_scores, expected, rtol=1e-6)
    assert result.scores.tolist() == pytest.approx([1.508 / 3, 2.179 / 4])
    assert result.scores.dtype == result.slice_scores.dtype == np.float32
    assert result.middles == [4, 5]


def test_masks_are_whole_and_the_label_map_shares_out() -> None:
    boxes = [[10, 10, 2, 30, 30, 3], [20, 20, 2, 40, 40, 3]]
    result = run(Segmenter(fake_model()), noise(4, SIZE, SIZE), boxes)
    assert result.mask(0)[2, 25, 25]
    assert result.label_map[2, 25, 25] == 2
    for overlap, owner in (("later", 2), ("score", 1)):  # the fake's score rises with x0 + y0
        reversed_ = run(Segmenter(fake_model()), noise(4, SIZE, SIZE), boxes[::-1], overlap=overlap)
        assert reversed_.label_map[2, 25, 25] == owner
    assert result.masks[0][2].pixels.shape == (20, 20)
    with pytest.raises(InputError, match="index"):
        result.mask(2)


def test_no_boxes_give_an_empty_result() -> None:
    segmenter, encoder, _ = seeing()
    result = run(segmenter, numbered(5), np.zeros((0, 6)))
    assert len(result) == 0
    assert (result.scores.shape, result.slice_scores.shape, result.boxes.shape) == ((0,), (0, 5), (0, 6))
    assert result.label_map.shape == (5, SIZE, SIZE)
    assert not result.label_map.any()
    assert result.overlay().shape == (SIZE, SIZE, 3)
    assert encoder.seen == []


def test_intensities_are_those_of_the_whole_volume() -> None:
    """HU -160 … 240 is the CT window, air below; alone, the second slice would be stretched over its two values."""
    volume = np.full((2, 16, 16), -1000, np.int16)
    volume[0, 8:], volume[1, 8:] = 240, 40
    result = run(Segmenter(fake_model()), volume, [[0, 0, 0, 16, 16, 2]], "CT")
    assert [result.display[0, 15, 0], result.display[1, 15, 0]] == [255, 128]
    grey = run(Segmenter(fake_model()), volume.clip(-160).astype(np.float32) + 161, [[0, 0, 0, 16, 16, 2]], "MR")
    assert [grey.display[0, 15, 0], grey.display[1, 15, 0]] == [255, 128]  # 1, 201 and 401 of 401


def test_the_callers_array_stays_the_callers() -> None:
    volume = noise(4, 20, 20)
    result = run(Segmenter(fake_model()), volume, [[1, 1, 0, 9, 9, 4]])
    volume[:] = 0
    assert (result.display == noise(4, 20, 20)).all()


PROMPTED = (Modality.CT, Modality.US, Modality.FUNDUS)


def test_one_modality_is_recognised_for_the_volume() -> None:
    """The middle slice is a quarter bright: CT with 0.75. The others are bright, but prompted with the same class."""
    volume = np.zeros((3, SIZE, SIZE), np.uint8)
    for z, rows in enumerate((48, 16, 56)):
        volume[z, :rows] = 255
    segmenter = Segmenter(fake_model(classes=PROMPTED))
    result = run(segmenter, volume, [[8, 16, 0, 40, 48, 3]])
    assert result.modality is Modality.CT
    assert result.modality_confidence == pytest.approx(0.75)
    assert [extent(plane) for plane in result.mask(0)] == [[8, 16, 40, 48]] * 3  # class 0 takes nothing off the box
    told = run(segmenter, volume, [[8, 16, 0, 40, 48, 3]], "US")
    assert (told.modality, told.modality_confidence) == (Modality.US, None)
    alone = run(Segmenter(fake_model(classes=PROMPTED)), volume, [[8, 16, 1, 40, 48, 2]])
    assert alone.timings_ms["encode"] > 0  # recognised and segmented on the same slice, encoded once
    assert [extent(plane) for plane in told.mask(0)] == [[9, 17, 39, 47]] * 3
    with pytest.raises(medsam_edge.ModalityError, match="got MR"):
        run(segmenter, volume, [[8, 16, 0, 40, 48, 3]], "MR")


def medical(volume: Volume) -> Any:
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.5, 0.75, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    return image


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_files_keep_their_geometry(tmp_path: Path, suffix: str) -> None:
    volume = noise(5, 20, 24)
    source = medical(volume)
    sitk.WriteImage(source, str(tmp_path / f"in{suffix}"))
    segmenter = Segmenter(fake_model())
    expected = run(segmenter, volume, [[2, 3, 1, 12, 13, 4]])
    for image in (source, tmp_path / f"in{suffix}"):
        result = run(segmenter, image, [[2, 3, 1, 12, 13, 4]], axis="axial")
        assert (result.label_map == expected.label_map).all()
        saved = sitk.ReadImage(str(result.save(tmp_path / f"out{suffix}")))
        assert (sitk.GetArrayFromImage(saved) == expected.label_map).all()
        assert saved.GetSpacing() == pytest.approx(source.GetSpacing())
        assert saved.GetOrigin() == pytest.approx(source.GetOrigin())
        assert saved.GetDirection() == pytest.approx(source.GetDirection())


def test_challenge_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "3DBox_MR.npz", imgs=noise(5, 20, 24), spacing=np.array([0.5, 0.75, 3.0]))
    result = run(Segmenter(fake_model()), tmp_path / "3DBox_MR.npz", [[2, 3, 1, 12, 13, 4]])
    with np.load(result.save(tmp_path / "out.npz")) as arrays:
        assert (arrays["segs"] == result.label_map).all()
    assert sitk.ReadImage(str(result.save(tmp_path / "out.nii.gz"))).GetSpacing() == pytest.approx((0.5, 0.75, 3.0))


def test_challenge_boxes_reach_their_last_slice_once(tmp_path: Path) -> None:
    """As `read_image` gives them, and with the published rule as the file has them."""
    written = np.array([[2, 3, 1, 12, 13, 3], [4, 5, 2, 20, 18, 5]])
    np.savez(tmp_path / "3DBox_MR.npz", imgs=noise(6, 20, 24), boxes=written)
    read = read_image(tmp_path / "3DBox_MR.npz").boxes
    segmenter = Segmenter(fake_model())
    ours = run(segmenter, tmp_path / "3DBox_MR.npz", read)
    published = run(segmenter, tmp_path / "3DBox_MR.npz", written, compat="rep-medsam")
    for result in (ours, published):
        assert [np.flatnonzero(row).tolist() for row in np.isfinite(result.slice_scores)] == [[1, 2, 3], [2, 3, 4, 5]]
        assert result.middles == [2, 3]
        assert result.boxes.tolist() == [[2, 3, 1, 12, 13, 4], [4, 5, 2, 20, 18, 6]]


def test_a_single_medical_slice_is_a_volume_of_one_where_boxes_say_so() -> None:
    slice_ = from_simpleitk(medical(noise(1, 20, 24)))
    result = run(Segmenter(fake_model()), slice_, [[2, 3, 0, 12, 13, 1]])
    assert result.label_map.shape == (1, 20, 24)
    slice_.pixels[:] = 0  # the caller's to change, also where it needs no preparation
    assert (result.display == noise(1, 20, 24)).all()


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), np.zeros((0, 6)), [[]]])
def test_no_boxes_of_any_shape_are_those_of_the_image(boxes: Any) -> None:
    segmenter = Segmenter(fake_model())
    for image in (noise(4, 9, 8), medical(noise(4, 9, 8))):
        for settings in ({}, {"compat": "rep-medsam"}):
            result = run(segmenter, image, boxes, **settings)
            assert (len(result), result.boxes.shape, result.slice_scores.shape) == (0, (0, 6), (0, 4))
            assert result.label_map.shape == (4, 9, 8)
            assert not result.label_map.any()
    assert len(run(segmenter, medical(noise(4, 9, 8)), boxes, box_space="physical")) == 0
    if np.shape(boxes) != (0, 6):
        assert segmenter.segment(noise(4, 9, 3), boxes).label_map.shape == (4, 9)


def test_boxes_say_whether_a_last_axis_of_three_is_colour() -> None:
    image = noise(20, 24, 3)
    picture = Segmenter(fake_model()).segment(image, [[1, 1, 9, 9]])
    assert isinstance(picture, Segmentation)
    assert picture.label_map.shape == (20, 24)
    assert run(Segmenter(fake_model()), image, [[0, 1, 1, 3, 9, 9]]).label_map.shape == (20, 24, 3)


def test_overlay_shows_a_slice_with_what_is_on_it() -> None:
    volume = np.full((6, SIZE, SIZE), 100, np.uint8)
    result = run(Segmenter(fake_model()), volume, [[10, 10, 2, 30, 30, 5]])
    assert (result.overlay(0) == 100).all()
    assert (result.overlay(3)[20, 20] != 100).any()
    assert (result.overlay(3)[40, 40] == 100).all()
    assert (result.overlay() == result.overlay(3)).all()
    with pytest.raises(InputError, match="slice from 0 to 5, got 6"):
        result.overlay(6)


BOX = [[1, 1, 1, 5, 5, 3]]


@pytest.mark.parametrize(
    ("image", "boxes", "settings", "error", "message"),
    [
        (noise(4, 9, 9), [[1, 1, 5, 5]], {}, ImageError, r"volumes with boxes \(N, 6\)"),
        (noise(4, 9, 9)[0], BOX, {}, ImageError, r"\(N, 6\) are for volumes, \(D, H, W\); got \(9, 9\)"),
        (noise(4, 9, 9)[None], BOX, {}, ImageError, r"got \(1, 4, 9, 9\)"),
        (np.zeros((0, 9, 9), np.uint8), BOX, {}, ImageError, "no pixels"),
        (np.full((3, 9, 9), np.nan), BOX, {}, ImageError, "finite"),
        (np.full((3, 9, 9), np.inf, np.float32), BOX, {"window": (0, 1)}, ImageError, "finite"),
        (np.zeros((3, 9, 9), complex), BOX, {}, ImageError, "dtype"),
        (noise(4, 9, 9), [[1, 1, 3, 5, 5, 1]], {}, BoxError, "z0 < z1, got swapped"),
        (noise(4, 9, 9), [[1, 1, 2, 5, 5, 2]], {}, BoxError, "a box with a volume"),
        (noise(4, 9, 9), [[1, 1, 4, 5, 5, 6]], {}, BoxError, "meets the 9x9x4 volume"),
        (noise(4, 9, 9), [[1, 1, -4, 5, 5, 0]], {}, BoxError, "meets the 9x9x4 volume"),
        (noise(4, 9, 9), [[1, 1, np.nan, 5, 5, 2]], {}, BoxError, "finite"),
        (noise(4, 9, 9), [["a", 1, 1, 5, 5, 2]], {}, BoxError, r"numbers of shape \(N, 6\)"),
        (noise(4, 9, 9), [BOX], {}, BoxError, r"shape \(N, 6\).*got \(1, 1, 6\)"),
        (noise(4, 9, 9), BOX, {"axis": 3}, InputError, "expected axial, coronal, sagittal, 0, 1, 2 or all, got 3"),
        (noise(4, 9, 9), BOX, {"axis": "front"}, InputError, "axis"),
        (noise(4, 9, 9), BOX, {"streams": -1}, InputError, "streams"),
        (noise(4, 9, 9), BOX, {"streams": 1.5}, InputError, "streams"),
        (noise(4, 9, 9), BOX, {"compat": "medsam"}, InputError, "compat"),
        (noise(4, 9, 9), BOX, {"overlap": "first"}, InputError, "overlap"),
        (noise(4, 9, 9), BOX, {"window": (40, 0)}, InputError, "window"),
    ],
)  # fmt: skip
def test_bad_arguments_name_themselves(
    image: Any, boxes: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Segmenter(fake_model()).segment(image, boxes, **settings)


def test_a_volume_is_no_picture(tmp_path: Path) -> None:
    result = run(Segmenter(fake_model()), noise(4, 9, 9), BOX)
    with pytest.raises(ImageError, match=r"for a volume, got labels\.png"):
        result.save(tmp_path / "labels.png")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ImageError, match="`segment` takes volumes"):
        Segmenter(fake_model()).embed(noise(4, 9, 9))


def test_the_packaged_model_segments_a_phantom() -> None:
    from medsam_edge.metrics import dice
    from medsam_edge.phantom import phantom_volume

    truth = phantom_volume("CT", (8, 64, 64), objects=2)
    result = medsam_edge.segment(truth.image, truth.boxes, truth.modality)
    assert isinstance(result, VolumeSegmentation)
    for label in (1, 2):
        assert dice(result.mask(label - 1), truth.labels == label) > 0.7
