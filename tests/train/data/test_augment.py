from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.geometry import Geometry
from medsam_edge.modality import Modality
from medsam_edge_train.data.augment import Augmentation

Array = npt.NDArray[np.generic]
STILL = Augmentation(plain=1.0, color_p=0.0, noise_p=0.0)


def generators(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def flips(array: Array) -> list[Array]:
    return [array, array[:, ::-1], array[::-1], array[::-1, ::-1]]


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 3)])
def test_plain_draws_are_the_four_flips(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    labels = np.random.default_rng(1).integers(0, 5, (32, 32)).astype(np.int32)
    seen = set()
    for rng in generators(40):
        warped, warped_labels = STILL.warp(image, labels, 32, rng)
        assert (warped.dtype, warped_labels.dtype) == (np.uint8, np.int32)
        which = [np.array_equal(warped, flip) for flip in flips(image)]
        assert which.count(True) == 1
        assert np.array_equal(warped_labels, flips(labels)[which.index(True)])
        seen.add(which.index(True))
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize(("height", "width"), [(16, 32), (32, 16), (32, 9)])
def test_plain_draws_stay_at_the_top_left(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(1, 256, (height, width)).astype(np.uint8)
    labels = (image > 128).astype(np.int32)
    for rng in generators(10):
        warped, warped_labels = STILL.warp(image, labels, 32, rng)
        which = [np.array_equal(warped[:height, :width], flip) for flip in flips(image)]
        assert which.count(True) == 1
        assert np.array_equal(warped_labels[:height, :width], flips(labels)[which.index(True)])
        for outside in (warped_labels[height:], warped_labels[:, width:]):
            assert not outside.any()


@pytest.mark.parametrize("shape", [(96, 128), (300, 210), (40, 40), (64, 64)])
def test_plain_draws_lie_where_inference_puts_the_image(shape: tuple[int, int]) -> None:
    labels = np.zeros(shape, dtype=np.int32)
    labels[shape[0] // 4 : shape[0] // 2, shape[1] // 8 : shape[1] // 2] = 1
    geometry = Geometry(*shape, size=128)
    x0, y0, x1, y1 = geometry.boxes_to_network(boxes_from_masks(labels))[0]
    right, bottom = shape[1] * geometry.scale, shape[0] * geometry.scale
    expected = np.array([[x0, y0, x1, y1], [right - x1, y0, right - x0, y1], [x0, bottom - y1, x1, bottom - y0]])
    expected = np.concatenate([expected, [[right - x1, bottom - y1, right - x0, bottom - y0]]])
    for rng in generators(20):
        box = boxes_from_masks(STILL.warp(labels.astype(np.uint8), labels, 128, rng)[1])[0]
        assert np.abs(expected - box).max(axis=1).min() <= 1.0


@pytest.mark.parametrize("low", [0, 50])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 32), (32, 13)])
@pytest.mark.parametrize("color", [False, True])
def test_plain_draws_look_as_they_do_at_inference(low: int, height: int, width: int, color: bool) -> None:
    shape = (height, width, 3) if color else (height, width)
    image = np.random.default_rng(0).integers(low, 200, shape).astype(np.uint8)
    labels = np.ones((height, width), dtype=np.int32)
    expected = [Geometry(height, width, 32).image_to_network(flip) for flip in flips(image)]  # type: ignore[arg-type]
    for rng in generators(8):
        warped, _ = STILL.warp(image, labels, 32, rng)
        shown = STILL.intensity(warped, Modality.DERMOSCOPY, rng)
        assert min(float(np.abs(shown - flip).max()) for flip in expected) < 0.01


def test_image_and_labels_move_together() -> None:
    image = np.zeros((96, 128), dtype=np.uint8)
    image[30:70, 40:90] = 255
    labels = (image > 0).astype(np.int32)
    moved = 0
    for rng in generators(80):
        warped, warped_labels = Augmentation(plain=0.0).warp(image, labels, 128, rng)
        bright, labelled = warped > 127, warped_labels == 1
        assert labelled.sum() > 200
        iou = (bright & labelled).sum() / (bright | labelled).sum()
        assert iou > 0.95
        moved += not np.array_equal(labelled[:96], labels == 1)
    assert moved == 80


def test_every_label_value_survives_as_it_is() -> None:
    labels = np.zeros((60, 60), dtype=np.int32)
    labels[5:25, 5:25], labels[30:55, 30:55] = 3, 32_000
    for rng in generators(20):
        _, warped = Augmentation(plain=0.0, shift=0.0).warp(labels.astype(np.uint8), labels, 64, rng)
        assert set(np.unique(warped)) <= {0, 3, 32_000}
        assert (warped == 32_000).any()


