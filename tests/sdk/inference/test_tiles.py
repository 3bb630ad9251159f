from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge import Segmenter
from medsam_edge.errors import InputError
from medsam_edge.geometry import FloatArray
from medsam_edge.inference.tiles import TILE_RULES, View, views
from medsam_edge.metrics import dice
from medsam_edge.modality import Modality
from medsam_edge.networks.model import Model
from medsam_edge.settings import Detail, Settings
from tests.sdk.fake import SIZE, SeeingDecoder, SeeingEncoder, fake_model


def boxes(*rows: tuple[float, ...]) -> FloatArray:
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def test_by_hand() -> None:
    """2048 pixels are eight times the network's: a side of 20 is 2.5, and is 20 in a tile of 256, the smallest. Tiles
    of 256 are 192 apart: the one whose middle, 128 + 192·k, is nearest to 1010 starts at 960."""
    assert views(boxes((1000, 30, 1020, 45)), 2048, 2048, 256, "auto") == [View(0, 960, 256, 1216, (0,), is_tile=True)]


@pytest.mark.parametrize(
    ("side", "length"), [(96, None), (95, 1024), (48, 1024), (47, 512), (24, 512), (23, 256), (1, 256)]
)
def test_the_smaller_the_box_the_smaller_the_tile(side: int, length: int | None) -> None:
    """The whole image while the box is 12 network pixels or more, then as often halved as it takes."""
    (view,) = views(boxes((300, 300, 300 + side, 310)), 2048, 2048, 256, "auto")
    assert view.right - view.left == (length or 2048)


@pytest.mark.parametrize("extent", [(256, 256), (300, 511), (511, 384)])
def test_images_little_larger_than_the_network_are_never_cut(extent: tuple[int, int]) -> None:
    assert views(boxes((1, 1, 3, 3)), *extent, 256, "auto") == [View(0, 0, *extent, (0,))]


def test_crops_enlarge_by_hand() -> None:
    """Tiles of 300 pixels' sides are 300, 213, 150, 107 … 38, 32. A box of 25 fills a quarter of 107 at most, and tiles
    of 107 are 13 apart: the one whose middle, 53.5 + 13·k, is nearest to 112.5 starts at 65. One of 54 stays."""
    assert views(boxes((100, 5, 125, 9), (1, 1, 55, 3)), 300, 200, 256, "crop") == [
        View(0, 65, 107, 172, (0,), is_tile=True),
        View(0, 0, 300, 200, (1,)),
    ]
    assert views(boxes((100, 5, 102, 6)), 300, 200, 256, "crop") == [View(0, 84, 32, 116, (0,), is_tile=True)]


def test_image_never_cuts_and_near_boxes_share() -> None:
    two = boxes((1000, 30, 1020, 45), (1030, 60, 1040, 80), (5, 5, 1500, 900))
    assert views(two, 2048, 2048, 256, "image") == [View(0, 0, 2048, 2048, (0, 1, 2))]
    assert [view.indices for view in views(two, 2048, 2048, 256, "auto")] == [(0, 1), (2,)]
    assert views(boxes(), 2048, 2048, 256, "auto") == []


@pytest.mark.parametrize("detail", ["auto", "crop"])
def test_every_box_is_in_one_view_with_its_context_and_large_enough(detail: Detail) -> None:
    rng, tiles = np.random.default_rng(0), TILE_RULES[detail]
    for height, width in [(512, 512), (513, 4096), (1920, 2560), (3024, 700), (4000, 90)]:
        corners = rng.uniform(0, [width, height], (300, 2))
        sides = np.exp(rng.uniform(0, np.log(200), (300, 2)))
        own = np.concatenate([corners, corners + sides], axis=1).clip(0, [width, height] * 2).astype(np.float32)
        own = own[(own[:, 2:] - own[:, :2]).min(axis=1) > 0.5]
        found = views(own, height, width, 256, detail)
        assert sorted(index for view in found for index in view.indices) == list(range(len(own)))
        for view in found:
            assert 0 <= view.top < view.bottom <= height
            assert 0 <= view.left < view.right <= width
            tile = max(view.bottom - view.top, view.right - view.left)
            inside = view.boxes(own)
            context = tiles.context * tile - 1  # a step is cut to whole pixels
            far = np.array([view.right - view.left, view.bottom - view.top])
            beyond = np.array([width - view.right, height - view.bottom])
            assert ((inside[:, :2] >= context) | (np.array([view.left, view.top]) == 0)).all()
            assert ((far - inside[:, 2:] >= context) | (beyond == 0)).all()
            shown = (inside[:, 2:] - inside[:, :2]).max(axis=1) / (tile - 1)  # a tile's side is whole pixels too
            assert (shown >= tiles.largest_box / tiles.ratio - 1e-5).all() or tile == (tiles.smallest or 256)


def test_a_box_that_moves_a_little_stays_in_its_tile() -> None:
    before, after = boxes((1000, 30, 1020, 45)), boxes((1003, 28, 1024, 47))
    assert views(before, 2048, 2048, 256, "auto") == views(after, 2048, 2048, 256, "auto")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="detail: expected 'auto', 'image' or 'crop', got 'fine'"):
        Settings(detail="fine")  # type: ignore[arg-type]


