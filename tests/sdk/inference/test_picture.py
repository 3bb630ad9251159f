"""Pictures from JPEG files that are decoded at a fraction of their size."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge import BoxError, ImageError, InputError, Modality, Segmentation, Segmenter, read_image
from medsam_edge.image import LateArray
from medsam_edge.networks.model import Model
from medsam_edge.phantom import phantom
from medsam_edge.reading import picture
from medsam_edge.writing.picture import write_picture
from tests.sdk.fake import SIZE, SeeingDecoder, SeeingEncoder, fake_model
from tests.sdk.jpegs import TURNED, write_jpeg

BOX = [[160, 160, 480, 320]]


def bright(height: int = 640, width: int = 1024) -> npt.NDArray[np.uint8]:
    """Grey, dark but for rows 192..287 and columns 192..383. Of 640 × 1024 the fake network sees 40 × 64 pixels, of
    which rows 12..17 and columns 12..23 are bright."""
    image = np.full((height, width), 20, np.uint8)
    image[192:288, 192:384] = 220
    return image


def seeing() -> Segmenter:
    return Segmenter(Model(SeeingEncoder(), SeeingDecoder(0), SIZE, "seeing", 4))


def reduced(path: Path, boxes: Any = BOX, **options: Any) -> Segmentation:
    result = seeing().segment(path, boxes, reduced_jpeg=True, **options)
    assert isinstance(result, Segmentation)
    return result


def is_reduced(result: Segmentation) -> bool:
    return isinstance(result.shown, LateArray)


@pytest.mark.parametrize("colour", [False, True])
def test_masks_have_the_size_of_the_file(tmp_path: Path, colour: bool) -> None:
    image = np.stack([bright()] * 3, axis=-1) if colour else bright()
    result = reduced(write_jpeg(tmp_path / "x.jpg", image))
    assert is_reduced(result)
    mask, expected = result.mask(0), bright() > 100
    assert mask[192:288, 288].all()
    assert mask[240, 192:384].all()
    assert not mask[~expected].any()
    assert (mask != expected).sum() <= 4 * 16**2  # the interpolated corners are rounded, less than a network pixel each
    assert result.label_map.shape == (640, 1024)
    assert result.boxes.tolist() == BOX
    assert result.overlay().shape == (640, 1024, 3)
    assert result.timings_ms["read"] > 0


@pytest.mark.parametrize(("height", "width"), [(641, 1027), (1500, 999), (4099, 3001)])
@pytest.mark.parametrize("turned", [None, TURNED])
def test_of_any_size_and_turned_they_are_those_of_the_whole_picture(
    tmp_path: Path, height: int, width: int, turned: int | None
) -> None:
    path = write_jpeg(tmp_path / "x.jpg", bright(height, width), turned)
    shape = (width, height) if turned else (height, width)
    top, left = np.argwhere(read_image(path).pixels > 100).min(axis=0).tolist()
    rows, columns = (192, 96) if turned else (96, 192)
    boxes = [[left - 30, top - 30, left + columns + 30, top + rows + 30]]
    result, full = reduced(path, boxes, detail="image"), seeing().segment(path, boxes, detail="image")
    assert is_reduced(result)
    assert result.label_map.shape == result.display.shape == shape
    assert (result.display == full.display).all()
    both, either = result.mask(0) & full.mask(0), result.mask(0) | full.mask(0)
    assert both.sum() >= 0.9 * either.sum() > 0


def test_the_packaged_model_finds_nearly_the_same(tmp_path: Path) -> None:
    truth = phantom("Fundus", (1100, 1400))
    path = write_jpeg(tmp_path / "x.jpg", truth.image)
    segmenter = Segmenter()
    full = segmenter.segment(path, truth.boxes, "Fundus", detail="image")
    result = segmenter.segment(path, truth.boxes, "Fundus", detail="image", reduced_jpeg=True)
    assert is_reduced(result)
    for index in range(len(truth.boxes)):
        one, other = full.mask(index), result.mask(index)
        assert 2 * (one & other).sum() >= 0.97 * (one.sum() + other.sum()) > 0


def test_only_the_display_decodes_the_file(tmp_path: Path) -> None:
    def fail() -> npt.NDArray[np.uint8]:
        raise AssertionError("decoded")

    result = reduced(write_jpeg(tmp_path / "x.jpg", bright()), [*BOX, [0, 0, 200, 200]], overlap="score")
    result = replace(result, shown=LateArray(result.shown.shape, fail))  # type: ignore[arg-type]
    assert len(list(result)) == len(result.scores) == 2
    assert "640×1024" in repr(result)
    result.save(tmp_path / "labels.png")
    assert (read_image(tmp_path / "labels.png").pixels == result.label_map).all()
    for act in (lambda: result.display, result.overlay):
        with pytest.raises(AssertionError, match="decoded"):
            act()


@pytest.mark.parametrize("window", [None, (100, 200)])
def test_the_display_is_that_of_the_whole_picture(tmp_path: Path, window: tuple[float, float] | None) -> None:
    """The result keeps the bytes: nothing changes when the file does, or when the result is sent elsewhere."""
    path = write_jpeg(tmp_path / "x.jpg", bright())
    display = seeing().segment(path, BOX, window=window).display
    result = reduced(path, window=window)
    write_jpeg(path, 255 - bright())
    sent = pickle.loads(pickle.dumps(result))
    path.unlink()
    for one in (result, sent, pickle.loads(pickle.dumps(result))):
        assert (one.display == display).all()
        assert one.display is one.display
        assert not one.display.flags.writeable
        assert (one.mask(0) == result.mask(0)).all()


@pytest.mark.parametrize(
    ("boxes", "options"),
    [
        ([[200, 200, 220, 220]], {}),
        ([*BOX, [200, 200, 220, 220]], {}),
        (BOX, {"detail": "crop"}),
    ],
)
def test_with_tiles_the_file_is_decoded_in_full(
    tmp_path: Path, boxes: list[list[int]], options: dict[str, Any]
) -> None:
    path = write_jpeg(tmp_path / "x.jpg", bright(1200, 2400))
    result, full = reduced(path, boxes, **options), seeing().segment(path, boxes, **options)
    assert (result.shown == full.display).all()
    assert (result.label_map == full.label_map).all()
    assert result.scores.tolist() == full.scores.tolist()
    assert is_reduced(reduced(path, boxes, detail="image"))


def test_of_other_images_too(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.png", bright())
    write_jpeg(tmp_path / "small.jpg", bright(400, 1000))
    write_jpeg(tmp_path / "large.jpg", bright())
    whole = read_image(tmp_path / "large.jpg")
    for image in (tmp_path / "x.png", tmp_path / "small.jpg", whole, whole.pixels):
        result = seeing().segment(image, BOX, reduced_jpeg=True)
        assert isinstance(result, Segmentation)
        assert not is_reduced(result)
    assert result.display is whole.pixels


def test_a_network_is_shown_at_least_twice_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an eighth is 127 pixels, less than twice 64, the file is decoded in full."""
    monkeypatch.setattr(picture, "REDUCED_SIDE", 64)
    assert is_reduced(reduced(write_jpeg(tmp_path / "128.jpg", bright(640, 1024))))
    assert not is_reduced(reduced(write_jpeg(tmp_path / "127.jpg", bright(640, 1016))))