def test_label_values_above_fifteen_bits_survive() -> None:
    labels = np.full((32, 32), 60_000, dtype=np.int32)  # label maps are 16-bit PNG files at most
    _, warped = STILL.warp(np.zeros((32, 32), dtype=np.uint8), labels, 32, np.random.default_rng(0))
    assert set(np.unique(warped)) == {60_000}


def square(left: int, top: int, side: int) -> npt.NDArray[np.int32]:
    labels = np.zeros((200, 400), dtype=np.int32)
    labels[top : top + side, left : left + side] = 7
    return labels


def test_a_plain_crop_shows_an_object_whole_at_the_scale_of_the_frame() -> None:
    labels = square(340, 20, 40)  # 20 pixels where 400 become 200
    corners = []
    for rng in generators(60):
        image, warped = STILL.crop(labels.astype(np.uint8) * 30, labels, 96, 200, rng)
        assert image.shape == warped.shape == (96, 96)
        bright = image > 105
        assert (bright & (warped == 7)).sum() > 0.9 * (bright | (warped == 7)).sum()
        x0, y0, x1, y1 = boxes_from_masks(warped)[0]
        assert (x1 - x0, y1 - y0) == pytest.approx((20, 20), abs=1)
        assert (warped == 7).sum() == pytest.approx(20**2, rel=0.1)
        corners.append((x0, y0))
    assert np.min(corners, axis=0) == pytest.approx([0, 0], abs=6)
    assert np.max(corners, axis=0) == pytest.approx([76, 76], abs=6)


def test_a_crop_shrinks_an_object_that_would_not_fit() -> None:
    labels = square(100, 10, 180)
    for rng in generators(10):
        _, warped = STILL.crop(labels.astype(np.uint8), labels, 96, 400, rng)
        x0, y0, x1, y1 = boxes_from_masks(warped)[0]
        assert (x1 - x0, y1 - y0) == pytest.approx((0.85 * 96, 0.85 * 96), abs=1)


def test_a_crop_is_zoomed_as_a_whole_image_is() -> None:
    labels, zoomed = square(100, 80, 40), only(zoom=(1.5, 1.5))
    for rng in generators(5):
        _, warped = zoomed.crop(labels.astype(np.uint8), labels, 96, 200, rng)
        assert (warped > 0).sum() == pytest.approx((1.5 * 20) ** 2, rel=0.08)


def test_crops_take_each_object_in_turn() -> None:
    labels = square(20, 20, 30)
    labels[100:160, 300:360] = 9
    seen = [
        np.unique(STILL.crop(labels.astype(np.uint8), labels, 64, 400, rng)[1])[1:].tolist() for rng in generators(30)
    ]
    assert [7] in seen and [9] in seen


def box_after(augmentation: Augmentation, rng: np.random.Generator) -> tuple[float, float, float, float, int]:
    """A centred 100-pixel square on 200: its width, height and centre after the warp, and its area."""
    labels = np.zeros((200, 200), dtype=np.int32)
    labels[50:150, 50:150] = 1
    _, warped = augmentation.warp(labels.astype(np.uint8), labels, 200, rng)
    x0, y0, x1, y1 = boxes_from_masks(warped)[0].tolist()
    return x1 - x0, y1 - y0, (x0 + x1) / 2, (y0 + y1) / 2, int(warped.sum())


def only(**settings: object) -> Augmentation:
    nothing = {"plain": 0.0, "zoom": (1.0, 1.0), "rotation_degrees": 0.0, "stretch": 0.0, "shift": 0.0}
    return Augmentation(**{**nothing, **settings})  # type: ignore[arg-type]


def test_zoom_alone() -> None:
    for rng in generators(5):
        assert box_after(only(zoom=(1.5, 1.5)), rng) == pytest.approx((150, 150, 100, 100, 150**2), abs=2, rel=0.02)
    sides = [box_after(only(zoom=(0.5, 1.5)), rng)[0] for rng in generators(60)]
    assert 49 <= min(sides) < 60
    assert 135 < max(sides) <= 151


