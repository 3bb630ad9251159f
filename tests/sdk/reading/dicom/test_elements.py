from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from medsam_edge.errors import ImageError
from medsam_edge.reading.dicom.elements import DEPTH, pixel_bytes, read_elements
from medsam_edge.reading.unreadable import as_image_error

IMPLICIT, EXPLICIT = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
BIG, DEFLATED = b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
FOREVER = 0xFFFFFFFF


def short(tag: tuple[int, int], kind: bytes, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    size = len(value) if length is None else length
    return struct.pack(f"{order}HH2sH", *tag, kind, size) + value


def long(tag: tuple[int, int], kind: bytes, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HH2sHI", *tag, kind, 0, len(value) if length is None else length) + value


def plain(tag: tuple[int, int], value: bytes, length: int | None = None) -> bytes:
    """Without a type: implicit elements, items and marks."""
    return struct.pack("<HHI", *tag, len(value) if length is None else length) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return plain((0xFFFE, 0xE000), value, length)


ITEM_END, SEQUENCE_END = plain((0xFFFE, 0xE00D), b""), plain((0xFFFE, 0xE0DD), b"")
NAME = short((0x0010, 0x0010), b"PN", b"A^B ")


def check(folder: Path, elements: bytes, syntax: bytes = EXPLICIT) -> None:
    meta = short((2, 0x0010), b"UI", syntax + b"\0" * (len(syntax) % 2))
    (folder / "x.dcm").write_bytes(bytes(128) + b"DICM" + meta + elements)
    check_file(folder / "x.dcm")


def check_file(file: Path) -> None:
    with as_image_error(file):
        read_elements(file)


def test_whole_elements_pass(tmp_path: Path) -> None:
    pixels = long((0x7FE0, 0x0010), b"OW", bytes(8))
    packed = long((0x7FE0, 0x0010), b"OB", item(b"") + item(bytes(6)) + SEQUENCE_END, FOREVER)
    known = long((8, 0x1140), b"SQ", item(NAME) + item(NAME + ITEM_END, FOREVER))
    open_ended = long((8, 0x1140), b"SQ", item(NAME) + SEQUENCE_END, FOREVER)
    private = long((9, 0x1001), b"UN", item(plain((0x0010, 0x0010), b"A^B ")) + SEQUENCE_END, FOREVER)
    for elements in (b"", NAME, NAME + pixels, known + open_ended + private + packed):
        check(tmp_path, elements)
    check(tmp_path, plain((0x0010, 0x0010), b"A^B ") + plain((8, 0x1140), item(plain((0x0010, 0x0010), b""))), IMPLICIT)
    check(tmp_path, short((0x0010, 0x0010), b"PN", b"A^B ", order=">"), BIG)
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    check(tmp_path, deflating.compress(NAME + pixels) + deflating.flush(), DEFLATED)
    (tmp_path / "bare.dcm").write_bytes(plain((8, 0x0016), b"1.2.3\0") + plain((0x0010, 0x0010), b""))
    check_file(tmp_path / "bare.dcm")


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        (short((0x0010, 0x0010), b"PN", b"A^B ", length=6), r"\(0010,0010\) is to have 6 bytes, 4 are left"),
        (
            long((0x7FE0, 0x0010), b"OW", bytes(8), length=0xFFFFFFF0),
            r"\(7fe0,0010\) is to have 4294967280 bytes, 8 are",
        ),
        (long((0x7FE0, 0x0010), b"OB", item(bytes(6), 0x7FFFFFFF), FOREVER), "is to have 2147483647 bytes, 6 are left"),
        (long((0x7FE0, 0x0010), b"OB", item(b"", FOREVER), FOREVER), "no item, or for pixels none of known length"),
        (long((8, 0x1140), b"SQ", item(NAME[:-2] + b"", 12)), "is to have 12 bytes, 10 are left"),
        (long((8, 0x1140), b"SQ", NAME, FOREVER), "it has no item, or"),
        (short((0x0010, 0x0010), b"ZQ", b"A^B "), "has no known type at byte .*, or is not encoded as it says"),
        (NAME + b"\x10\x00", "ends within a data element"),
        (NAME + long((8, 0x1140), b"SQ", b"", 0)[:-4], "ends within a data element"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, elements: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=rf"image: cannot read .*x\.dcm: .*{reason}"):
        check(tmp_path, elements)


def test_sequences_in_sequences_end_somewhere(tmp_path: Path) -> None:
    def nested(times: int) -> bytes:
        return long((8, 0x1140), b"SQ", item(nested(times - 1))) if times else NAME

    check(tmp_path, nested(DEPTH))
    with pytest.raises(ImageError, match=f"more than {DEPTH} sequences"):
        check(tmp_path, nested(DEPTH + 1))


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsam_edge.reading.dicom.elements.MAXIMUM_BYTES", 5000)
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    with pytest.raises(ImageError, match="unpacks to more than 5000 bytes"):
        check(tmp_path, deflating.compress(bytes(9000)) + deflating.flush(), DEFLATED)
    with pytest.raises(ImageError, match=r"x\.dcm: Error -3 while decompressing"):
        check(tmp_path, b"\xff" * 9, DEFLATED)


def test_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"")
    with pytest.raises(ImageError, match="too short"):
        check_file(tmp_path / "x.dcm")


PIXELS = long((0x7FE0, 0x0010), b"OW", bytes(8))


@pytest.mark.parametrize("tail", [bytes(2), bytes(8), bytes(512), b"\r\n", b"\x1a", NAME[:-1], b"\xff" * 40])
def test_what_follows_the_pixels_is_not_looked_at(tmp_path: Path, tail: bytes) -> None:
    """Also where they are in items."""
    packed = long((0x7FE0, 0x0010), b"OB", item(b"") + item(b"abcdef") + SEQUENCE_END, FOREVER)
    for pixels, value in ((PIXELS, bytes(8)), (packed, item(b"") + item(b"abcdef"))):
        check(tmp_path, NAME + pixels + tail)
        assert pixels_of(tmp_path / "x.dcm") == value


def pixels_of(file: Path) -> bytes:
    parsed = read_elements(file)
    assert parsed.pixels is not None
    return pixel_bytes(file, parsed.syntax, parsed.pixels)


@pytest.mark.parametrize("length", [None, FOREVER])
@pytest.mark.parametrize("inside", [NAME, plain((0x0010, 0x0010), b"A^B ")])
def test_an_unknown_sequence_may_have_types_inside(tmp_path: Path, inside: bytes, length: int | None) -> None:
    ends = (b"", b"") if length is None else (ITEM_END, SEQUENCE_END)
    sequence = long((9, 0x1001), b"UN", item(inside + ends[0], length) + ends[1], length)
    rows = short((0x0028, 0x0010), b"US", b"\x04\x00")
    check(tmp_path, sequence + rows + PIXELS)
    assert read_elements(tmp_path / "x.dcm").elements.Rows == 4


@pytest.mark.parametrize("missing", [b"\0\0", b"  "])
def test_an_element_may_lack_its_type(tmp_path: Path, missing: bytes) -> None:
    """Its length then takes the place of the type, as in implicit files, or stands behind the gap."""
    rows = short((0x0028, 0x0010), b"US", b"\x04\x00")
    for odd in (plain((0x0018, 0x9999), b"ab"), short((0x0018, 0x9999), missing, b"ab"), plain((8, 0x0060), b"MR")):
        check(tmp_path, NAME + odd + rows + PIXELS)
        assert read_elements(tmp_path / "x.dcm").elements.Rows == 4
    assert read_elements(tmp_path / "x.dcm").elements.Modality == "MR"
    check(tmp_path, short((8, 0x0060), missing, b"MR") + rows + PIXELS)
    assert read_elements(tmp_path / "x.dcm").elements.Modality == "MR"


def test_the_elements_tell_whether_they_have_types(tmp_path: Path) -> None:
    """Whatever the syntax says."""
    implicit = plain((0x0028, 0x0010), b"\x04\x00") + plain((0x7FE0, 0x0010), bytes(8))
    for elements, syntax in (
        (implicit, EXPLICIT),
        (short((0x0028, 0x0010), b"US", b"\x04\x00") + PIXELS, IMPLICIT),
    ):
        check(tmp_path, elements, syntax)
        assert read_elements(tmp_path / "x.dcm").elements.Rows == 4
        assert pixels_of(tmp_path / "x.dcm") == bytes(8)
