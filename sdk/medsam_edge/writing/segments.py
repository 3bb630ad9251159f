"""What the objects of a label map are called, and their SNOMED CT codes in a DICOM SEG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from medsam_edge.errors import InputError

STRUCTURE = ("91723000", "SCT", "Anatomical Structure")
ABNORMAL = ("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = ("85756007", "SCT", "Tissue")
ORGANS = {
    "adrenal gland": "23451007", "aorta": "15825003", "bladder": "89837001", "bone": "272673000", "brain": "12738006",
    "breast": "76752008", "colon": "71854001", "duodenum": "38848004", "esophagus": "32849002", "eye": "81745001",
    "gallbladder": "28231008", "heart": "80891009", "inferior vena cava": "64131007", "kidney": "64033007",
    "left ventricle": "87878005", "liver": "10200004", "lung": "39607008", "lymph node": "59441001",
    "pancreas": "15776009", "prostate": "41216001", "rectum": "34402009", "skin": "39937001",
    "small intestine": "30315005", "spinal cord": "2748008", "spleen": "78961009", "stomach": "69695003",
    "thyroid": "69748006", "trachea": "44567001", "uterus": "35039007",
}  # fmt: skip
LESIONS = {
    "cyst": "367643001", "edema": "79654002", "effusion": "41699000", "hemorrhage": "50960005", "lesion": "52988006",
    "mass": "4147007", "neoplasm": "108369006", "nodule": "27925004", "tumor": "108369006",
}  # fmt: skip
MAXIMUM_LETTERS = 64  # of a Segment Label and a code's meaning
CODE_LETTERS = 16

Label = str | tuple[str, tuple[str, str, str]]
"""A name; or a name with a code of the caller's own: value, scheme and meaning."""


class Segment(NamedTuple):
    """The name of an object, and its category and type as (value, scheme, meaning)."""

    name: str
    category: tuple[str, str, str]
    kind: tuple[str, str, str]


def named(labels: Sequence[Label] | None, count: int) -> list[Segment]:
    """Describe `count` objects; without labels they are "object 1" … of an unknown kind.

    A name of `ORGANS` or `LESIONS` gets its SNOMED CT code, capital letters or not, with left or right before it or not
    (the code is that of both sides). Others are Tissue, DICOM's code for a structure of unknown kind, unless the caller
    gives a code. InputError for anything else.
    """
    if labels is None:
        labels = [f"object {number}" for number in range(1, count + 1)]
    if isinstance(labels, str) or not isinstance(labels, Sequence) or len(labels) != count:
        size = f"{len(labels)}" if isinstance(labels, Sequence) else type(labels).__name__
        raise InputError(f"labels: expected a list with a name for each of {count} objects, got {size}")
    return [_segment(label, number) for number, label in enumerate(labels)]


def _segment(label: Any, number: int) -> Segment:
    name, code = (label, None) if isinstance(label, str) else label if _is_pair(label) else (None, None)
    own = code is None or (
        len(code) == 3
        and all(isinstance(part, str) and part for part in code)
        and max(len(code[0]), len(code[1])) <= CODE_LETTERS
        and len(code[2]) <= MAXIMUM_LETTERS
    )
    if (
        not isinstance(name, str)
        or not 0 < len(name.strip()) <= MAXIMUM_LETTERS
        or "\\" in name
        or not own
        or not _printable(label)
    ):
        raise InputError(
            f"labels[{number}]: expected a name of up to {MAXIMUM_LETTERS} letters, or "
            f"(name, (code value, scheme, meaning)), got {label!r}"
        )
    key = name.strip().lower()
    if key not in ORGANS:
        key = key.removeprefix("left ").removeprefix("right ")
    if code is not None:
        return Segment(name, STRUCTURE, (code[0], code[1], code[2]))
    for known, category in ((ORGANS, STRUCTURE), (LESIONS, ABNORMAL)):
        if key in known:
            return Segment(name, category, (known[key], "SCT", key.capitalize()))
    return Segment(name, TISSUE, TISSUE)


def _printable(label: Any) -> bool:
    """Whether all its texts are free of line breaks and other signs that DICOM does not allow."""
    return label.isprintable() if isinstance(label, str) else all(map(_printable, label))


def _is_pair(label: Any) -> bool:
    return isinstance(label, (tuple, list)) and len(label) == 2 and isinstance(label[1], (tuple, list))
