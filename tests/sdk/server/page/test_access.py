"""The page for everybody: keyboard alone, screen readers, light and dark, small screens, fingers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.sdk.server.page.hand import Hand, mask_of

pytestmark = pytest.mark.slow


SIZES = {"laptop": (1280, 720), "tablet": (1024, 768), "tablet upright": (768, 1024)}


def open_volume(hand: Hand) -> None:
    hand.page.get_by_role("button", name="Open", exact=True).click()
    hand.page.locator("#files").get_by_role("button", name="volume.nii.gz").click()
    hand.opened("volume.nii.gz")


def press(hand: Hand, *keys: str) -> None:
    for key in keys:
        hand.page.keyboard.press(key)


def tab_to(hand: Hand, selector: str) -> None:
    """Press Tab until something has the focus."""
    for _ in range(60):
        hand.page.keyboard.press("Tab")
        if hand.page.evaluate("(selector) => document.activeElement?.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def test_a_picture_by_keyboard_alone(hand: Hand) -> None:
    """Open, draw, correct, undo, save, without a mouse."""
    page = hand.page
    press(hand, "Control+o")
    tab_to(hand, "input[type=search]")
    page.keyboard.type("picture")
    tab_to(hand, "#files li button")
    press(hand, "Enter")
    hand.opened("picture.png")
    tab_to(hand, "#canvas")
    press(hand, "b", *["ArrowLeft"] * 2, *["Shift+ArrowUp"] * 2, "Enter")  # from 32, 32 to 30, 12
    press(hand, "Shift+ArrowRight", *["ArrowRight"] * 3, *["ArrowDown"] * 7, "Enter")  # to 43, 19
    (found,) = hand.settled()
    assert found["box"] == [30, 12, 44, 20]  # both corners are inside
    expect(page.locator("#spoken")).to_contain_text("Object 1: 112 pixels")
    press(hand, "a", "Shift+ArrowRight", "Enter")
    assert mask_of(hand.settled()[0]["regions"][0])[19, 53]
    press(hand, "Control+z")
    assert hand.settled()[0]["size"] == 112
    press(hand, "Control+s")
    expect(page.locator("#news")).to_contain_text("Saved 1 object")
    press(hand, "h")
    expect(page.get_by_role("button", name="Show Object 1")).to_be_visible()
    press(hand, "Delete")
    assert hand.objects() == []


def test_a_file_is_chosen_by_keyboard(hand: Hand) -> None:
    press(hand, "Control+o")
    tab_to(hand, "#choose-files")
    with hand.page.expect_file_chooser(timeout=10_000) as chooser:
        press(hand, " ")
    assert chooser.value.is_multiple()


def test_keys_do_nothing_while_somebody_types(hand: Hand) -> None:
    open_volume(hand)
    hand.drag(30, 10, 44, 20)
    hand.settled()
    field = hand.page.get_by_label("Name of Object 1")
    field.click()
    field.press_sequentially("bhp")
    press(hand, "Backspace", "Enter")
    assert [own["name"] for own in hand.objects()] == ["Object 1bh"]
    expect(hand.page.get_by_role("button", name="Hide Object 1bh")).to_be_visible()


def test_help_lists_the_keys(hand: Hand) -> None:
    press(hand, "?")
    dialog = hand.page.get_by_role("dialog", name="Help and keys")
    for text in ("Undo", "Ctrl+Z", "Next slice", "Page Down", "Enter"):
        expect(dialog.get_by_text(text, exact=False).first).to_be_visible()
    press(hand, "Escape")
    expect(dialog).to_be_hidden()


def violations(hand: Hand) -> list[str]:
    found: list[Any] = Axe().run(hand.page).response["violations"]
    return [f"{own['id']}: {[node['html'] for node in own['nodes']]}" for own in found]


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_axe_finds_nothing(visit: Callable[..., Hand], url: str, colors: str) -> None:
    """Labels, roles, contrast, structure: axe-core's rules, in every state of the page."""
    hand = visit(url, color_scheme=colors, bypass_csp=True)
    page = hand.page
    expect(page.get_by_role("heading", name="Segment an image")).to_be_visible()
    assert violations(hand) == []
    open_volume(hand)
    hand.drag(30, 10, 44, 20)
    hand.settled()
    assert violations(hand) == []
    for dialog in ("open", "help", "token"):
        page.evaluate("(id) => document.getElementById(id).showModal()", dialog)
        assert violations(hand) == [], dialog
        page.evaluate("(id) => document.getElementById(id).close()", dialog)
    page.get_by_role("button", name="Box in numbers").click()
    assert violations(hand) == []
    press(hand, "Escape")
    page.get_by_role("button", name="Save", exact=True).click()
    assert violations(hand) == []


def test_the_canvas_says_what_it_shows(hand: Hand) -> None:
    open_volume(hand)
    hand.drag(30, 10, 44, 20)
    hand.settled()
    label = hand.page.locator("#canvas").get_attribute("aria-label")
    assert label == "volume.nii.gz, Axial slice 3 of 5. Objects: Object 1"


def test_colours_follow_the_system_or_the_user(visit: Callable[..., Hand], url: str) -> None:
    hand = visit(url, color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    hand.page.get_by_role("button", name="Colours: auto").wait_for()
    dark = hand.page.evaluate(back)
    hand.page.get_by_role("button", name="Colours: auto").click()
    hand.page.get_by_role("button", name="Colours: light").wait_for()
    assert hand.page.evaluate(back) != dark
    hand.page.reload()
    hand.page.get_by_role("button", name="Colours: light").click()  # it was remembered
    hand.page.get_by_role("button", name="Colours: dark").wait_for()
    assert hand.page.evaluate(back) == dark


@pytest.mark.parametrize("size", SIZES)
def test_it_fits_the_screen(visit: Callable[..., Hand], url: str, size: str) -> None:
    width, height = SIZES[size]
    hand = visit(url, viewport={"width": width, "height": height}, has_touch=size != "laptop")
    open_volume(hand)
    hand.drag(30, 10, 44, 20)
    hand.settled()
    page = hand.page
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
        width,
        height,
    ]
    canvas = page.locator("#canvas").bounding_box()
    assert canvas and canvas["width"] >= 0.6 * width and canvas["height"] >= 400
    for name in ("Open", "Undo", "Save", "Box", "Take away", "Next slice", "Hide Object 1", "Delete Object 1"):
        box = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= width, name
        assert box["y"] >= 0 and box["y"] + box["height"] <= height, name


def test_fingers(visit: Callable[..., Hand], url: str) -> None:
    """One finger draws, two zoom."""
    hand = visit(url, viewport={"width": 1024, "height": 768}, has_touch=True)
    open_volume(hand)
    devices = hand.page.context.new_cdp_session(hand.page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        devices.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", hand.screen(30, 10))
    touch("touchMove", hand.screen(40, 15))
    touch("touchMove", hand.screen(44, 20))
    touch("touchEnd")
    (found,) = hand.settled()
    assert found["box"][:2] == [30, 10]
    before = hand.screen(64, 0)[0] - hand.screen(0, 0)[0]
    (x0, y0), (x1, y1) = hand.screen(20, 32), hand.screen(44, 32)
    touch("touchStart", (x0, y0))
    touch("touchStart", (x0, y0), (x1, y1))
    touch("touchMove", (x0 - 40, y0), (x1 + 40, y1))
    touch("touchEnd")
    hand.page.wait_for_timeout(100)
    assert hand.screen(64, 0)[0] - hand.screen(0, 0)[0] > 1.2 * before
    assert len(hand.settled()) == 1  # no second box came of it