def nucleus(height: int, width: int, *corners: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A dark picture with bright squares of 20 pixels."""
    image = np.zeros((height, width), dtype=np.uint8)
    for top, left in corners:
        image[top : top + 20, left : left + 20] = 255
    return image


def test_a_small_object_has_its_edges_only_in_a_tile() -> None:
    """The fake network's square is 64 pixels: of 1,024, a nucleus of 20 is 1.25 of them; of a tile of 256, it is 5."""
    image = nucleus(1024, 768, (401, 303), (40, 700))
    rough = [(396, 298, 430, 330), (36, 696, 66, 726)]  # y, x
    prompts = [[left, top, right, bottom] for top, left, bottom, right in rough]
    segmenter = Segmenter(Model(SeeingEncoder(), SeeingDecoder(0), SIZE, "seeing", SIZE))
    found = {detail: segmenter.segment(image, prompts, detail=detail) for detail in ("auto", "image", "crop")}
    for index, (top, left) in enumerate([(401, 303), (40, 700)]):
        truth = nucleus(1024, 768, (top, left)) > 0
        scores = {detail: dice(result.mask(index), truth) for detail, result in found.items()}
        assert scores["crop"] > scores["auto"] > 0.8 > scores["image"]
    assert found["auto"].boxes.tolist() == prompts
    assert found["auto"].display.shape == image.shape
    assert found["auto"].label_map.max() == 2


def test_compat_never_uses_tiles() -> None:
    image, prompts = nucleus(1024, 768, (401, 303)), [[298, 396, 330, 430]]
    encoder = SeeingEncoder()
    segmenter = Segmenter(Model(encoder, SeeingDecoder(0), SIZE, "seeing", SIZE))
    plain = segmenter.segment(image, prompts, compat="rep-medsam", detail="image")
    assert len(encoder.seen) == 1
    same = segmenter.segment(image, prompts, compat="rep-medsam", detail="crop")
    assert len(encoder.seen) == 1
    np.testing.assert_array_equal(plain.mask(0), same.mask(0))


def test_tiles_are_cached_like_any_image() -> None:
    image = nucleus(1024, 768, (401, 303), (40, 700))
    encoder = SeeingEncoder()
    segmenter = Segmenter(Model(encoder, SeeingDecoder(0), SIZE, "seeing", SIZE))
    segmenter.segment(image, [[298, 396, 330, 430]])
    again = segmenter.segment(image, [[299, 397, 329, 428], [298, 390, 330, 425]])
    assert len(encoder.seen) == 1
    assert again.timings_ms["encode"] == 0.0
    segmenter.segment(image, [[298, 396, 330, 430], [696, 36, 726, 66]])
    assert len(encoder.seen) == 2


def test_no_boxes_are_an_empty_result() -> None:
    result = Segmenter(fake_model()).segment(nucleus(300, 200), np.zeros((0, 4)))
    assert len(result) == 0
    assert result.label_map.shape == (300, 200)


def test_a_class_is_recognised_in_the_whole_image() -> None:
    """The tile is half bright, the whole nearly dark, which the fake network takes for its first class."""
    classes = (Modality.CT, Modality.MR, Modality.US)
    segmenter = Segmenter(fake_model(classes=classes))
    image = nucleus(1024, 768, (401, 303))
    result = segmenter.segment(image, [[298, 396, 330, 430]])
    assert result.modality is Modality.CT
    assert result.modality_confidence == segmenter.embed(image).class_scores[Modality.CT]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_small_objects_of_volumes_too(axis: int) -> None:
    """A ball-less rod along the slices' axis, and a large object beside it that is looked for in the whole slices."""
    plane = nucleus(512, 640, (301, 403))
    plane[50:250, 60:260] = 200
    volume = np.moveaxis(np.stack([plane] * 5), 0, axis)
    flat = [(398, 296, 430, 328), (40, 30, 280, 270)]  # x, y on a slice
    place = {0: (0, 1, 2), 1: (0, 2, 1), 2: (2, 0, 1)}[axis]
    prompts = []
    for x0, y0, x1, y1 in flat:
        low, high = np.array([x0, y0, 0]), np.array([x1, y1, 5])
        prompts.append([*low[list(place)], *high[list(place)]])
    segmenter = Segmenter(Model(SeeingEncoder(), SeeingDecoder(0), SIZE, "seeing", SIZE))
    seen: list[tuple[int, int]] = []
    fine = segmenter.segment(volume, prompts, axis=axis, detail="crop", progress=lambda *step: seen.append(step))
    coarse = segmenter.segment(volume, prompts, axis=axis, detail="image")
    rod = np.moveaxis(np.stack([nucleus(512, 640, (301, 403))] * 5), 0, axis) > 0
    assert dice(fine.mask(0), rod) > 0.88 > dice(coarse.mask(0), rod)
    np.testing.assert_array_equal(fine.mask(1), coarse.mask(1))
    assert seen == [(done, 10) for done in range(1, 11)]
