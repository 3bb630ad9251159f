from __future__ import annotations

import warnings

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from medsam_edge.boxes import are_volume_boxes, boxes_from_masks, check_boxes, corners_of
from medsam_edge.errors import BoxError, ImageError, InputError
from medsam_edge.geometry import OUTSIDE, WINDOW_SIDES, BoolArray, FloatArray, Geometry, window_groups


@pytest.mark.parametrize(
    ("height", "width", "size", "new_height", "new_width"),
    [
        (256, 256, 256, 256, 256),
        (512, 256, 256, 256, 128),
        (256, 512, 256, 128, 256),
        (320, 640, 256, 128, 256),
        (100, 300, 256, 85, 256),  # 85.33
        (287, 512, 256, 144, 256),  # 143.5 rounds up
        (3, 2, 256, 256, 171),  # 170.67
        (64, 32, 256, 256, 128),
        (1, 1, 256, 256, 256),
        (1000, 1, 256, 256, 1),  # 0.256 would round to nothing
        (1, 1000, 64, 1, 64),
        (3024, 4032, 256, 192, 256),
    ],
)
def test_how_much_of_the_square_the_image_fills(
    height: int, width: int, size: int, new_height: int, new_width: int
) -> None:
    geometry = Geometry(height, width, size)
    assert (geometry.new_height, geometry.new_width) == (new_height, new_width)
    assert geometry.scale == size / max(height, width)


@pytest.mark.parametrize(("height", "width"), [(0, 5), (5, 0), (-1, 5)])
def test_an_image_without_pixels_is_refused(height: int, width: int) -> None:
    with pytest.raises(ImageError, match=f"{height}x{width}"):
        Geometry(height, width)


def test_image_to_network_by_hand() -> None:
    image = np.array([[10, 20, 30, 40], [50, 60, 85, 110]], dtype=np.uint8)
    planes = Geometry(2, 4, size=4).image_to_network(image)
    expected = np.zeros((4, 4), dtype=np.float32)
    expected[:2] = [[0, 0.1, 0.2, 0.3], [0.4, 0.5, 0.75, 1]]
    assert planes.dtype == np.float32
    assert planes.shape == (3, 4, 4)
    for plane in planes:
        np.testing.assert_allclose(plane, expected, atol=1e-6)


def test_images_smaller_than_the_square_are_interpolated() -> None:
    """Centres of the four columns lie at -1/4, 1/4, 3/4 and 5/4 of the two pixels; published scripts leave blocks."""
    image = np.array([[0, 200]], dtype=np.uint8)
    rows = {
        area: Geometry(1, 2, size=4).image_to_network(image, area)[0, 0] for area in (cv2.INTER_LINEAR, cv2.INTER_AREA)
    }
    np.testing.assert_allclose(rows[cv2.INTER_LINEAR], [0, 0.25, 0.75, 1], atol=0.01)
    np.testing.assert_array_equal(rows[cv2.INTER_AREA], [0, 0, 1, 1])


def test_image_to_network_averages_areas() -> None:
    image = np.array([[0, 0, 10, 30], [0, 0, 20, 20], [100, 100, 40, 40], [100, 100, 40, 40]], dtype=np.uint8)
    planes = Geometry(4, 4, size=2).image_to_network(image)
    np.testing.assert_allclose(planes[0], [[0, 0.2], [1, 0.4]], atol=1e-6)


