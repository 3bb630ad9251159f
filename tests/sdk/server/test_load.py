"""Many clients at once, with the packaged model: nothing is lost, and masks are the library's, bit for bit."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from medsam_edge.intensity import to_display
from medsam_edge.phantom import phantom
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.limits import Limits
from medsam_edge.server.masks import Kept, described
from medsam_edge.server.schemas import Shown
from medsam_edge.server.service import Service
from tests.sdk.server.running import TOKEN, running

CLIENTS, BOXES = 8, 50
MODALITIES = ("US", "MR", "Dermoscopy", "XRay")


@pytest.mark.slow
def test_eight_clients_of_fifty_boxes_each(tmp_path: Path) -> None:
    segmenter = Segmenter()
    pictures = []
    for modality in MODALITIES:
        drawn = phantom(modality)
        shown = to_display(drawn.image, drawn.modality)
        file = tmp_path / f"{modality}.png"
        assert cv2.imwrite(str(file), shown[..., ::-1] if shown.ndim == 3 else shown)
        pictures.append((file, modality, drawn.boxes[0]))
    service = Service(segmenter, Limits(), tmp_path)
    with running(make_app(service, TOKEN)) as url:

        def client(number: int) -> list[tuple[int, list[float], dict[str, object], float]]:
            rng = np.random.default_rng(number)
            done = []
            headers = {"authorization": f"Bearer {TOKEN}", "x-client": f"client-{number}"}
            with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=120) as api:
                keys = [api.post("/images/open", json={"file": file.name}).json()["id"] for file, _, _ in pictures]
                for turn in range(BOXES):
                    which = (number + turn) % len(pictures)
                    box = (pictures[which][2] + rng.uniform(-3, 3, 4)).clip(0, 255).tolist()
                    request = {"boxes": [box], "modality": pictures[which][1]}
                    started = time.perf_counter()
                    answer = api.post(f"/images/{keys[which]}/segmentations", json=request)
                    seconds = time.perf_counter() - started
                    assert answer.status_code == 201, answer.text
                    done.append((which, box, answer.json(), seconds))
            return done

        with ThreadPoolExecutor(CLIENTS) as pool:
            results = [one for done in pool.map(client, range(CLIENTS)) for one in done]
    assert len(results) == CLIENTS * BOXES
    assert len({result["id"] for _, _, result, _ in results}) == len(results)
    for which, box, result, _ in results:
        file, modality, _ = pictures[which]
        own = described(Kept(str(result["image"]), "me", segmenter.segment(file, [box], modality), Shown()))
        assert own.model_dump()["objects"] == result["objects"]
    seconds = sorted(taken for _, _, _, taken in results)
    print(f"median {statistics.median(seconds) * 1e3:.0f} ms, p95 {seconds[int(0.95 * len(seconds))] * 1e3:.0f} ms")
