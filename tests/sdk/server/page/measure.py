"""How long a person waits: `python -m tests.sdk.server.page.measure` prints it, and asserts nothing.

Page load is from the start of navigation to a page that can be used. A box is from the release of the mouse to the
frame after the mask was drawn, on an image that is encoded; the library's own decode of the same box, in turns with
it, is what of that is the network's.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import cv2
import numpy as np

from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import STATIC, make_app
from medsam_edge.server.limits import Limits
from medsam_edge.server.service import Service
from tests.sdk.server.page.hand import Hand, browsing
from tests.sdk.server.running import TOKEN, running

LAST = "performance.getEntriesByName('prompt to pixels').length"
EXAMPLE = STATIC / "examples" / "ultrasound.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, default=10)
    parser.add_argument("--boxes", type=int, default=40)
    options = parser.parse_args()
    segmenter = Segmenter()
    with running(make_app(Service(segmenter, Limits()), TOKEN)) as url, browsing() as browser:
        loads = []
        for _ in range(options.loads):  # each in a new session, with nothing in its cache
            with browser.new_context() as context:
                page = context.new_page()
                page.goto(f"{url}/#token={TOKEN}")
                Hand(page).until("performance.getEntriesByName('ready').length")
                loads.append(page.evaluate("performance.getEntriesByName('ready')[0].startTime"))
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        page.goto(f"{url}/#token={TOKEN}")
        hand = Hand(page)
        hand.upload(EXAMPLE)
        hand.opened(EXAMPLE.name)
        page.locator("#modality").select_option("US")
        page.wait_for_timeout(2000)  # to encode it
        image = cv2.imread(str(EXAMPLE), cv2.IMREAD_UNCHANGED)
        embedding = segmenter.embed(image, "US")
        shown, decoded = [], []
        for number in range(options.boxes):
            box = [70 + number % 5, 100 + number % 7, 170 - number % 3, 168]
            hand.drag(*box)
            hand.until(f"{LAST} === {number + 1}")
            shown.append(page.evaluate("performance.getEntriesByName('prompt to pixels').at(-1).duration"))
            started = time.perf_counter()
            segmenter.decode(embedding, [box])
            decoded.append(1000 * (time.perf_counter() - started))
            page.keyboard.press("Delete")
    differences = np.array(shown) - decoded
    for name, values in (
        ("page load", loads),
        ("mouse-up to pixels", shown),
        ("the library's decode", decoded),
        ("difference", differences),
    ):
        least, p50, p95 = np.percentile(values, (0, 50, 95)).round(1).tolist()
        print(json.dumps({"what": name, "n": len(values), "least_ms": least, "p50_ms": p50, "p95_ms": p95}))
    print(json.dumps({"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()
