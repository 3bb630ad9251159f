"""A hand on the real page in a real browser: it points at pixels of the image."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Browser, Page, sync_playwright

PATIENCE = 60.0
"""Seconds that anything may take on a busy machine."""
STATE = "const { state, viewport } = await import('/static/js/state.js');"
OBJECTS = (
    """async () => {"""
    + STATE
    + """
    const { decoded } = await import('/static/js/masks.js');
    return state.doc.objects.map((own) => ({
        ...state.doc.labels.get(own.key), size: own.size, box: own.box, axis: own.axis, waiting: own.waiting,
        regions: [...own.regions.values()].map((region) => ({ ...region, pixels: [...decoded(region)] })),
    }));
}"""
)


def chromium() -> str | None:
    """The browser of the system, if there is one; the shell is the same without its own windows, and starts faster."""
    return next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)


@contextmanager
def browsing() -> Iterator[Browser]:
    """A headless browser that reaches nothing but this machine."""
    with sync_playwright() as playwright:
        arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-gpu"]
        if os.name == "posix" and os.geteuid() == 0:
            arguments.append("--no-sandbox")  # which Chromium refuses to root
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Hand:
    """One page. Places are pixels (u, v) of the slice that is shown."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("dialog", lambda dialog: dialog.accept())

    def screen(self, u: float, v: float) -> tuple[float, float]:
        """Where a place is in the browser's window."""
        frame = self.page.locator("#canvas").bounding_box()
        assert frame
        x, y = self.page.evaluate(f"async (place) => {{ {STATE} return viewport.toScreen(place); }}", [u, v])
        return frame["x"] + x, frame["y"] + y

    def drag(self, u0: float, v0: float, u1: float, v1: float, button: Any = "left") -> None:
        """From one place to another."""
        start, end = self.screen(u0, v0), self.screen(u1, v1)
        self.page.mouse.move(*start)
        self.page.mouse.down(button=button)
        self.page.mouse.move(*end, steps=5)
        self.page.mouse.up(button=button)

    def click(self, u: int, v: int, button: Any = "left") -> None:
        """On the middle of a pixel."""
        self.page.mouse.click(*self.screen(u + 0.5, v + 0.5), button=button)

    def tool(self, name: str) -> None:
        self.page.get_by_role("navigation").get_by_role("button", name=name, exact=True).click()

    def upload(self, *paths: Any) -> None:
        self.page.set_input_files("#choose-files", list(paths))

    def until(self, condition: str) -> None:
        """Wait until an expression of `state` is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.page.evaluate(f"async () => {{ {STATE} return {condition}; }}"):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(50)

    def opened(self, name: str) -> None:
        """Wait until an image is open and its picture is on the canvas."""
        self.page.locator(".title b", has_text=name).wait_for()
        self.until("(await import('/static/js/pictures.js')).pictureNow()?.slice === state.doc.slice")

    def settled(self) -> list[dict[str, Any]]:
        """The objects, once no answer is due."""
        self.until("!state.doc.objects.some((own) => own.waiting)")
        return self.objects()

    def objects(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate(OBJECTS)
        return found

    def color(self, u: int, v: int) -> tuple[int, int, int]:
        """What the canvas shows in the middle of a pixel, after the next frame."""
        rgb = self.page.evaluate(
            f"""async (place) => {{ {STATE}
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            const [x, y] = viewport.toScreen(place).map((at) => Math.floor(at * devicePixelRatio));
            return [...document.getElementById('canvas').getContext('2d').getImageData(x, y, 1, 1).data];
            }}""",
            [u + 0.5, v + 0.5],
        )
        return rgb[0], rgb[1], rgb[2]


def mask_of(region: dict[str, Any], shape: tuple[int, int] = (64, 64)) -> npt.NDArray[np.bool_]:
    """A region as the page decodes it, on the whole slice."""
    mask = np.zeros(shape, dtype=bool)
    rows = slice(region["top"], region["top"] + region["height"])
    columns = slice(region["left"], region["left"] + region["width"])
    mask[rows, columns] = np.array(region["pixels"], dtype=bool).reshape(region["height"], region["width"])
    return mask
