"""How long a viewer waits beside the library: `python -m tests.sdk.server.nninteractive.measure IMAGE LABEL` prints it.

IMAGE and LABEL are a volume and its labels; without them, phantoms of CT and MR. The first object gets a box on its
middle slice, and then a click in the middle of it, in turns through nnInteractive's own client and through the library.
Both encode the volume for the box and have it encoded for the click. Masks must be equal; times are not asserted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession

from medsam_edge.image import LoadedImage
from medsam_edge.inference.volume import volume_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom_volume
from medsam_edge.reading.medical import read_volume
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.limits import Limits
from medsam_edge.server.nninteractive.app import make_viewers_app
from tests.sdk.server.running import TOKEN, running

Voxels = npt.NDArray[np.generic]
Mask = npt.NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("label", nargs="?", type=Path)
    parser.add_argument("--modality", default="CT")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.image:
        labels = read_volume(options.label)[0]
        target = labels == labels[labels > 0].min()
        measure(options.image.name, read_volume(options.image)[0], target, Modality(options.modality), options.rounds)
        return
    for modality in (Modality.CT, Modality.MR):
        drawn = phantom_volume(modality, (40, 256, 256))
        measure(f"phantom {modality.value}", drawn.image, drawn.labels == 1, modality, options.rounds)


def warm() -> Segmenter:
    """A segmenter without embeddings; a first run takes longer."""
    segmenter = Segmenter()
    segmenter.segment(np.zeros((8, 8), np.uint8), [[0, 0, 8, 8]])
    return segmenter


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - started)


def measure(name: str, voxels: Voxels, target: Mask, modality: Modality, rounds: int) -> None:
    """Print the medians, the ratios, and how well the object was found."""
    z = int(np.median(np.nonzero(target.any(axis=(1, 2)))[0]))
    rows, columns = (np.nonzero(target[z].any(axis=axis))[0] for axis in (1, 0))
    box = [columns[0], rows[0], z, columns[-1] + 1, rows[-1] + 1, z + 1]
    places = np.argwhere(target[z])
    y, x = places[np.argmin(np.hypot(*(places - places.mean(axis=0)).T))].tolist()
    shown = LoadedImage(volume_display(voxels, modality, None), color=False)
    seconds: dict[str, list[float]] = {"box": [], "click": [], "library's box": [], "library's click": []}
    for _ in range(rounds):
        app = make_viewers_app(warm(), Limits(), TOKEN, modality=modality)
        with running(app) as url, nnInteractiveRemoteInferenceSession(url, api_key=TOKEN) as client:
            client.set_image(np.asarray(voxels)[None], {"spacing": [5.0, 1.0, 1.0]})
            client.set_target_buffer(np.zeros(voxels.shape, np.uint8))
            corners = [[int(box[axis]), int(box[axis + 3])] for axis in (2, 1, 0)]
            with timed(seconds["box"]):
                client.add_bbox_interaction(corners, include_interaction=True)
            with timed(seconds["click"]):
                client.add_point_interaction((z, y, x), include_interaction=True)
            segmenter = warm()
            with timed(seconds["library's box"]):
                result = segmenter.segment(shown, [box], modality, follow=True)
            with timed(seconds["library's click"]):
                mask = segmenter.refine(result, points=[[[x, y, z]]], point_labels=[[1]]).mask(0)
            assert (client.target_buffer == mask).all()
    medians = {key: float(np.median(taken)) for key, taken in seconds.items()}
    print(json.dumps({"volume": name, "shape": voxels.shape, **{key: round(s, 3) for key, s in medians.items()}}))
    ratios = {key: round(medians[key] / medians[f"library's {key}"], 2) for key in ("box", "click")}
    overlap = 2 * np.count_nonzero(mask & target) / (np.count_nonzero(mask) + np.count_nonzero(target))
    print(json.dumps({"ratios": ratios, "DSC of the object": round(float(overlap), 3)}))


if __name__ == "__main__":
    main()