def test_without_boxes_nothing_is_encoded(tmp_path: Path) -> None:
    result = reduced(write_jpeg(tmp_path / "x.jpg", bright()), [])
    assert is_reduced(result)
    assert result.label_map.shape == (640, 1024)
    assert result.timings_ms["encode"] == 0.0


def test_errors_name_the_size_of_the_file(tmp_path: Path) -> None:
    path = write_jpeg(tmp_path / "x.jpg", bright())
    with pytest.raises(BoxError, match="meets the 1024x640 image"):
        reduced(path, [[1100, 0, 1200, 10]])
    with pytest.raises(ImageError, match=r"640, 1024"):
        reduced(path, [[0, 0, 0, 9, 9, 9]])
    with pytest.raises(InputError, match=r"reduced_jpeg: compat='rep-medsam'"):
        reduced(path, compat="rep-medsam")


def test_the_modality_is_recognised_in_the_reduced_picture(tmp_path: Path) -> None:
    segmenter = Segmenter(fake_model(classes=(Modality.CT, Modality.US)))
    path = write_jpeg(tmp_path / "x.jpg", bright())
    results = [segmenter.segment(path, BOX, reduced_jpeg=it) for it in (False, True)]
    assert [is_reduced(result) for result in results] == [False, True]
    assert results[0].modality == results[1].modality == Modality.CT
    assert results[0].modality_confidence == pytest.approx(results[1].modality_confidence, abs=0.01)