def test_color_keeps_its_channels_and_one_scale() -> None:
    image = np.zeros((3, 2, 3), dtype=np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 50, 100, 150
    planes = Geometry(3, 2, size=3).image_to_network(image)
    for plane, value in zip(planes, (0, 0.5, 1), strict=True):
        np.testing.assert_allclose(plane[:, :2], value)
        assert not plane[:, 2].any()  # padding


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("shape", [(5, 8), (5, 8, 3)])
def test_a_constant_image_gives_zeros(value: int, shape: tuple[int, ...]) -> None:
    assert not Geometry(5, 8, size=16).image_to_network(np.full(shape, value, dtype=np.uint8)).any()


def test_padding_is_zero_whatever_the_image() -> None:
    image = np.random.default_rng(0).integers(100, 256, (30, 50)).astype(np.uint8)
    geometry = Geometry(30, 50, size=32)
    planes = geometry.image_to_network(image)
    assert (geometry.new_height, geometry.new_width) == (19, 32)
    assert not planes[:, 19:].any()
    assert planes[:, :19].min() == 0  # min-max over the image alone
    assert planes[:, :19].max() == 1


def test_grey_equals_the_grey_repeated_as_color() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (45, 31)).astype(np.uint8)
    geometry = Geometry(45, 31, size=24)
    expected = geometry.image_to_network(np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(geometry.image_to_network(grey), expected)


@pytest.mark.parametrize("shape", [(5, 8), (5, 8, 3)])
def test_geometry_of_a_shape(shape: tuple[int, ...]) -> None:
    assert Geometry.of(shape, 64) == Geometry(5, 8, 64)


def test_boxes_to_network_by_hand() -> None:
    boxes = np.array([[0, 0, 512, 256], [10, 20, 30, 41]], dtype=np.float32)
    mapped = Geometry(256, 512).boxes_to_network(boxes)
    assert mapped.dtype == np.float32
    assert mapped.tolist() == [[0, 0, 256, 128], [5, 10, 15, 20.5]]


def test_windows_by_hand() -> None:
    """On 8 × 8 cells of 4 pixels: the first box touches cells 1–2, grown by 4 cells 0–3; the second, at the right edge,
    cells 7 and 5–7, grown 6–7 and 4–7: every window is 4 × 4, and the second is moved inside."""
    geometry = Geometry(32, 32, size=32)
    windows = geometry.windows(np.array([[4, 4, 12, 12], [29, 20, 32, 32]], dtype=np.float32), reach=4)
    assert (windows.rows, windows.columns) == (4, 4)
    assert windows.top.tolist() == [0, 4]
    assert windows.left.tolist() == [0, 4]
    assert windows.cells.dtype == np.int64
    assert windows.cells.reshape(2, 4, 4)[:, 1].tolist() == [[8, 9, 10, 11], [44, 45, 46, 47]]
    logits = np.arange(2 * 16 * 16, dtype=np.float32).reshape(2, 16, 4, 4)
    (first, *corner), (second, *other) = windows.pixels(logits)
    assert (corner, other) == ([0, 0], [16, 16])
    assert first.shape == second.shape == (16, 16)
    assert first[0, :8].tolist() == [0, 1, 2, 3, 16, 17, 18, 19]
    assert first[5, 1] == 64 + 4 + 1  # cell (1, 0), its pixel (1, 1)
    assert second[:4, :4].tolist() == logits[1, 0].tolist()


WINDOWED = np.array(
    [
        [100, 100, 116, 116],  # 16 wide, and 16 on each side: 48 pixels, 12 cells → 16
        [96, 64, 160, 128],  # 64, and 32 on each side: 128 pixels, 32 cells
        [0, 0, 16, 16],  # in the corner
        [240, 250, 256, 256],  # in the other; 6 pixels high, and 16 on each side
        [10, 20, 80, 90],  # 70: 140 pixels, 35 cells → 48
        [0, 100, 256, 120],  # as wide as the square: all columns; 20 high, and 16 on each side: 52 pixels
        [101, 103, 117, 119],  # as large as the first
    ],
    dtype=np.float32,
)
"""Windows by hand, context 0.5, on a grid of 64 cells: rows, columns, top, left. A middle at 108 pixels is at 27 cells,
and the window of 16 starts at 19."""
EXPECTED = [
    (16, 16, 19, 19),
    (32, 32, 8, 16),
    (16, 16, 0, 0),
    (16, 16, 48, 48),
    (48, 48, 0, 0),
    (16, 64, 20, 0),
    (16, 16, 20, 19),
]


def windows_of(boxes: FloatArray, context: float = 0.5, side: int = 64) -> list[tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for indices, windows in window_groups(boxes, context, side):
        for place, index in enumerate(indices.tolist()):
            found[index] = windows.rows, windows.columns, int(windows.top[place]), int(windows.left[place])
    return [found[index] for index in range(len(boxes))]


def test_window_groups_by_hand() -> None:
    assert windows_of(WINDOWED) == EXPECTED
    groups = [
        (windows.rows, windows.columns, indices.tolist()) for indices, windows in window_groups(WINDOWED, 0.5, 64)
    ]
    assert groups == [(16, 16, [0, 2, 3, 6]), (32, 32, [1]), (48, 48, [4]), (16, 64, [5])]
    assert window_groups(WINDOWED[:0], 0.5, 64) == []


def test_a_window_depends_on_its_box_alone() -> None:
    for index, box in enumerate(WINDOWED):
        assert windows_of(box[None]) == [EXPECTED[index]]
    assert windows_of(WINDOWED[::-1]) == EXPECTED[::-1]


@pytest.mark.parametrize("side", [16, 30, 32, 64])
@pytest.mark.parametrize("context", [0.0, 0.5, 2.0])
def test_windows_lie_in_the_grid_and_hold_their_boxes(side: int, context: float) -> None:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 4 * side, (300, 2, 2)), axis=1).reshape(300, 4).astype(np.float32)
    for box, (rows, columns, top, left) in zip(corners, windows_of(corners, context, side), strict=True):
        assert {rows, columns} <= {*WINDOW_SIDES, side}
        assert 0 <= top <= top + rows <= side and 0 <= left <= left + columns <= side
        assert left * 4 <= box[0] and box[2] <= (left + columns) * 4
        assert top * 4 <= box[1] and box[3] <= (top + rows) * 4


