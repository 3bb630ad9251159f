"""Files of boxes: rows of numbers, tables whose header names the columns, and what annotation tools write as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import numpy as np

from medsam_edge.boxes import corners_of
from medsam_edge.errors import BoxError, warn

COLUMNS = {
    "xyxy": (
        "x0 y0 x1 y1",
        "x1 y1 x2 y2",
        "xmin ymin xmax ymax",
        "minx miny maxx maxy",
        "mincol minrow maxcol maxrow",
        "bbox1 bbox0 bbox3 bbox2",  # of scikit-image, rows first
        "left top right bottom",
        "xtl ytl xbr ybr",
        "x0 y0 z0 x1 y1 z1",
        "x1 y1 z1 x2 y2 z2",
        "xmin ymin zmin xmax ymax zmax",
        "minx miny minz maxx maxy maxz",
    ),
    "xywh": (
        "x y width height",
        "x y w h",
        "x1 y1 width height",
        "x1 y1 w h",
        "x0 y0 width height",
        "x0 y0 w h",
        "xmin ymin width height",
        "xmin ymin w h",
        "left top width height",
        "left top w h",
        "bx by width height",
        "x y z width height depth",
        "x y z w h d",
    ),
    "cxcywh": (
        "cx cy w h",
        "cx cy width height",
        "xcenter ycenter width height",
        "xcenter ycenter w h",
        "centerx centery width height",
        "xc yc w h",
        "cx cy cz w h d",
    ),
}
"""Names of the columns of each format, in lower case and of letters and digits alone."""
UNSAID = "of no known format"
IMAGE_COLUMNS = ("image", "imageid", "imagename", "imagepath", "file", "filename", "filepath", "path")
BOX_KEYS = ("bbox", "box", "boundingbox", "rect", "shapeattributes", "regionshapeattributes")
OUTLINES = ("rectangle", "polygon")
FORMS = (
    "rows of four or six numbers, a list of objects with x, y, width, height or xmin, ymin, xmax, ymax, COCO, LabelMe, "
    "or GeoJSON"
)


@dataclass(frozen=True)
class Found:
    """A box as its file has it: its format, None for plain rows, UNSAID where tools differ; the image that it is of.

    Without numbers it says that the file knows the image, which may have no box.
    """

    numbers: Sequence[Any]
    form: str | None = None
    image: str | None = None


def read_boxes(path: Path, image: Path, box_format: str | None = None, last_slice: bool = False) -> list[list[float]]:
    """Read boxes as corners, far edges exclusive.

    Args:
        path: .json, else a table: numbers separated by commas, semicolons, tabs or spaces, with or without a header.
        image: a file of several images is read for this one.
        box_format: of boxes whose file does not say; None for `xyxy`.
        last_slice: whether the far edge of a volume's box is its last slice, as with `compat`.

    Raises:
        BoxError: unreadable, of another form, of columns that are not known, of another format than `box_format`, or
            of other images.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()  # some programs write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise BoxError(f"--boxes: cannot read {path}: {error}") from error
    try:
        found = list(_of_json(json.loads(text or "[]")) if path.suffix.lower() == ".json" else _of_table(text))
        rows = [(box, [_number(value) for value in box.numbers]) for box in _of_image(found, image, path)]
    except BoxError as error:
        raise BoxError(f"--boxes: {path}: {error}") from error
    except (TypeError, ValueError, OverflowError, RecursionError, AttributeError, KeyError) as error:
        raise BoxError(f"--boxes: expected {FORMS} in {path}: {error}") from error
    if not rows:
        warn(f"--boxes: {path} holds no boxes")
    return [_corners(number, box, row, box_format, last_slice, path) for number, (box, row) in enumerate(rows)]


def _corners(
    number: int, box: Found, row: list[float], wanted: str | None, last_slice: bool, path: Path
) -> list[float]:
    if len(row) not in (4, 6):
        raise BoxError(f"--boxes: expected four or six numbers a row in {path}, row {number} has {len(row)}")
    if box.form == UNSAID and not wanted:
        raise BoxError(f"--boxes: {path} does not say what its numbers are; expected --box-format {', '.join(COLUMNS)}")
    if box.form in COLUMNS and wanted and box.form != wanted:
        raise BoxError(f"--boxes: {path} says that its boxes are {box.form}, got --box-format {wanted}")
    form = wanted or box.form or "xyxy"
    if len(row) == 6 and last_slice and form != "xyxy":
        raise BoxError(f"--boxes: expected corners, as --compat takes the last slice, {path} has {form}")
    try:
        return list(np.asarray(corners_of([row], form)).tolist()[0])
    except BoxError as error:
        raise BoxError(f"--boxes: {path}, row {number}: {error}") from error


