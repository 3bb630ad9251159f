"""Boxes from a notebook: the Python side here, the browser's side in a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from playwright.sync_api import Browser

from medsam_edge import ImageError, InputError, LoadedImage, ModalityError, segment
from medsam_edge.notebook import BoxDrawing, draw
from medsam_edge.notebook.widget import HERE

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)
VOLUME = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


def shown(drawing: BoxDrawing) -> np.ndarray:
    bgr = cv2.imdecode(np.frombuffer(drawing.picture, np.uint8), cv2.IMREAD_UNCHANGED)
    return bgr if bgr.ndim == 2 else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def test_a_picture() -> None:
    drawing = draw(GREY)
    np.testing.assert_array_equal(shown(drawing), GREY)
    assert drawing.boxes.shape == (0, 4)
    drawing.rows = [[1, 0, 4, 3]]  # as the browser does
    assert drawing.boxes.dtype == np.float32
    np.testing.assert_array_equal(drawing.boxes, [[1, 0, 4, 3]])
    assert drawing.image is GREY


def test_a_colour_picture() -> None:
    color = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(shown(draw(color)), color)


@pytest.mark.parametrize(
    ("axis", "sides", "middle", "first"),
    [
        (0, [0, 1, 2], VOLUME[1], VOLUME[0]),
        ("coronal", [0, 2, 1], VOLUME[:, 2], VOLUME[:, 0]),
        (2, [1, 2, 0], VOLUME[:, :, 2], VOLUME[:, :, 0]),
    ],
)
def test_a_volume_along_each_axis(axis: Any, sides: list[int], middle: np.ndarray, first: np.ndarray) -> None:
    drawing = draw(VOLUME, axis=axis)
    np.testing.assert_array_equal(shown(drawing), middle)
    assert drawing.sides == sides and drawing.boxes.shape == (0, 6)
    drawing.slice = 0
    np.testing.assert_array_equal(shown(drawing), first)


def test_values_become_grey_as_the_network_sees_them(tmp_path: Path) -> None:
    scan = sitk.GetImageFromArray(np.array([[[-1000, 40]], [[-160, 240]]], dtype=np.int16))
    scan.SetSpacing((0.5, 1.0, 3.0))
    path = tmp_path / "scan.nii.gz"
    sitk.WriteImage(scan, str(path))
    drawing = draw(path, modality="CT")
    np.testing.assert_array_equal(shown(drawing), [[0, 255]])  # 40 ± 200 HU
    assert drawing.aspect == 2.0
    assert draw(path, modality="CT", axis="sagittal").aspect == 3.0
    drawing.slice = 0
    assert shown(drawing)[0, 0] == 0 and 120 < shown(drawing)[0, 1] < 135


def test_boxes_go_into_segment() -> None:
    image = np.zeros((64, 64), dtype=np.uint8)
    image[20:40, 20:40] = 200
    drawing = draw(image, modality="US")
    drawing.rows = [[18, 18, 42, 42]]
    assert segment(drawing.image, drawing.boxes, "US").mask(0).any()


def test_three_slices_are_a_volume_where_the_caller_says_so() -> None:
    volume = np.zeros((2, 4, 3), dtype=np.uint8)
    assert draw(volume).boxes.shape == (0, 4)
    assert draw(LoadedImage(volume, color=False)).boxes.shape == (0, 6)


@pytest.mark.parametrize(
    ("error", "image", "options"),
    [
        (ImageError, np.zeros((2, 3, 4, 5)), {}),
        (ModalityError, GREY, {"modality": "X"}),
        (InputError, VOLUME, {"axis": 3}),
        (InputError, GREY, {"window": (1, -1)}),
    ],
)
def test_what_segment_refuses_is_refused(error: type[Exception], image: Any, options: Any) -> None:
    with pytest.raises(error):
        draw(image, **options)


MODEL = """async ({ code, traits, picture }) => {
    const { default: widget } = await import('data:text/javascript,' + encodeURIComponent(code));
    const heard = {};
    const values = { ...traits, picture: new Uint8Array(picture) };
    window.model = {
        get: (name) => values[name],
        set: (name, value) => { values[name] = value; (heard['change:' + name] ?? []).forEach((call) => call()); },
        save_changes: () => {}, off: () => {},
        on: (name, call) => (heard[name] ??= []).push(call),
    };
    document.body.innerHTML = '<div id="el"></div>';
    widget.render({ model: window.model, el: document.getElementById('el') });
    await new Promise((done) => setTimeout(done, 300));
}"""


@pytest.mark.slow
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_the_widget_in_a_browser(browser: Browser, axis: int | None) -> None:
    """A stand-in for the notebook's model; the widget itself is the real one."""
    page = browser.new_page()
    image = np.zeros((40, 40), dtype=np.uint8) if axis is None else np.zeros((20, 40, 50), dtype=np.uint8)
    drawing = draw(image, axis=axis or 0)
    traits = {name: getattr(drawing, name) for name in ("rows", "slice", "slices", "aspect", "sides")}
    code = (HERE / "widget.js").read_text(encoding="utf-8")
    page.evaluate(MODEL, {"code": code, "traits": traits, "picture": list(drawing.picture)})
    canvas = page.locator("canvas").bounding_box()
    scale = canvas["width"] / shown(drawing).shape[1]

    def drag(u0: int, v0: int, u1: int, v1: int) -> None:
        page.mouse.move(canvas["x"] + u0 * scale, canvas["y"] + v0 * scale)
        page.mouse.down()
        page.mouse.move(canvas["x"] + u1 * scale, canvas["y"] + v1 * scale, steps=4)
        page.mouse.up()

    drag(5, 6, 15, 12)
    drag(30, 15, 20, 2)  # from any corner
    drawing.rows = page.evaluate("model.get('rows')")
    expected = {
        None: [[5, 6, 15, 12], [20, 2, 30, 15]],
        0: [[5, 6, 10, 15, 12, 11], [20, 2, 10, 30, 15, 11]],
        1: [[5, 20, 6, 15, 21, 12], [20, 20, 2, 30, 21, 15]],
    }[axis]
    np.testing.assert_array_equal(drawing.boxes, expected)
    page.get_by_role("button", name="Delete box 1").click()
    assert page.evaluate("model.get('rows')") == expected[1:]
    if axis is not None:
        page.locator("canvas").focus()
        page.keyboard.press("PageDown")
        assert page.evaluate("model.get('slice')") == traits["slice"] + 1
        assert page.locator("output").inner_text().startswith(f"slice {traits['slice'] + 2} of")
    page.locator("canvas").focus()
    page.keyboard.press("Delete")
    assert page.evaluate("model.get('rows')") == []
    page.close()
