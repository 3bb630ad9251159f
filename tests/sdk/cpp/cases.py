"""The cases of the golden vectors: every intensity rule, every kind of prompt, pictures and volumes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom, phantom_volume

Given = tuple[str, str, npt.NDArray[Any], dict[str, Any], dict[str, Any]]
"""Name, bundle, image, arguments of `segment` (`volume` says which boxes are meant), arguments of `refine`."""

BOXES = [[20, 15, 90, 80], [60.5, 40.25, 110, 99.75]]


def noise(*shape: int, seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).random(shape)


def pictures() -> Iterator[Given]:
    yield from rules()
    yield from phantoms()
    yield from prompts()
    yield from shapes()


def rules() -> Iterator[Given]:
    """Values of each type through each rule, on the tiny network."""
    hounsfield = (noise(100, 120) * 3000 - 1200).astype(np.int16)
    grey, color = noise(100, 120) * 900, noise(100, 120, 3)
    sparse = np.where(noise(100, 120, seed=1) < 0.7, 0, grey).astype(np.uint16)
    ct_like, large = noise(100, 120) * 1400 - 1050, noise(1030, 1100) * 1400 - 1050
    around = noise(100, 120, seed=1) < 0.3
    named: dict[str, tuple[npt.NDArray[Any], dict[str, Any]]] = {
        "ct_unknown": (ct_like.astype(np.int16), {}),
        "ct_unknown_padded": (np.where(around, -2000, ct_like).astype(np.float32), {}),
        "ct_unknown_large": (large.astype(np.int32), {}),
        "not_ct": (np.where(around, -1500 - grey, ct_like), {}),
        "ct_padded": (np.where(around, -3024, hounsfield.clip(-1000)), {"modality": "CT"}),
        "ct_without_air": (np.where(around, -3024, hounsfield.clip(-100)), {"modality": "CT"}),
        "padded": (np.where(around, -2000, grey).astype(np.int16), {"modality": "MR"}),
        "padded_little": (np.where(around, -50, grey).astype(np.float32), {"modality": "MR"}),
        "padded_farthest": (np.where(around, np.finfo(np.float32).min, grey).astype(np.float32), {"modality": "MR"}),
        "ct": (hounsfield, {"modality": "CT"}),
        "ct_float": (hounsfield.astype(np.float64) + 0.37, {"modality": "CT"}),
        "ct_lung": (hounsfield, {"modality": "CT", "window": "lung"}),
        "ct_window": (hounsfield.astype(np.int32), {"modality": "CT", "window": (35.5, 333.3)}),
        "mr": (grey.astype(np.uint16), {"modality": "MR"}),
        "pet": ((grey / 90).astype(np.float32), {"modality": "PET"}),
        "sparse": (sparse, {"modality": "US"}),
        "negative": ((grey - 450).astype(np.float32), {"modality": "MR"}),
        "half": ((grey - 450).astype(np.float16), {"modality": "XRay"}),
        "long": ((grey * 1e9).astype(np.int64), {"modality": "OCT"}),
        "unsigned_long": ((grey * 1e15).astype(np.uint64), {"modality": "Mammography"}),
        "signed_byte": ((grey / 10).astype(np.int8), {}),
        "unsigned": ((grey * 1e6).astype(np.uint32), {}),
        "truth": (grey > 500, {}),
        "constant": (np.full((100, 120), 7, np.int16), {"modality": "MR"}),
        "constant_negative": (np.full((100, 120), -7, np.int16), {"modality": "MR"}),
        "zeros": (np.zeros((100, 120), np.float32), {"modality": "MR"}),
        "one_value": (np.where(grey > 899.9, 5, 0).astype(np.int16), {"modality": "MR"}),
        "display": ((grey / 4).astype(np.uint8), {"modality": "CT"}),
        "display_window": ((grey / 4).astype(np.uint8), {"modality": "MR", "window": (100, 50)}),
        "color": ((color * 255).astype(np.uint8), {"modality": "Fundus"}),
        "color_shares": (color.astype(np.float32) * 1.3, {"modality": "Dermoscopy"}),
        "color_float": (color * 255, {"modality": "Endoscopy"}),
        "color_wide": ((color * 65535).astype(np.uint16), {"modality": "Microscopy"}),
        "color_negative": (color - 0.5, {"modality": "Microscopy"}),
        "color_low": ((color * 255).astype(np.int32), {}),
    }
    for name, (image, given) in named.items():
        yield f"rule_{name}", "tiny", image, {"boxes": BOXES, **given}, {}


def phantoms() -> Iterator[Given]:
    """A synthetic image of each modality, on the packaged network."""
    for modality in Modality:
        drawn = phantom(modality)
        yield (
            f"phantom_{modality.value}",
            "packaged",
            drawn.image,
            {"boxes": drawn.boxes, "modality": modality.value},
            {},
        )


def prompts() -> Iterator[Given]:
    drawn = phantom("US")
    image, boxes = drawn.image, np.asarray(drawn.boxes).tolist()
    middle = [[(box[0] + box[2]) / 2, (box[1] + box[3]) / 2] for box in boxes]
    masks = np.stack([drawn.labels == value for value in range(1, len(boxes) + 1)])
    clicks = {"points": [[point, [3, 3]] for point in middle], "point_labels": [[1, 0] for _ in middle]}
    alone = {"points": [[[100.5, 120]], [[30, 40], [200, 210.9]]], "point_labels": [[1], [1, 0]]}
    given: dict[str, dict[str, Any]] = {
        "none": {"boxes": []},
        "many": {"boxes": [[10 + 3 * i, 20 + 2 * i, 40 + 6 * i, 60 + 5 * i] for i in range(21)]},
        "outside": {"boxes": [[-20, 200.5, 80, 900]]},
        "clicks": {"boxes": boxes, **clicks},
        "clicks_alone": alone,
        "padded_clicks": {
            "boxes": boxes,
            "points": [[point, [0, 0]] for point in middle],
            "point_labels": [[1, -1]] * len(middle),
        },
        "some_clicks": {"boxes": [boxes[0], [5, 5, 60, 70]], "points": [[middle[0]], []], "point_labels": [[1], []]},
        "prior": {"boxes": boxes, "prior": masks},
        "prior_labels": {"boxes": boxes, "prior": drawn.labels.astype(np.uint16)},
        "prior_shares": {"boxes": boxes, "prior": (masks * 0.8 + 0.1).astype(np.float32)},
        "prior_shares_double": {"boxes": boxes, "prior": masks * 0.6 + 0.2},
        "prior_clicks": {"boxes": boxes, "prior": masks.astype(np.uint8), **clicks},
    }
    for name, own in given.items():
        yield f"prompt_{name}", "packaged", image, {"modality": "US", **own}, {}
    further = {
        "points": [[[90, 100], [10, 10]], *[[] for _ in boxes[1:]]],
        "point_labels": [[1, 0], *[[] for _ in boxes[1:]]],
    }
    yield "refined", "packaged", image, {"boxes": boxes, "modality": "US"}, further
    yield "refined_masks", "packaged", image, {"boxes": boxes, "modality": "US", "keep_logits": False}, further
    yield "refined_clicks", "packaged", image, alone, {"points": [[], [[60, 60]]], "point_labels": [[], [1]]}
    for modality in (None, "MR"):
        yield (
            f"class_{modality}",
            "classes",
            (noise(80, 70) * 255).astype(np.uint8),
            {"boxes": [[5, 6, 50, 40]], "modality": modality},
            {},
        )
    large = (noise(200, 180, 3) * 255).astype(np.uint8)
    yield "class_tiles", "classes", large, {"boxes": [[5, 6, 15, 14], [9, 9, 150, 140]]}, {}


def shapes() -> Iterator[Given]:
    """Sizes and tiles."""
    for height, width in ((1, 1), (1, 40), (33, 2), (64, 64), (63, 128), (128, 256), (31, 200), (500, 77)):
        image = (noise(height, width) * 255).astype(np.uint8)
        box = [[0, 0, max(1, width * 0.7), max(1, height * 0.6)]]
        yield f"shape_{height}x{width}", "tiny", image, {"boxes": box}, {}
    image = (noise(700, 900, 3) * 255).astype(np.uint8)
    boxes = [[100 + 70 * i, 50 + 60 * i, 112 + 80 * i, 65 + 70 * i] for i in range(9)]
    for detail in ("auto", "crop", "image"):
        yield f"detail_{detail}", "tiny", image, {"boxes": boxes, "detail": detail}, {}
    drawn = phantom("Microscopy", (640, 800))
    for detail in ("auto", "crop"):
        given = {"boxes": drawn.boxes, "modality": "Microscopy", "detail": detail}
        yield f"detail_{detail}", "packaged", drawn.image, given, {}
    masks = np.stack([drawn.labels == value for value in range(1, 4)])
    yield (
        "detail_prior",
        "packaged",
        drawn.image,
        {"boxes": np.asarray(drawn.boxes)[:3], "prior": masks, "detail": "crop"},
        {},
    )


def volumes() -> Iterator[Given]:
    volume = (noise(9, 50, 70) * 255).astype(np.uint8)
    boxes = [[5, 6, 1, 50, 40, 8], [20.5, 3.25, 0, 60, 45.5, 5], [10, 10, 4, 40, 30, 5]]
    for axis in (0, 1, 2, "all"):
        yield f"volume_{axis}", "tiny", volume, {"volume": True, "boxes": boxes, "axis": axis}, {}
    given: dict[str, dict[str, Any]] = {
        "follow": {"boxes": [[5, 6, 3, 50, 40, 4], [20.5, 3.25, 0, 60, 45.5, 1]], "follow": True},
        "clicks": {"points": [[[30, 20, 2], [3, 3, 5]], [[9, 9, 8]]], "point_labels": [[1, 0], [1]]},
        "boxes_and_clicks": {
            "boxes": boxes,
            "points": [[[30, 20, 2]], [], [[0, 0, 0]]],
            "point_labels": [[1], [], [0]],
        },
        "crop": {"boxes": [[5, 6, 1, 14, 12, 8], [40, 30, 0, 50, 41, 9]], "detail": "crop", "axis": 0},
        "crop_1": {"boxes": [[5, 6, 1, 14, 12, 8], [40, 30, 0, 50, 41, 9]], "detail": "crop", "axis": 1},
        "crop_all": {"boxes": [[5, 6, 1, 14, 12, 8], [40, 30, 0, 50, 41, 9]], "detail": "crop", "axis": "all"},
        "stop": {"boxes": boxes, "stop_when_empty": True, "streams": 4},
    }
    for name, own in given.items():
        yield f"volume_{name}", "prompted", volume, {"volume": True, **own}, {}
    yield "volume_none", "tiny", volume, {"volume": True, "boxes": []}, {}
    yield "volume_ct", "tiny", (volume * 5.5 - 1050).astype(np.int16), {"volume": True, "boxes": boxes}, {}
    yield "volume_class", "classes", volume, {"volume": True, "boxes": boxes}, {}
    yield "volume_mr", "tiny", volume.astype(np.float32) * 3.7, {"volume": True, "boxes": boxes, "modality": "MR"}, {}
    drawn = phantom_volume("CT", (14, 96, 112), objects=3)
    scan = {"volume": True, "modality": "CT", "boxes": drawn.boxes}
    for axis in (0, 1, 2, "all"):
        yield f"volume_{axis}", "packaged", drawn.image, {**scan, "axis": axis}, {}
    options: dict[str, dict[str, Any]] = {
        "streams": {"streams": 3},
        "no_streams": {"streams": 0},
        "crop": {"detail": "crop"},
        "stop": {"stop_when_empty": True},
        "bone": {"window": "bone"},
    }
    for name, own in options.items():
        yield f"volume_{name}", "packaged", drawn.image, {**scan, **own}, {}
    yield from followed(drawn.image, np.asarray(drawn.boxes), drawn.labels)


def followed(image: npt.NDArray[Any], boxes: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Iterator[Given]:
    """Boxes on one slice, clicks, masks."""
    begin = {"volume": True, "modality": "CT"}
    middle = ((boxes[:, 2] + boxes[:, 5]) // 2)[:, None]
    flat = np.concatenate([boxes[:, :2], middle, boxes[:, 3:5], middle + 1], axis=1)
    yield "follow", "packaged", image, {**begin, "boxes": flat, "follow": True}, {}
    x, y = (boxes[0, 0] + boxes[0, 3]) / 2, (boxes[0, 1] + boxes[0, 4]) / 2
    z = float(middle[0, 0])
    rest: list[Any] = [[] for _ in boxes[1:]]
    clicks = {"points": [[[x, y, z], [2, 2, z + 1]], *rest], "point_labels": [[1, 0], *rest]}
    yield "follow_clicks", "packaged", image, {**begin, "points": clicks["points"][:1], "point_labels": [[1, 0]]}, {}
    yield "volume_clicks", "packaged", image, {**begin, "boxes": boxes, **clicks}, {}
    yield "volume_refined", "packaged", image, {**begin, "boxes": boxes}, clicks
    yield "volume_refined_all", "packaged", image, {**begin, "boxes": boxes, "axis": "all"}, clicks
    yield "volume_refined_masks", "packaged", image, {**begin, "boxes": boxes, "keep_logits": False}, clicks
    masks = np.stack([labels == value for value in range(1, len(boxes) + 1)])
    shown = masks & (np.arange(image.shape[0])[:, None, None] % 3 == 0)
    yield "volume_prior", "packaged", image, {**begin, "boxes": boxes, "prior": shown}, {}
    yield "volume_prior_1", "packaged", image, {**begin, "boxes": boxes, "prior": shown, "axis": 1}, {}