def _of_image(found: list[Found], image: Path, path: Path) -> list[Found]:
    """The boxes of an image, where the file names the images that its boxes are of."""
    mine = [box for box in found if box.image is not None and _stem(box.image) == _stem(image.name)]
    found = [box for box in mine or found if box.numbers]
    names = {box.image for box in found}
    if mine or names <= {None}:
        return found
    if len(names) > 1:
        raise BoxError(f"expected boxes of {image.name}, it has those of {len(names)} images")
    if not str(name := names.pop()).isdigit():  # a number says nothing
        warn(f"--boxes: {path} names {name} as its image, not {image.name}")
    return found


def _stem(name: str) -> str:
    """A file's name without folders, of any system, and without its suffix."""
    plain = PurePath(PureWindowsPath(name).name).name.casefold()
    return plain.removesuffix(".gz").rpartition(".")[0] or plain


def _of_table(text: str) -> Iterator[Found]:
    lines = text.splitlines()
    delimiter = next((sign for sign in ";\t," if lines and sign in lines[0]), " ")
    rows = [row for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True) if any(map(str.strip, row))]
    if not rows or all(map(_is_number, rows[0])):
        yield from (Found(row) for row in rows)
        return
    header = rows[0]
    if any(_is_number(cell.replace(",", ".")) for cell in header):
        raise BoxError(f"expected numbers with decimal points alone, or a header, first, got {lines[0]!r:.80}")
    if len(rows) == 1 and _format_of(dict.fromkeys(header)) is None:
        raise BoxError(f"expected rows of numbers, got {lines[0]!r:.80} alone")
    for number, row in enumerate(rows[1:]):
        if len(row) != len(header):
            raise BoxError(f"expected {len(header)} cells a row, as in its header, row {number} has {len(row)}")
        yield _named(dict(zip(header, row, strict=True)))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(f"expected a number, got {value}")
    return float(value)


def _of_json(value: Any) -> Iterator[Found]:
    if (
        isinstance(value, list)
        and len(value) in (4, 6)
        and not any(isinstance(item, (list, Mapping)) for item in value)
    ):
        yield Found(value)  # one box
    elif isinstance(value, Mapping):
        yield from _of_object(value)
    elif not isinstance(value, list):
        raise BoxError(f"expected {FORMS}, got {value!r:.60}")
    elif value and all(isinstance(item, Mapping) for item in value):
        yield from map(_feature if "geometry" in value[0] else _named, value)
    else:
        yield from map(Found, value)


def _of_object(value: Mapping[str, Any]) -> Iterator[Found]:
    """What tools write as one object: told by its keys."""
    if not value:
        return
    if "annotations" in value and "images" in value:  # COCO
        names = {image["id"]: str(image["file_name"]) for image in value["images"]}
        yield from (Found((), image=name) for name in names.values())
        for item in value["annotations"]:
            yield Found(item["bbox"], "xywh", names[item["image_id"]])
    elif "_via_img_metadata" in value:  # a project of VGG Image Annotator
        yield from _of_object(value["_via_img_metadata"])
    elif "shapes" in value:  # LabelMe
        for shape in value["shapes"]:
            yield _outline(shape["points"], shape.get("shape_type", "polygon"), value.get("imagePath"))
    elif value.get("type") == "FeatureCollection":  # GeoJSON, as QuPath writes it
        yield from map(_feature, value["features"])
    elif "objects" in value:  # as `medsam-edge segment --json` prints it
        for item in value["objects"]:
            yield Found(item["box"], "xyxy")
    elif "boxes" in value and isinstance(value["boxes"], list):
        yield from _of_json(value["boxes"])
    elif all(isinstance(item, Mapping) and "regions" in item for item in value.values()):  # VGG Image Annotator
        for item in value.values():
            regions, name = item["regions"], item.get("filename")
            yield Found((), image=name)
            for region in regions.values() if isinstance(regions, Mapping) else regions:
                yield replace(_named(region), image=name)
    elif _format_of(value):
        yield _named(value)
    else:
        raise BoxError(f"expected {FORMS}, got an object with {', '.join(map(str, list(value)[:8]))}")


