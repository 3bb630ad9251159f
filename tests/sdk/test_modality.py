from __future__ import annotations

import pytest

from medsam_edge.errors import InputError, ModalityError
from medsam_edge.modality import Modality

NAMES = ("CT", "MR", "PET", "US", "XRay", "Dermoscopy", "Endoscopy", "Fundus", "Microscopy", "OCT", "Mammography")


def test_there_are_eleven_modalities() -> None:
    assert tuple(modality.value for modality in Modality) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parses_its_own_names_in_any_case(name: str) -> None:
    expected = Modality(name)
    assert Modality.parse(name) is expected
    assert Modality.parse(name.lower()) is expected
    assert Modality.parse(name.upper()) is expected
    assert Modality.parse(expected) is expected
    assert str(expected) == name


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("MRI", Modality.MR),
        ("ultrasound", Modality.US),
        ("Sonography", Modality.US),
        ("X-Ray", Modality.XRAY),
        ("x ray", Modality.XRAY),
        ("X_RAY", Modality.XRAY),
        ("CR", Modality.XRAY),
        ("dx", Modality.XRAY),
        ("radiography", Modality.XRAY),
        ("PT", Modality.PET),
        ("mammo", Modality.MAMMOGRAPHY),
        ("CXR", Modality.XRAY),
        ("chest X-ray", Modality.XRAY),
        ("dermatoscopy", Modality.DERMOSCOPY),
        ("WSI", Modality.MICROSCOPY),
        ("whole-slide image", Modality.MICROSCOPY),
        ("H&E", Modality.MICROSCOPY),
        ("CT scan", Modality.CT),
        ("T2-w", Modality.MR),
        ("FFDM", Modality.MAMMOGRAPHY),
        ("colour fundus", Modality.FUNDUS),
        ("MG", Modality.MAMMOGRAPHY),
        ("Microscope", Modality.MICROSCOPY),
        ("histology", Modality.MICROSCOPY),
        ("pathology", Modality.MICROSCOPY),
        ("SM", Modality.MICROSCOPY),
        ("dermatology", Modality.DERMOSCOPY),
        ("skin", Modality.DERMOSCOPY),
        ("colonoscopy", Modality.ENDOSCOPY),
        ("ES", Modality.ENDOSCOPY),
        ("OP", Modality.FUNDUS),
        ("retina", Modality.FUNDUS),
        ("OPT", Modality.OCT),
    ],
)
def test_aliases_are_parsed(alias: str, expected: Modality) -> None:
    assert Modality.parse(alias) is expected


def test_none_stays_none() -> None:
    assert Modality.parse(None) is None


@pytest.mark.parametrize("name", ["", " ", "-", "CTX", "scan", "C.T.film", "0"])
def test_unknown_names_are_refused_by_name(name: str) -> None:
    with pytest.raises(ModalityError, match=r"modality: expected one of CT, MR, .* got") as caught:
        Modality.parse(name)
    assert repr(name) in str(caught.value)
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, ValueError)


def test_a_name_that_is_not_text_is_refused() -> None:
    with pytest.raises(ModalityError, match="got 3"):
        Modality.parse(3)  # type: ignore[arg-type]


def test_four_modalities_are_in_colour() -> None:
    color = {modality for modality in Modality if modality.is_color}
    assert color == {Modality.DERMOSCOPY, Modality.ENDOSCOPY, Modality.FUNDUS, Modality.MICROSCOPY}
