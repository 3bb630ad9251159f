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
BOX_KEYS = ("bbox", "box", "boundingbox", "rect", "shapeattributes")
OUTLINES = ("rectangle", "polygon")
FORMS = (
    "rows of four or six numbers, a list of objects with x, y, width, height or xmin, ymin, xmax, ymax, COCO, LabelMe, "
    "or GeoJSON"
)


@dataclass(frozen=True)
class Found:
    """A box as its file has it: its format, None for plain rows, UNSAID where tools differ; the image that it is of."""

    numbers: Sequence[Any]
    form: str | None = None
    image: str | None = None


def read_boxes(path: Path, image: Path, box_format: str | None = None, last_slice: bool = False) -> list[list[float]]:
    """Read boxes as corners, far edges exclusive.

    Args:
        path: .json, else a table: numbers separated by commas, semicolons or tabs, with or without a header.
        image: a file of several images is read for this one.
        box_format: of boxes whose file does not say; None for `xyxy`.
        last_slice: whether the far edge of a volume's box is its last slice, as with `compat`.

    Raises:
        BoxError: unreadable, of another form, of columns that are not known, of another format than `box_format`, or
            of other images.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some programs write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise BoxError(f"--boxes: cannot read {path}: {error}") from error
    try:
        found = list(_of_json(json.loads(text)) if path.suffix.lower() == ".json" else _of_table(text))
        rows = [(box, [float(value) for value in box.numbers]) for box in _of_image(found, image, path)]
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
    names = {box.image for box in found}
    if names <= {None}:
        return found
    mine = [box for box in found if box.image is not None and _stem(box.image) == _stem(image.name)]
    if mine:
        return mine
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
    first = next((line for line in lines if line.strip()), "")
    delimiter = next((sign for sign in ";\t" if sign in first), ",")
    rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(cell.strip() for cell in row)]
    if not rows or all(map(_is_number, rows[0])):
        yield from (Found(row) for row in rows)
        return
    header = rows[0]
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


def _of_json(value: Any) -> Iterator[Found]:
    if isinstance(value, Mapping):
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
        names = {image["id"]: image["file_name"] for image in value["images"]}
        for item in value["annotations"]:
            yield Found(item["bbox"], "xywh", str(names[item["image_id"]]))
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
            yield from (replace(_named(region), image=item.get("filename")) for region in item["regions"])
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
    if (form := _format_of(values)) is not None:
        box_format, names = form
        return Found([keys[name] for name in names], box_format, image)
    inside = next((keys[name] for name in BOX_KEYS if name in keys), None)
    if isinstance(inside, Mapping):
        return replace(_named(inside), image=image)
    if isinstance(inside, list):
        is_coco = "bbox" in keys and "categoryid" in keys
        mode = keys.get("mode", 1 if is_coco else None)  # Detectron2's
        return Found(inside, "xyxy" if mode == 0 else "xywh" if mode == 1 else UNSAID, image)
    known = "; ".join(", ".join(names[0].split()) for names in COLUMNS.values())
    raise BoxError(f"expected columns such as {known}, got {', '.join(map(str, values))}")


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
