"""The pictures of the page in the docs: `python -m tests.sdk.server.page.screenshots` draws them anew.

The images are the examples of the page, which are synthetic; the masks are the packaged model's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.limits import Limits
from medsam_edge.server.service import Service
from tests.sdk.server.page.hand import STATE, Hand, browsing
from tests.sdk.server.running import TOKEN, running

DOCS = Path(__file__).parents[4] / "docs"


def draw(browser: Browser, url: str, folder: Path) -> list[Path]:
    """Write the pictures; return their paths."""
    made = []

    def shot(hand: Hand, name: str) -> None:
        hand.page.mouse.move(0, 0)
        hand.page.evaluate(f"async () => {{ {STATE} state.lastMs = null; }}")  # of the machine at hand
        hand.page.wait_for_timeout(300)
        made.append(folder / f"page-{name}.jpg")
        hand.page.screenshot(path=made[-1], type="jpeg", quality=85)

    with _visit(browser, url, (1280, 720)) as hand:
        hand.page.get_by_role("button", name="Ultrasound picture").click()
        hand.opened("ultrasound.png")
        hand.drag(73, 103, 170, 166)
        hand.settled()
        hand.tool("Add")
        hand.click(120, 130)
        hand.settled()
        shot(hand, "picture")
    with _visit(browser, url, (1280, 720), color_scheme="dark") as hand:
        _volume(hand)
        shot(hand, "volume")
    with _visit(browser, url, (820, 1100), has_touch=True) as hand:
        _volume(hand)
        hand.page.get_by_role("button", name="Coronal").click()
        hand.page.locator("#slice").fill("59")
        hand.page.wait_for_timeout(1000)
        shot(hand, "tablet")
    return made


def _volume(hand: Hand) -> None:
    hand.page.get_by_role("button", name="CT volume").click()
    hand.opened("ct.nii.gz")
    for box in ((32, 48, 51, 70), (57, 22, 81, 42), (71, 51, 91, 73)):
        hand.drag(*box)
        hand.settled()
    hand.page.get_by_label("Name of Object 1").fill("Kidney")
    hand.page.keyboard.press("Enter")


@contextmanager
def _visit(browser: Browser, url: str, size: tuple[int, int], **options: Any) -> Iterator[Hand]:
    with browser.new_context(viewport={"width": size[0], "height": size[1]}, **options) as context:
        hand = Hand(context.new_page())
        hand.page.goto(f"{url}/#token={TOKEN}")
        yield hand
        assert hand.complaints == []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=DOCS)
    output = parser.parse_args().output
    with running(make_app(Service(Segmenter(), Limits(), output=output), TOKEN)) as url, browsing() as browser:
        for path in draw(browser, url, output):
            print(path)


if __name__ == "__main__":
    main()
