from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge import Segmenter
from medsam_edge.errors import ImageError, InputError
from medsam_edge.intensity import SOFT_TISSUE, WINDOWS, Window, to_display, volume_to_display, warn_of_values
from medsam_edge.modality import Modality
from tests.sdk.fake import fake_model

GREY = [modality for modality in Modality if modality is not Modality.CT]


def row(*values: float, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[np.generic]:
    return np.array([values], dtype=dtype)


@pytest.mark.parametrize("modality", [None, *Modality])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_uint8_is_not_touched(modality: Modality | None, shape: tuple[int, ...]) -> None:
    image = np.full(shape, 7, dtype=np.uint8)
    assert to_display(image, modality) is image


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_ct_window_by_hand(dtype: npt.DTypeLike) -> None:
    # level 40, width 400: -160 HU is black, 240 HU white; (40 + 160) / 400 · 255 = 127.5 rounds to the even 128
    image = row(-1000, -160, -80, 40, 140, 240, 3000, dtype=dtype)
    shown = to_display(image, Modality.CT)
    assert shown.dtype == np.uint8
    assert shown.tolist() == [[0, 0, 51, 128, 191, 255, 255]]
    assert to_display(image, None, SOFT_TISSUE).tolist() == shown.tolist()


def test_a_window_overrides_the_modality() -> None:
    lung = (-600.0, 1500.0)  # -1350 … 150
    assert to_display(row(-1350, -600, 150, dtype=np.int16), Modality.CT, lung).tolist() == [[0, 128, 255]]
    assert to_display(row(0, 50, 100, 200, dtype=np.uint16), Modality.MR, (100, 200)).tolist() == [[0, 64, 128, 255]]


def test_a_window_applies_to_grey_uint8() -> None:
    assert to_display(row(0, 100, 125, 255, dtype=np.uint8), None, (125, 50)).tolist() == [[0, 0, 128, 255]]


@pytest.mark.parametrize(
    "window",
    [
        (40, 0),
        (40, -1),
        (float("nan"), 400),
        (40, float("inf")),
        (1e38, 3e38),
        (40,),
        (1, 2, 3),
        ("40", "400"),
        40,
        "spleen",
    ],
)
def test_a_bad_window_is_refused(window: Any) -> None:
    for show in (to_display, volume_to_display):
        with pytest.raises(InputError, match=r"window: expected \(level, width\)"):
            show(row(0, 1)[None], Modality.CT, window)


@pytest.mark.parametrize(
    ("name", "black", "grey", "white"),
    [
        ("soft-tissue", -160, 40, 240),
        ("lung", -1350, -600, 150),
        ("brain", 0, 40, 80),
        ("bone", -500, 400, 1300),
        ("liver", -45, 30, 105),
    ],
)
def test_named_windows_by_hand(name: str, black: int, grey: int, white: int) -> None:
    image = row(-3000, black, grey, white, 3000, dtype=np.int16)
    for modality in (Modality.CT, None):
        assert to_display(image, modality, name).tolist() == [[0, 0, 128, 255, 255]]
        assert volume_to_display(image[None], modality, name).tolist() == [[[0, 0, 128, 255, 255]]]


@pytest.mark.parametrize("window", ["lung", (40.0, 400.0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_window_is_for_grey_images(window: Any, dtype: Any) -> None:
    with pytest.raises(InputError, match="window: expected None for a colour image"):
        to_display(np.zeros((4, 5, 3), dtype), None, window)


def test_a_named_window_is_for_ct_in_hu() -> None:
    with pytest.raises(InputError, match="one of soft-tissue, lung, brain, bone, liver, got 'abdomen'"):
        to_display(row(0, 1), Modality.CT, "abdomen")
    assert list(WINDOWS) == ["soft-tissue", "lung", "brain", "bone", "liver"]
    for modality in GREY:
        with pytest.raises(InputError, match=f"window: 'lung' is for CT, the image is {modality}"):
            to_display(row(0, 1), modality, "lung")
    with pytest.raises(InputError, match="window: 'lung' is in HU, but the image is uint8"):
        to_display(row(0, 1, dtype=np.uint8), None, "lung")


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ((-1000, 40, 3000), np.int16, None),
        ((-3024, -1000, 32767), np.int32, None),
        ((-201, 40), np.float32, None),
        ((0, 128, 255), np.uint8, None),  # a picture already
        ((0, 128, 255), np.float32, r"from 0 to 255 \(float32\); expected air below -200 HU"),
        ((0, 0.5, 1), np.float64, r"from 0 to 1 \(float64\)"),
        ((0, 1024, 4095), np.uint16, r"from 0 to 4095 \(uint16\)"),  # the intercept of -1024 is missing
        ((-200, 300), np.int16, r"from -200 to 300 \(int16\)"),
        ((-1000, 32768), np.int32, r"from -1000 to 32768 \(int32\); expected -32768 to 32767 HU"),
        ((-32769, 3000), np.float32, r"from -32769 to 3000 \(float32\); expected -32768"),
        ((-2000, 0, 4095), np.int16, r"from -2000 to 4095 \(int16\); expected air below -200 HU"),  # one is padding
        ((-32768, 0, 1), np.float32, r"expected air below -200 HU"),
        ((-2000, -1000, 40), np.int16, None),
    ],
)
def test_ct_that_is_not_in_hu_is_warned_of(
    values: tuple[float, ...], dtype: npt.DTypeLike, message: str | None
) -> None:
    image = row(*values, dtype=dtype)
    for modality in GREY:
        warn_of_values(image, modality)  # a warning is an error here
    if message is None:
        warn_of_values(image, Modality.CT)
        return
    for shape in (image, image[None]):
        with pytest.warns(UserWarning, match=message):
            warn_of_values(shape, Modality.CT)


@pytest.mark.parametrize("window", [None, "bone", (0.5, 1.0)])
@pytest.mark.parametrize("depth", [None, 5])
def test_a_call_warns_once(depth: int | None, window: Window | None) -> None:
    """A volume warns once too, though its slices are converted one by one."""
    image = np.random.default_rng(0).random((40, 50) if depth is None else (depth, 40, 50), dtype=np.float32)
    box = [[5, 6, 30, 31]] if depth is None else [[5, 6, 0, 30, 31, depth]]
    segmenter = Segmenter(fake_model())
    with pytest.warns(UserWarning) as caught:
        segmenter.segment(image, box, "CT", window=window)
    assert [str(warning.message).split(":")[0] for warning in caught] == ["image"]
    segmenter.segment(image, box, "MR", window=None if window == "bone" else window)
    segmenter.segment((image * 255).astype(np.uint8), box, "CT")


@pytest.mark.parametrize("modality", [None, *GREY])
def test_percentiles_by_hand(modality: Modality | None) -> None:
    # non-zero values 1..201: the 0.5 percentile is 2, the 99.5 percentile 200
    image = np.arange(202, dtype=np.uint16).reshape(1, -1)
    shown = to_display(image, modality)[0]
    expected = np.rint((np.clip(np.arange(202), 2, 200) - 2) / 198 * 255)
    expected[0] = 0
    assert shown.tolist() == expected.tolist()


@pytest.mark.parametrize("modality", [None, *GREY])
def test_zero_lies_between_its_neighbours_where_values_are_negative(modality: Modality | None) -> None:
    image = row(*range(-500, 501), dtype=np.int16)
    for shown in (to_display(image, modality)[0], volume_to_display(image[None], modality)[0, 0]):
        assert (np.diff(shown.astype(int)) >= 0).all()
        assert shown[[0, 499, 500, 501, 1000]].tolist() == [0, 127, 128, 128, 255]


def ct(air: float = -1000, noise: float = 0.0) -> npt.NDArray[np.float32]:
    """(64, 64): a quarter air, the rest -40, 0 and 60 HU."""
    image = np.zeros((64, 64), np.float32)
    image[:, :16], image[:, 32:48], image[:, 48:] = air, -40, 60
    return image + np.random.default_rng(0).normal(0, noise, image.shape).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("padding", [None, -2000, -3024, -32768])
@pytest.mark.parametrize("noise", [0, 15])
def test_ct_without_a_modality_is_recognised(dtype: npt.DTypeLike, padding: float | None, noise: float) -> None:
    image = ct(noise=noise).astype(dtype)
    if padding is not None:
        image[:20] = padding
    for shown in (to_display(image), volume_to_display(image[None])[0]):
        assert (shown == to_display(image, Modality.CT)).all()
    with pytest.warns(UserWarning, match="its values are those of CT in HU, so it is shown as CT"):
        warn_of_values(image, None)
    warn_of_values(image, None, "bone")  # a warning is an error here


@pytest.mark.parametrize("scale", [1 / 1000, 1 / 4, 40])
def test_other_values_are_not_taken_for_ct(scale: float) -> None:
    phase = np.random.default_rng(0).integers(-4096, 4095, (64, 64), np.int16)  # of MR
    for image in (ct() * np.float32(scale), phase, ct(-200), ct() + 1000, ct().astype(np.int16) + np.int16(1024)):
        warn_of_values(image, None)  # a warning is an error here
        assert (to_display(image) == to_display(image, Modality.MR)).all()


@pytest.mark.parametrize("padding", [-32768, -2000, -1])
def test_padding_does_not_move_the_percentiles(padding: int) -> None:
    values = np.arange(1, 202, dtype=np.int32) * (1 if padding == -1 else 20)
    values = values if padding != -1 else np.arange(1, 6, dtype=np.int32)
    alone = to_display(values[None], Modality.MR)[0]
    padded = to_display(np.concatenate([np.full(100, padding, np.int32), values])[None], Modality.MR)[0]
    assert padded[100:].tolist() == alone.tolist()
    assert not padded[:100].any()


def test_two_values_below_zero_and_above_keep_apart() -> None:
    assert to_display(row(-1, 1, 1, -1), Modality.MR).tolist() == [[0, 255, 255, 0]]


def test_the_background_does_not_move_the_percentiles() -> None:
    values = np.arange(1, 202, dtype=np.int32)
    alone = to_display(values[None], Modality.PET)[0]
    padded = to_display(np.concatenate([np.zeros(10_000, dtype=np.int32), values])[None], Modality.PET)[0]
    assert padded[10_000:].tolist() == alone.tolist()
    assert not padded[:10_000].any()


def test_all_zero_is_black() -> None:
    assert not to_display(np.zeros((3, 4), dtype=np.float32), Modality.MR).any()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint16, np.float32])