def test_fine_texture_far_away_is_grey_and_not_noise() -> None:
    image = np.where(np.indices((200, 200)).sum(axis=0) % 2, 200, 100).astype(np.uint8)  # checks of one pixel
    labels = np.ones((200, 200), dtype=np.int32)
    far = only(zoom=(0.25, 0.25), rotation_degrees=20.0)
    for rng in generators(5):
        warped, _ = far.warp(image, labels, 200, rng)
        assert np.abs(warped[85:115, 85:115].astype(int) - 150).max() <= 3
        crop, _ = far.crop(image, labels, 96, 200, rng)
        middle = crop[crop > 120]
        assert middle.size > 1000 and np.abs(middle.astype(int) - 150).mean() <= 5


def test_an_object_fits_into_a_crop_however_near_it_is() -> None:
    near, labels = only(zoom=(4.0, 4.0)), square(100, 80, 40)  # 20 pixels, enlarged to 80 of 64
    for rng in generators(10):
        _, warped = near.crop(labels.astype(np.uint8), labels, 64, 200, rng)
        x0, y0, x1, y1 = boxes_from_masks(warped)[0]
        assert (x1 - x0, y1 - y0) == pytest.approx((0.85 * 64, 0.85 * 64), abs=1)


def test_shift_alone() -> None:
    centres = np.array([box_after(only(shift=0.2), rng)[2:4] for rng in generators(60)]) - 100
    assert 30 < np.abs(centres).max() <= 0.2 * 200 + 1
    assert np.abs(centres.mean(axis=0)).max() < 10


def test_rotation_alone() -> None:
    for rng in generators(30):
        width, height, x, y, area = box_after(only(rotation_degrees=45.0), rng)
        assert width == pytest.approx(height, abs=2)
        assert 99 <= width <= 100 * 2**0.5 + 2
        assert (x, y) == pytest.approx((100, 100), abs=1.5)
        assert area == pytest.approx(100**2, rel=0.02)
    assert max(box_after(only(rotation_degrees=45.0), rng)[0] for rng in generators(30)) > 135


def test_stretch_alone() -> None:
    ratios = []
    for rng in generators(60):
        width, height, _, _, area = box_after(only(stretch=0.3), rng)
        ratios.append(max(width / height, height / width))
        assert area == pytest.approx(100**2, rel=0.04)
    assert max(ratios) > 1.15
    assert max(ratios) <= np.exp(0.3) * 1.03  # "largest relative change of the aspect ratio"


def test_a_draw_depends_on_its_generator_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    labels = np.ones((40, 50), dtype=np.int32)

    def draw(seed: int) -> Array:
        rng = np.random.default_rng(seed)
        warped, _ = Augmentation().warp(image, labels, 64, rng)
        return Augmentation().intensity(warped, Modality.US, rng)

    assert np.array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))


def test_without_changes_intensity_is_the_min_max() -> None:
    image = np.array([[20, 70], [120, 120]], dtype=np.uint8)
    shown = STILL.intensity(image, Modality.MR, np.random.default_rng(0))
    assert shown.dtype == np.float32
    assert shown.shape == (3, 2, 2)
    np.testing.assert_allclose(shown, np.broadcast_to([[0, 0.5], [1, 1]], (3, 2, 2)), atol=1e-6)
    color = np.stack([image, image // 2, image], axis=-1)
    expected = (color.transpose(2, 0, 1) - 10.0) / 110
    np.testing.assert_allclose(STILL.intensity(color, Modality.FUNDUS, np.random.default_rng(0)), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_a_constant_image_is_black(shape: tuple[int, ...]) -> None:
    assert not STILL.intensity(np.full(shape, 9, dtype=np.uint8), Modality.CT, np.random.default_rng(0)).any()


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 3)])
def test_intensity_stays_in_range(modality: Modality, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    still = STILL.intensity(image, modality, np.random.default_rng(0))
    for rng in generators(25):
        shown = Augmentation(color_p=1.0, noise_p=1.0).intensity(image, modality, rng)
        assert (shown.dtype, shown.shape) == (np.float32, (3, 24, 24))
        assert shown.flags.c_contiguous
        assert np.isfinite(shown).all()
        assert shown.min() >= 0 and shown.max() <= 1
        assert shown.std() > 0.05
        assert np.abs(shown - still).mean() > 1e-3  # something changed
        if len(shape) == 2 and not modality.is_color:
            assert np.array_equal(shown[0], shown[1]) and np.array_equal(shown[0], shown[2])


def test_noise_of_ultrasound_is_multiplicative() -> None:
    image = np.zeros((64, 64), dtype=np.uint8)
    image[:, 32:] = 255
    dark = {Modality.US: 0, Modality.CT: 0}
    for modality in dark:
        for rng in generators(200):
            shown = Augmentation(color_p=0.4, noise_p=0.4).intensity(image, modality, rng)[0, :, :24]
            dark[modality] += int(np.unique(shown).size > 100)  # noise where the image is black and was not brightened
    assert dark[Modality.CT] > dark[Modality.US] > 0


def test_jitter_stays_within_its_reach() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 150, (3000, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 100, (3000, 2))], axis=1).clip(0, 256).astype(np.float32)
    jittered = Augmentation(jitter_px=5.0).jitter(boxes, 256, 256, rng)
    assert jittered.dtype == np.float32
    moves = np.abs(jittered - boxes)
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    assert (moves <= np.minimum(5.0, 0.1 * sides) + 1e-4).all()
    assert moves.max() > 4.5
    assert (jittered[:, :2] < jittered[:, 2:]).all()
    tight = (moves == 0).all(axis=1).mean()
    assert tight == pytest.approx(1 / 3, abs=0.04)
    assert (moves[:, 0] != moves[:, 1]).mean() > 0.6  # edges move on their own


