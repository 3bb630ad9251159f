"""A picture on the real page: open, draw, correct, undo, save, reload. The fake's mask is the box; a click adds or
removes a disk of radius 3."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from playwright.sync_api import Route, expect

from medsam_edge.errors import MedsamEdgeError
from medsam_edge.reading.read import read_image
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.limits import Limits
from medsam_edge.server.service import Service
from tests.sdk.fake import prompted_model
from tests.sdk.server.page.hand import Hand, mask_of
from tests.sdk.server.running import TOKEN, running

pytestmark = pytest.mark.slow


GREY = np.full((64, 64), 100, dtype=np.uint8)


def boxed(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((64, 64), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def disk(x: int, y: int) -> np.ndarray:
    rows, columns = np.indices((64, 64))
    return np.hypot(columns - x, rows - y) <= 3


NUMBERS = count()


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """A grey picture with another last pixel each time, so that no test finds what another one saved."""
    path, pixels = tmp_path / "grey.png", GREY.copy()
    pixels[-1, -1] = next(NUMBERS)
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def drawn(hand: Hand, grey: Path) -> Hand:
    """The grey picture, uploaded, with one box drawn on it."""
    hand.upload(grey)
    hand.opened("grey.png")
    hand.drag(30, 10, 44, 20)
    hand.settled()
    return hand


def test_a_box_gives_a_mask_on_the_screen(drawn: Hand) -> None:
    (found,) = drawn.objects()
    assert found["name"] == "Object 1" and found["box"] == [30, 10, 44, 20]
    np.testing.assert_array_equal(mask_of(found["regions"][0]), boxed(30, 10, 44, 20))
    expect(drawn.page.locator("#objects")).to_contain_text("140 pixels")
    drawn.page.locator("#status").get_by_text("Mask after").wait_for()
    assert drawn.color(20, 15) == (100, 100, 100)  # outside
    red, green, blue = drawn.color(37, 15)
    assert red > 140 > 100 > blue and green < 100  # 35 % of #ff5a5f over grey


FRAMES = """async () => {
    let asked = 0;
    const ask = window.requestAnimationFrame;
    window.requestAnimationFrame = (draw) => (asked++, ask.call(window, draw));
    await new Promise((done) => setTimeout(done, 500));
    return asked;
}"""


def test_a_page_at_rest_draws_nothing(drawn: Hand) -> None:
    """It would take the processor from the network, and empty batteries."""
    drawn.settled()
    drawn.page.wait_for_timeout(500)  # the slice is encoded ahead
    assert drawn.page.evaluate(FRAMES) == 0


def test_clicks_correct_it_and_undo_takes_them_back(drawn: Hand) -> None:
    page, box = drawn.page, boxed(30, 10, 44, 20)
    drawn.tool("Add")
    drawn.click(50, 15)
    added = mask_of(drawn.settled()[0]["regions"][0])
    np.testing.assert_array_equal(added, box | disk(50, 15))
    drawn.tool("Take away")
    drawn.click(33, 13)
    removed = mask_of(drawn.settled()[0]["regions"][0])
    np.testing.assert_array_equal(removed, (added & ~disk(33, 13)))
    assert drawn.color(36, 13) != drawn.color(33, 18)
    page.get_by_role("button", name="Undo").click()
    np.testing.assert_array_equal(mask_of(drawn.settled()[0]["regions"][0]), added)
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(mask_of(drawn.settled()[0]["regions"][0]), box)
    page.keyboard.press("Control+z")
    assert drawn.settled() == []
    assert page.get_by_role("button", name="Undo").is_disabled()
    for _ in range(3):
        page.get_by_role("button", name="Redo").click()
    np.testing.assert_array_equal(mask_of(drawn.settled()[0]["regions"][0]), removed)
    drawn.click(33, 18, button="right")  # the other kind of click
    assert mask_of(drawn.settled()[0]["regions"][0])[18, 33]


def test_handles_change_a_box(drawn: Hand) -> None:
    drawn.drag(44, 20, 50, 25)  # the corner
    assert drawn.settled()[0]["box"] == [30, 10, 50, 25]
    drawn.drag(33, 10, 34, 12)  # the edge between two handles moves it
    (found,) = drawn.settled()
    assert found["box"] == [31, 12, 51, 27]
    np.testing.assert_array_equal(mask_of(found["regions"][0]), boxed(31, 12, 51, 27))


def test_several_objects_with_names_colours_and_places(drawn: Hand) -> None:
    page = drawn.page
    drawn.drag(5, 40, 25, 60)
    assert [own["name"] for own in drawn.settled()] == ["Object 1", "Object 2"]
    page.get_by_label("Name of Object 2").fill("Liver")
    page.keyboard.press("Enter")
    page.get_by_label("Colour of Liver").fill("#0000ff")
    assert drawn.objects()[1]["color"] == "#0000ff"
    assert drawn.color(15, 50)[2] > 140
    page.get_by_role("button", name="Hide Liver").click()
    assert drawn.color(15, 50) == (100, 100, 100)
    page.get_by_role("button", name="Show Liver").click()
    drawn.click(37, 15)  # in the box tool a click selects
    expect(page.locator(".objects li.selected input[type=text]")).to_have_value("Object 1")
    page.get_by_role("button", name="Delete Object 1").click()
    assert [own["name"] for own in drawn.objects()] == ["Liver"]
    page.keyboard.press("Control+z")
    assert [own["name"] for own in drawn.objects()] == ["Object 1", "Liver"]


def test_saved_objects_outlive_page_and_server(
    drawn: Hand, visit: Callable[..., Hand], tmp_path: Path, output: Path
) -> None:
    page = drawn.page
    page.get_by_label("Name of Object 1").fill("Cyst")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+s")
    expect(page.locator("#news")).to_contain_text("Saved 1 object as grey-")
    (labels,) = output.glob("grey-*.png")
    np.testing.assert_array_equal(read_image(labels).pixels, boxed(30, 10, 44, 20))
    expect(page.get_by_text("not saved")).to_have_count(0)
    drawn.drag(5, 40, 25, 60)
    drawn.settled()
    expect(page.get_by_text("not saved")).to_have_count(1)
    page.reload()
    drawn.opened("grey.png")
    page.get_by_label("Name of Object 2").wait_for()
    assert [own["name"] for own in drawn.objects()] == ["Cyst", "Object 2"]  # what was not saved too
    np.testing.assert_array_equal(mask_of(drawn.objects()[0]["regions"][0]), boxed(30, 10, 44, 20))

    with running(make_app(Service(Segmenter(prompted_model()), Limits(), None, output), TOKEN)) as url:
        other = visit(url)
        other.upload(tmp_path / "grey.png")
        other.opened("grey.png")
        expect(other.page.locator("#news")).to_contain_text("1 saved object found")
        (found,) = other.objects()
        assert found["name"] == "Cyst"
        np.testing.assert_array_equal(mask_of(found["regions"][0]), boxed(30, 10, 44, 20))


def test_a_file_to_take_away(drawn: Hand, tmp_path: Path) -> None:
    page = drawn.page
    page.get_by_role("button", name="Save", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG label map").click()
    assert download.value.suggested_filename == "grey.png"
    download.value.save_as(tmp_path / "labels.png")
    labels = read_image(tmp_path / "labels.png").pixels
    np.testing.assert_array_equal(labels, boxed(30, 10, 44, 20))
    page.get_by_role("button", name="Save", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG picture").click()
    assert download.value.suggested_filename == "grey-view.png"


def test_a_bad_file_gives_the_message_of_the_sdk(hand: Hand, tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"no png")
    with pytest.raises(MedsamEdgeError) as caught:
        read_image(path)
    hand.complaints.clear()
    hand.upload(path)
    expect(hand.page.get_by_role("alert")).to_contain_text(str(caught.value).replace(f"{tmp_path}/", ""))
    hand.page.get_by_role("button", name="Close message").click()
    expect(hand.page.get_by_role("alert")).to_be_empty()
    hand.complaints = [text for text in hand.complaints if "422" not in text]  # the browser's own line


def test_a_box_in_numbers(hand: Hand, grey: Path) -> None:
    hand.upload(grey)
    hand.opened("grey.png")
    page = hand.page
    page.get_by_role("button", name="Box in numbers").click()
    for name, value in zip(("x0", "y0", "x1", "y1"), (3, 4, 20, 30), strict=True):
        page.get_by_label(name, exact=True).fill(str(value))
    page.get_by_role("button", name="Segment", exact=True).click()
    np.testing.assert_array_equal(mask_of(hand.settled()[0]["regions"][0]), boxed(3, 4, 20, 30))
    page.get_by_role("button", name="Edit box").click()
    page.get_by_label("x1", exact=True).fill("2")
    page.get_by_role("button", name="Segment", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("boxes")  # the sdk says what is wrong with it
    assert hand.settled()[0]["box"] == [3, 4, 20, 30]
    hand.complaints = [text for text in hand.complaints if "422" not in text]


def test_the_token_leaves_the_address_and_can_be_entered(visit: Callable[..., Hand], url: str) -> None:
    with_token = visit(url)
    with_token.until("location.hash === ''")
    assert TOKEN not in with_token.page.url
    without = visit(url, token="")
    without.page.get_by_role("textbox", name="Token").fill(TOKEN)
    without.page.get_by_role("button", name="Go on").click()
    expect(without.page.get_by_role("heading", name="Segment an image")).to_be_visible()
    expect(without.page.locator("#token")).to_be_hidden()
    without.complaints = [text for text in without.complaints if "401" not in text]


def test_a_busy_server_is_asked_again(hand: Hand, grey: Path) -> None:
    hand.upload(grey)
    hand.opened("grey.png")
    asked = []

    def busy_once(route: Route) -> None:
        asked.append(route)
        if len(asked) > 1:
            return route.fallback()
        problem = {"detail": "the server is busy", "type": "Busy"}
        return route.fulfill(status=503, json=problem, headers={"retry-after": "1"})

    hand.page.route("**/segmentations", busy_once)
    hand.drag(30, 10, 44, 20)
    assert len(hand.settled()) == 1
    assert len(asked) == 2
    hand.complaints = [text for text in hand.complaints if "503" not in text]


def test_a_lost_server_is_said(hand: Hand, grey: Path) -> None:
    hand.upload(grey)
    hand.opened("grey.png")
    hand.page.route("**/segmentations", lambda route: route.abort())
    hand.drag(30, 10, 44, 20)
    expect(hand.page.get_by_role("alert")).to_contain_text("The server does not answer")
    assert hand.settled() == []
    hand.complaints.clear()


def test_window_and_level_change_what_is_shown(hand: Hand, grey: Path) -> None:
    hand.upload(grey)
    hand.opened("grey.png")
    page = hand.page
    page.get_by_label("Level").fill("100")
    page.get_by_label("Width").fill("10")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert abs(hand.color(20, 20)[0] - 127) < 3  # the level is mid-grey
    hand.tool("Window")
    hand.drag(32, 32, 32, 48)
    page.wait_for_timeout(300)
    assert hand.color(20, 20)[0] != 127
    page.locator("#window").select_option("")
    page.wait_for_timeout(300)
    assert hand.color(20, 20) == (100, 100, 100)


def test_level_and_width_may_change_before_the_page_is_drawn_again(hand: Hand, grey: Path) -> None:
    hand.upload(grey)
    hand.opened("grey.png")
    hand.page.evaluate(
        """() => {
          for (const [at, value] of [[0, "100"], [1, "10"]]) {
            const input = document.querySelectorAll("#image input[type=number]")[at];
            input.value = value;
            input.dispatchEvent(new Event("change"));
          }
        }"""
    )
    hand.page.wait_for_timeout(300)
    assert abs(hand.color(20, 20)[0] - 127) < 3  # the level is mid-grey
    assert hand.page.get_by_label("Level").input_value() == "100"
    assert hand.page.get_by_label("Width").input_value() == "10"


def test_zoom_and_pan(hand: Hand, grey: Path) -> None:
    hand.upload(grey)
    hand.opened("grey.png")
    x, y = hand.screen(32, 32)
    hand.page.mouse.move(*hand.screen(10, 10))
    fixed = hand.screen(10, 10)
    hand.page.mouse.wheel(0, -400)
    hand.page.wait_for_timeout(100)
    assert hand.screen(32, 32)[0] > x + 50
    assert hand.screen(10, 10) == pytest.approx(fixed, abs=1)  # the place under the pointer stays
    hand.tool("Move")
    hand.drag(20, 20, 10, 10)
    assert hand.screen(20, 20) == pytest.approx(fixed, abs=12)
    hand.page.keyboard.press("0")
    hand.page.wait_for_timeout(100)
    assert hand.screen(32, 32) == pytest.approx((x, y), abs=1)


def test_what_the_server_has_forgotten_is_said(drawn: Hand, api: httpx.Client, tmp_path: Path) -> None:
    """As after a restart: the page's session knows results that the server does not."""
    identity = drawn.page.evaluate("Object.keys(JSON.parse(sessionStorage['medsam-edge-drafts']))[0]")
    assert api.delete(f"/images/{identity}").status_code == 204
    drawn.page.reload()
    expect(drawn.page.get_by_role("heading", name="Segment an image")).to_be_visible()
    drawn.upload(tmp_path / "grey.png")
    drawn.opened("grey.png")
    expect(drawn.page.locator("#news")).to_contain_text("has forgotten what was not saved")
    assert drawn.settled() == []
    drawn.complaints = [text for text in drawn.complaints if "404" not in text]