def test_an_image_of_two_values_keeps_both(dtype: npt.DTypeLike) -> None:
    # all non-zero pixels are one value, so both percentiles are that value: the object must not turn black
    shown = to_display(row(0, 1, 1, 0, dtype=dtype), Modality.XRAY)[0]
    assert shown[0] == shown[3] == 0
    assert shown[1] == shown[2] == 255


def test_tiny_values_keep_their_greys() -> None:
    image = np.arange(100, dtype=np.float32)[None]  # as of a diffusion map in m²/s
    assert (to_display(image * np.float32(2**-40), Modality.MR) == to_display(image, Modality.MR)).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[[0.0, 0.5, 1.0]]], dtype=np.float32), [0, 128, 255]),  # floats within 0–1 are shares of 255
        (np.array([[[0.0, 0.5, 1.02]]], dtype=np.float32), [0, 128, 255]),  # so are those a little above, cut at 1
        (np.array([[[0.0, 100.0, 255.0]]], dtype=np.float64), [0, 100, 255]),  # floats within 0–255 are kept
        (np.array([[[0, 1, 1]]], dtype=np.uint16), [0, 1, 1]),  # integers are never shares
        (np.array([[[3, 100, 255]]], dtype=np.int32), [3, 100, 255]),
        (np.array([[[0, 257, 65535]]], dtype=np.uint16), [0, 1, 255]),  # outside 0–255: stretched from min and max
        (np.array([[[-1.0, 0.0, 1.0]]], dtype=np.float32), [0, 128, 255]),
    ],
)
def test_color_rules(image: npt.NDArray[np.generic], expected: list[int]) -> None:
    shown = to_display(image, Modality.DERMOSCOPY)
    assert shown.shape == image.shape
    assert shown.dtype == np.uint8
    assert shown.ravel().tolist() == expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("modality", [None, Modality.CT, Modality.MR])
