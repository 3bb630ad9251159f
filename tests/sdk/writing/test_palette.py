from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from medsam_edge.errors import ImageError
from medsam_edge.reading.read import read_image
from medsam_edge.writing.labels import write_labels
from medsam_edge.writing.palette import colors
from tests.sdk.dicoms import series, slices

LABELS = np.arange(256, dtype=np.uint16).reshape(8, 32)


def test_a_png_shows_objects_in_colours_and_holds_their_numbers(tmp_path: Path) -> None:
    write_labels(tmp_path / "x.png", LABELS, None)
    loaded = read_image(tmp_path / "x.png")
    assert (loaded.pixels == LABELS).all()
    assert loaded.color is False
    seen = cv2.cvtColor(cv2.imread(str(tmp_path / "x.png")), cv2.COLOR_BGR2RGB)
    assert (seen == colors()[LABELS]).all()
    assert len(np.unique(colors(), axis=0)) == 256
    assert not colors()[0].any()
    assert colors()[1:].max(axis=1).min() > 150  # none as dark as the background
    write_labels(tmp_path / "many.png", LABELS + 1, None)
    assert (cv2.imread(str(tmp_path / "many.png"), cv2.IMREAD_UNCHANGED) == LABELS + 1).all()


def test_a_damaged_label_map_is_refused(tmp_path: Path) -> None:
    write_labels(tmp_path / "x.png", LABELS, None)
    whole = (tmp_path / "x.png").read_bytes()
    for end in (len(whole) - 30, len(whole) - 400, 80):
        (tmp_path / "x.png").write_bytes(whole[:end])
        with pytest.raises(ImageError, match=r"cut|damaged"):
            read_image(tmp_path / "x.png")
    changed = bytearray(whole)
    changed[-40] ^= 1
    (tmp_path / "x.png").write_bytes(changed)
    with pytest.raises(ImageError, match="the checksum of its values differs"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("name", "value"), [("x.png", 255), ("x.bmp", 255), ("x.tif", 255), ("x.npz", 1), ("x.nii", 1)]
)
def test_binary_is_one_object(tmp_path: Path, name: str, value: int) -> None:
    write_labels(tmp_path / name, LABELS + 300 * (LABELS > 9), None, binary=True)
    if name.endswith(".npz"):
        with np.load(tmp_path / name) as arrays:
            found = arrays["segs"]
    elif name.endswith(".nii"):
        found = read_image(tmp_path / name).pixels
    else:
        found = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
    assert (found == value * (LABELS > 0)).all()


def test_binary_is_one_segment(tmp_path: Path) -> None:
    frame = read_image(series(tmp_path / "series", slices())).frame
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[0, 0, 0], labels[1, 1, 1] = 1, 2
    write_labels(tmp_path / "x.dcm", labels, frame, binary=True)
    assert len(pydicom.dcmread(tmp_path / "x.dcm").SegmentSequence) == 1