def test_jitter_scales_with_the_square_and_stays_in_it() -> None:
    boxes = np.tile(np.array([[0, 0, 128, 128]], dtype=np.float32), (500, 1))
    jittered = Augmentation(jitter_px=8.0).jitter(boxes, 128, 128, np.random.default_rng(0))
    assert 3.5 < np.abs(jittered - boxes).max() <= 4.0
    assert jittered.min() == 0 and jittered.max() == 128


def test_loose_boxes_hold_the_object_and_are_up_to_twice_as_large() -> None:
    boxes = np.tile(np.array([[100, 120, 140, 180]], dtype=np.float32), (400, 1))
    loose = Augmentation(loose=1.0).jitter(boxes, 256, 256, np.random.default_rng(0))
    assert (loose[:, :2] <= boxes[:, :2]).all() and (loose[:, 2:] >= boxes[:, 2:]).all()
    assert np.abs(loose - boxes).max(axis=0) == pytest.approx([20, 30, 20, 30], rel=0.02)
    some = Augmentation(loose=0.25, jitter_px=0.0).jitter(boxes, 256, 256, np.random.default_rng(0))
    assert 0.2 < (some != boxes).any(axis=1).mean() < 0.3


def test_careless_boxes_are_off_by_pixels_of_the_frame_however_small() -> None:
    boxes = np.tile(np.array([[60, 40, 72, 52]], dtype=np.float32), (2000, 1))
    careless = Augmentation(careless=1.0).jitter(boxes, 128, 256, np.random.default_rng(0))
    moves = careless - boxes
    assert np.abs(moves).max(axis=0) == pytest.approx([5, 5, 5, 5], rel=0.02)
    assert np.abs(moves.mean(axis=0)).max() < 0.3
    assert (careless[:, 2:] - careless[:, :2]).min() == pytest.approx(2, abs=0.3)


def test_a_careless_box_never_closes() -> None:
    boxes = np.tile(np.array([[60, 40, 63, 100]], dtype=np.float32), (2000, 1))
    careless = Augmentation(careless=1.0).jitter(boxes, 256, 256, np.random.default_rng(0))
    width = careless[:, 2] - careless[:, 0]
    assert 2 <= width.min() < 3
    # what would have closed has the little jitter of other boxes: a tenth of the side
    assert (np.abs(careless - boxes)[:, 0] <= 0.3 + 1e-4).mean() > 0.3


def test_a_careless_box_at_the_border_never_closes() -> None:
    boxes = np.tile(np.array([[0, 100, 3, 104]], dtype=np.float32), (2000, 1))
    careless = Augmentation(careless=1.0).jitter(boxes, 256, 256, np.random.default_rng(0))
    assert (careless[:, 2:] - careless[:, :2]).min() >= 2


def test_a_share_of_the_boxes_is_careless() -> None:
    boxes = np.tile(np.array([[100, 120, 140, 180]], dtype=np.float32), (400, 1))
    some = Augmentation(careless=0.25, jitter_px=5.0, loose=0.0).jitter(boxes, 256, 256, np.random.default_rng(0))
    beyond = (np.abs(some - boxes)[:, 0] > 4.0 + 1e-4).mean()  # a tenth of the side is 4
    assert beyond == pytest.approx(0.25 / 5, abs=0.03)


def test_zero_jitter_keeps_boxes_tight() -> None:
    boxes = np.array([[3, 4, 50, 60]], dtype=np.float32)
    for rng in generators(5):
        assert np.array_equal(Augmentation(jitter_px=0.0).jitter(boxes, 64, 64, rng), boxes)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        STILL.plain = 0.5  # type: ignore[misc]