def test_values_that_are_not_finite_are_refused(bad: float, modality: Modality | None) -> None:
    with pytest.raises(ImageError, match="finite"):
        to_display(row(1, 2, bad), modality)
    with pytest.raises(ImageError, match="finite"):
        to_display(np.full((2, 2, 3), bad), Modality.FUNDUS)


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2), dtype=np.complex64), np.full((2, 2), "a"), np.empty((2, 2), object)]
)
def test_other_dtypes_are_refused(image: npt.NDArray[np.generic]) -> None:
    with pytest.raises(ImageError, match="real numeric dtype"):
        to_display(image)


def test_the_input_is_not_changed() -> None:
    image = row(0, 5, 900, 4000)
    before = image.copy()
    for modality in Modality:
        to_display(image, modality)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("modality", [Modality.CT, Modality.MR, None])
@pytest.mark.parametrize("window", [None, (100.0, 900.0)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.uint8])
def test_a_volume_is_shown_as_its_slices_side_by_side_would_be(modality: Modality, window: Any, dtype: Any) -> None:
    volume = np.random.default_rng(0).integers(0, 255, (4, 5, 7)).astype(dtype)
    volume[1] = 0
    expected = to_display(volume.reshape(20, 7), modality, window).reshape(volume.shape)
    shown = volume_to_display(volume, modality, window)
    assert shown.dtype == np.uint8
    assert (shown == expected).all()