def _feature(feature: Mapping[str, Any]) -> Found:
    geometry = feature["geometry"]
    return _outline(geometry["coordinates"][0], geometry["type"].lower(), None)


def _outline(points: Sequence[Sequence[float]], kind: str, image: str | None) -> Found:
    """The box around a rectangle, given by two corners or four, or around a polygon."""
    if kind == "circle":  # its middle, and a point on it
        (x, y), (on_x, on_y) = np.asarray(points, dtype=np.float64)
        radius = float(np.hypot(on_x - x, on_y - y))
        return Found((x - radius, y - radius, x + radius, y + radius), "xyxy", image)
    if kind not in OUTLINES:
        raise BoxError(f"expected shapes {', '.join(OUTLINES)} or circle, got {kind}")
    array = np.asarray(points, dtype=np.float64).reshape(len(points), 2)
    return Found([*array.min(axis=0).tolist(), *array.max(axis=0).tolist()], "xyxy", image)


def _named(values: Mapping[str, Any]) -> Found:
    """A box whose numbers have names, among other values."""
    keys = {_key(name): value for name, value in values.items()}
    image = next((str(keys[name]) for name in IMAGE_COLUMNS if name in keys), None)
    if "originalwidth" in keys or "rotation" in keys:
        return replace(_of_label_studio(keys), image=image)
    if "allpointsx" in keys:  # a polygon of VGG Image Annotator
        return _outline(list(zip(keys["allpointsx"], keys["allpointsy"], strict=True)), "polygon", image)
    radii = [keys.get(name, keys.get("r")) for name in ("rx", "ry")]
    if "cx" in keys and "cy" in keys and None not in radii:  # its circles and ellipses
        return Found([keys["cx"], keys["cy"], *(2 * _number(radius) for radius in radii)], "cxcywh", image)
    if (form := _format_of(values)) is not None:
        box_format, names = form
        return Found([keys[name] for name in names], box_format, image)
    inside = next((keys[name] for name in BOX_KEYS if name in keys), None)
    if isinstance(inside, str):  # VGG Image Annotator's tables
        inside = json.loads(inside)
    if isinstance(inside, Mapping):
        return replace(_named(inside), image=image)
    if isinstance(inside, list):
        is_coco = "bbox" in keys and "categoryid" in keys
        mode = keys.get("mode", 1 if is_coco else None)  # Detectron2's
        return Found(inside, "xyxy" if mode == 0 else "xywh" if mode == 1 else UNSAID, image)
    known = "; ".join(", ".join(names[0].split()) for names in COLUMNS.values())
    raise BoxError(f"expected columns such as {known}, got {', '.join(map(str, values))}")


def _of_label_studio(keys: Mapping[str, Any]) -> Found:
    """A box in percent of its image."""
    names = ("x", "y", "width", "height")
    if not {*names, "originalwidth", "originalheight"} <= set(keys) or _number(keys.get("rotation", 0)) != 0:
        raise BoxError("expected upright boxes with x, y, width, height, original_width and original_height")
    sides = (_number(keys["originalwidth"]), _number(keys["originalheight"])) * 2
    return Found([_number(keys[name]) * side / 100 for name, side in zip(names, sides, strict=True)], "xywh")


def _format_of(values: Mapping[str, Any]) -> tuple[str, list[str]] | None:
    """The format that the names say, and its names; None where they say none, or several."""
    keys = {_key(name) for name in values}
    found = [(form, names.split()) for form, known in COLUMNS.items() for names in known if set(names.split()) <= keys]
    longest = [pair for pair in found if len(pair[1]) == max(len(names) for _, names in found)]
    corners = [pair for pair in longest if pair[0] == "xyxy"]  # beside them, width and height are the image's
    chosen = corners or longest
    return chosen[0] if len(chosen) == 1 else None


def _key(name: str) -> str:
    key = "".join(letter for letter in str(name).casefold() if letter.isalnum())
    return key.removeprefix("bbox") if key[4:].isalpha() else key