def test_a_mask_from_a_window_is_that_of_the_whole_plane() -> None:
    """`OUTSIDE` beyond the window, at every place and scale."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        geometry = Geometry(*rng.integers(3, 300, 2).tolist(), size=64)
        height, width = rng.integers(4, 65, 2)
        top, left = int(rng.integers(0, 65 - height)), int(rng.integers(0, 65 - width))
        window = smooth_logits(rng, 64, 0.3)[:height, :width]
        plane = np.full((64, 64), OUTSIDE, np.float32)
        plane[top : top + height, left : left + width] = window
        for expected, got in zip(geometry.mask_to_image(plane), geometry.mask_to_image(window, top, left), strict=True):
            assert np.array_equal(expected, got)


def test_a_wide_reach_is_the_whole_grid() -> None:
    windows = Geometry(200, 100, size=64).windows(np.array([[3, 3, 4, 4]], dtype=np.float32), reach=64)
    assert windows.cells.tolist() == [list(range(256))]


def test_no_boxes_map_to_no_boxes() -> None:
    assert Geometry(8, 8).boxes_to_network(np.zeros((0, 4), dtype=np.float32)).shape == (0, 4)


def smooth_logits(rng: np.random.Generator, size: int, offset: float) -> FloatArray:
    noise = cv2.GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), size / rng.uniform(8, 24))
    return np.asarray(noise / noise.std() - offset, dtype=np.float32)


def plain_logits(logits: FloatArray, geometry: Geometry) -> FloatArray:
    """The definition: cut the padding off, resize the whole plane."""
    inside = torch.from_numpy(logits[: geometry.new_height, : geometry.new_width].copy())[None, None]
    shape = (geometry.height, geometry.width)
    resized = torch.nn.functional.interpolate(inside, shape, mode="bilinear", align_corners=False)
    return np.asarray(resized[0, 0].numpy())


def check_mask(logits: FloatArray, geometry: Geometry) -> None:
    top, left, crop = geometry.mask_to_image(logits)
    mask = np.zeros((geometry.height, geometry.width), dtype=bool)
    mask[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    expected = plain_logits(logits, geometry)
    clear = np.abs(expected) > 1e-4
    np.testing.assert_array_equal(mask[clear], expected[clear] > 0)
    assert clear.mean() > 0.5
    assert_tight(top, left, crop, mask)


def assert_tight(top: int, left: int, crop: BoolArray, mask: BoolArray) -> None:
    if crop.size == 0:
        assert (top, left, crop.shape) == (0, 0, (0, 0))
        return
    assert crop.any(axis=0)[[0, -1]].all()
    assert crop.any(axis=1)[[0, -1]].all()
    assert crop.sum() == mask.sum()  # nothing hangs over the image's edge


def random_shapes() -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(0)
    shapes = [(int(h), int(w), 64) for h, w in rng.integers(1, 400, (60, 2))]
    shapes += [(int(h), int(w), 32) for h, w in rng.integers(280, 360, (10, 2))]  # ten times larger
    shapes += [(int(h), int(w), 256) for h, w in rng.integers(1, 60, (20, 2))]  # smaller
    return [*shapes, (1, 1, 64), (1, 300, 64), (300, 1, 64), (2, 2, 64), (64, 64, 64), (640, 640, 64), (5, 1000, 64)]


@pytest.mark.parametrize(("height", "width", "size"), random_shapes())
def test_mask_to_image_is_the_plain_definition(height: int, width: int, size: int) -> None:
    rng = np.random.default_rng((height, width, size))
    for offset in (0.0, 1.5, 2.5):  # from half the plane down to a few small islands
        check_mask(smooth_logits(rng, size, offset), Geometry(height, width, size))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 63), (63, 0), (63, 63), (31, 40)])
@pytest.mark.parametrize("shape", [(640, 640), (333, 200), (64, 64), (50, 64), (20, 17)])
def test_one_positive_pixel_is_not_lost(row: int, column: int, shape: tuple[int, int]) -> None:
    logits = np.full((64, 64), -1.0, dtype=np.float32)
    logits[row, column] = 3.0
    check_mask(logits, Geometry(*shape, size=64))


def test_mask_to_image_by_hand() -> None:
    # 2×2 logits → 4×4: weights 1, ¾¼, ¼¾, 1 along each axis
    logits = np.array([[1, -1], [-1, -1]], dtype=np.float32)
    top, left, crop = Geometry(4, 4, size=2).mask_to_image(logits)
    # first row 1, ½, -½, -1; the second is ¾ of the first and ¼ of -1: ½, ⅛, …
    assert (top, left) == (0, 0)
    assert crop.tolist() == [[True, True], [True, True]]
    top, left, crop = Geometry(4, 4, size=2).mask_to_image(-logits)
    assert (top, left, crop.shape) == (0, 0, (4, 4))
    assert crop.sum() == 12


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_nothing_positive_is_empty(value: float) -> None:
    top, left, crop = Geometry(100, 70, size=64).mask_to_image(np.full((64, 64), value, dtype=np.float32))
    assert (top, left, crop.shape, crop.dtype) == (0, 0, (0, 0), np.bool_)


def test_positive_padding_alone_is_empty() -> None:
    logits = np.full((64, 64), -1.0, dtype=np.float32)
    logits[32:] = 5.0  # the image fills the upper half
    assert Geometry(100, 200, size=64).mask_to_image(logits)[2].size == 0


@pytest.mark.parametrize(("height", "width"), [(64, 64), (333, 500), (500, 333), (30, 20), (1, 64)])
def test_a_box_comes_back_as_a_mask_of_itself(height: int, width: int) -> None:
    geometry = Geometry(height, width, size=256)
    box = np.array([[width // 4, height // 4, width - width // 4, height - height // 4]], dtype=np.float32)
    x0, y0, x1, y1 = np.rint(geometry.boxes_to_network(box)[0]).astype(int)
    logits = np.full((256, 256), -1.0, dtype=np.float32)
    logits[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = 1.0
    top, left, crop = geometry.mask_to_image(logits)
    back = np.array([left, top, left + crop.shape[1], top + crop.shape[0]])
    assert np.abs(back - box[0]).max() <= max(1.0, 0.5 / geometry.scale + 0.5)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([1, 2, 3, 4], [[1, 2, 3, 4]]),
        ((1, 2, 3, 4), [[1, 2, 3, 4]]),
        ([[0, 0, 20, 10]], [[0, 0, 20, 10]]),
        ([[1.5, 2.25, 3, 4], [5, 6, 7, 8]], [[1.5, 2.25, 3, 4], [5, 6, 7, 8]]),
        (np.array([[1, 2, 3, 4]], dtype=np.uint8), [[1, 2, 3, 4]]),
        ([], []),
        (np.zeros((0, 4)), []),
    ],
)
def test_good_boxes(boxes: npt.ArrayLike, expected: list[list[float]]) -> None:
    checked = check_boxes(boxes, height=10, width=20)
    assert checked.dtype == np.float32
    assert checked.shape == (len(expected), 4)
    assert checked.tolist() == expected


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3], r"shape \(N, 4\).*got \(3,\)"),
        ([[1, 2, 3, 4, 5]], r"shape \(N, 4\).*got \(1, 5\)"),
        ([[[1, 2, 3, 4]]], r"shape \(N, 4\).*got \(1, 1, 4\)"),
        (3, r"shape \(N, 4\)"),
        (None, r"shape \(N, 4\)"),
        ([[1, 2, 3, 4], [1, 2, 3]], r"numbers of shape \(N, 4\)"),
        ("none", r"numbers of shape \(N, 4\)"),
        ([["a", 2, 3, 4]], r"numbers of shape \(N, 4\)"),
        ([{"x": 1}], r"numbers of shape \(N, 4\)"),
        ([[10**400, 2, 3, 4]], "boxes"),
        ([1, 2, float("nan"), 4], r"boxes\[0\]: expected finite"),
        ([[1, 2, 3, 4], [1, 2, float("inf"), 4]], r"boxes\[1\]: expected finite"),
        ([3, 2, 1, 4], r"boxes\[0\]: .*swapped corners \(3, 2, 1, 4\)"),
        ([1, 4, 3, 2], r"swapped corners"),
        ([2, 2, 2, 4], r"with an area"),
        ([1, 2, 3, 2], r"with an area"),
        ([20, 0, 25, 5], r"meets the 20x10 image"),
        ([0, 10, 5, 15], r"meets the 20x10 image"),
        ([-5, 0, 0, 5], r"meets the 20x10 image"),
        ([0, -5, 5, 0], r"meets the 20x10 image"),
        ([100, 100, 120, 120], r"meets the 20x10 image"),
    ],
)
def test_bad_boxes_are_refused(boxes: npt.ArrayLike, message: str) -> None:
    with pytest.raises(BoxError, match=message) as caught:
        check_boxes(boxes, height=10, width=20)
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([-2, 3, 5, 6], [0, 3, 5, 6]),
        ([1, -3, 5, 6], [1, 0, 5, 6]),
        ([1, 3, 21.5, 6], [1, 3, 20, 6]),
        ([1, 3, 5, 11], [1, 3, 5, 10]),
        ([-9, -9, 99, 99], [0, 0, 20, 10]),
    ],
)
def test_a_box_partly_outside_is_clipped_with_a_warning(box: list[float], expected: list[float]) -> None:
    with pytest.warns(UserWarning, match=r"boxes \[1\] reach outside the 20x10 image and were clipped"):
        checked = check_boxes([[0, 0, 20, 10], box], height=10, width=20)
    assert checked.tolist() == [[0, 0, 20, 10], expected]


def test_the_caller_of_the_caller_is_warned() -> None:
    def front_door() -> None:
        check_boxes([-1, 0, 5, 5], height=10, width=20)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        front_door()
    assert [warning.filename for warning in caught] == [__file__]


def test_check_boxes_does_not_change_its_argument() -> None:
    boxes = np.array([[-1, 0, 5, 5]], dtype=np.float64)
    with pytest.warns(UserWarning, match="clipped"):
        check_boxes(boxes, height=10, width=20)
    assert boxes.tolist() == [[-1, 0, 5, 5]]


def test_boxes_from_masks_by_hand() -> None:
    labels = np.zeros((6, 8), dtype=np.uint16)
    labels[1:3, 2:7] = 9
    labels[5, 0] = 4
    labels[0, 7] = 9
    boxes = boxes_from_masks(labels)
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 5, 1, 6], [2, 0, 8, 3]]  # in the order of the values 4, 9
    x0, y0, x1, y1 = boxes[0].astype(int)
    assert (labels[y0:y1, x0:x1] == 4).all()


def test_boxes_from_an_empty_mask() -> None:
    assert boxes_from_masks(np.zeros((4, 4), dtype=np.int32)).shape == (0, 4)


def test_boxes_from_masks_are_good_boxes() -> None:
    labels = np.zeros((6, 8), dtype=np.int32)
    labels[0, :] = 1
    labels[5, 7] = 2
    boxes = boxes_from_masks(labels)
    assert check_boxes(boxes, 6, 8).tolist() == boxes.tolist()


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([1, 2, 0, 3, 4, 5], [[1, 2, 0, 3, 4, 5]]),
        ([[0, 0, 0, 20, 10, 5], [1.5, 2, 0.25, 3, 4, 0.5]], [[0, 0, 0, 20, 10, 5], [1.5, 2, 0.25, 3, 4, 0.5]]),
        (np.zeros((0, 6)), []),
    ],
)
@pytest.mark.filterwarnings("ignore:boxes")
def test_good_boxes_of_a_volume(boxes: npt.ArrayLike, expected: list[list[float]]) -> None:
    checked = check_boxes(boxes, height=10, width=20, depth=5)
    assert (checked.dtype, checked.shape) == (np.float32, (len(expected), 6))
    assert checked.tolist() == expected


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3, 4], r"shape \(N, 6\) as x0, y0, z0, x1, y1, z1, got \(4,\)"),
        ([[1, 2, 0, 3, 4, 5], [1, 2, 3, 4]], r"numbers of shape \(N, 6\)"),
        ([1, 2, 0, 3, 4, float("nan")], r"boxes\[0\]: expected finite"),
        ([1, 2, 3, 3, 4, 1], r"x0 < x1 and y0 < y1 and z0 < z1, got swapped corners \(1, 2, 3, 3, 4, 1\)"),
        ([1, 2, 3, 3, 4, 3], r"with a volume"),
        ([1, 2, 5, 3, 4, 6], r"meets the 20x10x5 volume"),
        ([1, 2, -2, 3, 4, 0], r"meets the 20x10x5 volume"),
        ([20, 2, 1, 23, 4, 2], r"meets the 20x10x5 volume"),
    ],
)
def test_bad_boxes_of_a_volume_are_refused(boxes: npt.ArrayLike, message: str) -> None:
    with pytest.raises(BoxError, match=message):
        check_boxes(boxes, height=10, width=20, depth=5)


def test_a_box_partly_outside_a_volume_is_clipped_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"boxes \[0\] reach outside the 20x10x5 volume and were clipped"):
        checked = check_boxes([-1, -1, -1, 30, 30, 30], height=10, width=20, depth=5)
    assert checked.tolist() == [[0, 0, 0, 20, 10, 5]]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([1, 2, 3, 4, 5, 6], True),
        (np.zeros((0, 6)), True),
        ([[1, 2, 3, 4]], False),
        ([], False),
        ([[1, 2, 3, 4, 5, 6], [1]], False),
        (None, False),
    ],
)
def test_six_columns_are_boxes_of_a_volume(boxes: npt.ArrayLike, expected: bool) -> None:
    assert are_volume_boxes(boxes) is expected


def test_boxes_of_every_format_are_the_same_corners() -> None:
    for box_format, boxes in {
        "xyxy": [[10, 20, 60, 80]],
        "xywh": [[10, 20, 50, 60]],
        "cxcywh": [[35, 50, 50, 60]],
    }.items():
        assert np.asarray(corners_of(boxes, box_format)).tolist() == [[10, 20, 60, 80]]
    assert np.asarray(corners_of([1, 2, 3, 10, 20, 30], "xywh")).tolist() == [[1, 2, 3, 11, 22, 33]]
    assert np.asarray(corners_of([], "xywh")).shape == (0, 4)
    with pytest.raises(BoxError, match=r"boxes\[1\]: expected width and height above 0 with box_format 'xywh'"):
        corners_of([[1, 1, 2, 2], [5, 5, 3, 0]], "xywh")


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0.1, 0.2, 0.5, 0.6]], "within 0 to 1, as shares"),
        ([[0, 0, 1, 1]], "within 0 to 1"),
        ([[1, 1, 5, 5], [3, 3, 3.5, 9]], r"boxes \[1\] are less than a pixel wide"),
    ],
)
def test_boxes_that_are_hardly_meant_in_pixels_are_warned_of(boxes: npt.ArrayLike, message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        check_boxes(boxes, height=10, width=20)