def test_a_volume_whose_last_axis_is_three_is_not_colour() -> None:
    volume = np.full((4, 5, 3), -160, np.int16)
    volume[2:] = 240
    assert volume_to_display(volume, Modality.CT)[:, 0, 0].tolist() == [0, 0, 255, 255]


def test_a_volume_of_zeros_stays_zero() -> None:
    assert not volume_to_display(np.zeros((2, 3, 4), np.float32), Modality.MR).any()


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 2), (2, 2, 3)])
def test_values_too_far_apart_for_float32_are_refused(shape: tuple[int, ...]) -> None:
    """Their difference is infinite, and the image was black."""
    image = np.resize(np.array([-2e38, -1.9e38, 1.9e38, 2e38], np.float32), shape)
    show = volume_to_display if shape[0] == 1 else to_display
    with pytest.raises(ImageError, match=r"image: expected values less than 3\.4e\+38 apart, got"):
        show(image, Modality.MR)
    assert show((image / 2).astype(np.float32), Modality.MR).max() == 255


def test_a_volume_that_is_not_finite_is_refused_wherever_it_is_not() -> None:
    volume = np.zeros((3, 4, 5))
    volume[2, 3, 4] = np.inf
    for modality in (Modality.CT, Modality.MR):
        with pytest.raises(ImageError, match="finite"):
            volume_to_display(volume, modality)


@pytest.mark.parametrize("padding", [-9000, 9000])
def test_padding_that_the_header_names_is_black_and_in_no_percentile(padding: int) -> None:
    image = np.arange(1, 1001, dtype=np.int16).reshape(40, 25)
    padded = np.vstack([np.full((40, 25), padding, np.int16), image])
    shown = to_display(padded, Modality.MR, padding=(padding, padding))
    np.testing.assert_array_equal(shown[40:], to_display(image, Modality.MR))
    assert not shown[:40].any()
    np.testing.assert_array_equal(volume_to_display(padded[None], Modality.MR, padding=(padding, padding))[0], shown)
    in_window = to_display(padded, Modality.CT, padding=(padding, padding))
    assert not in_window[:40].any()  # also where the window would show it white


def test_a_window_shows_padding_of_measures_as_what_they_are() -> None:
    """-1024 HU is padding and the lowest value of air: no black specks in the lung."""
    image = np.array([[-1024, -1023]], np.int16)
    assert to_display(image, Modality.CT, "lung", (-1024, -1024)).min() > 50
