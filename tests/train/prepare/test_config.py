from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medsam_edge.errors import InputError, ModalityError
from medsam_edge.modality import Modality
from medsam_edge_train.prepare.config import PROTOCOLS, PrepareConfig, fractions_of


@pytest.mark.parametrize(
    ("fractions", "ct", "mr"),
    [
        ("all", 1.0, 1.0),
        ("class-prompt", 0.02, 0.1),
        ("rep-medsam", 0.2, 1.0),
        ("CT=0.5,mri=0.25", 0.5, 0.25),
        ("0.05", 0.05, 0.05),
        ({"CT": 0.5}, 0.5, 1.0),
    ],
)
def test_fractions_are_names_numbers_or_lists(fractions: Any, ct: float, mr: float) -> None:
    parsed = fractions_of(fractions)
    assert (parsed.get(Modality.CT, 1.0), parsed.get(Modality.MR, 1.0)) == (ct, mr)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sources": ()}, "sources"),
        ({"sources": "data"}, "sources"),
        ({"image_size": 0}, "image_size"),
        ({"jpeg": 101}, "jpeg: expected a quality of 1 to 100, or 0 for png, got 101"),
        ({"jpeg": -1}, "jpeg"),
        ({"interval": 0}, "interval"),
        ({"workers": 0}, "workers"),
        ({"shard_images": 0}, "shard_images"),
        ({"minimum_pixels": -1}, "minimum_pixels"),
        ({"minimum_voxels": -1}, "minimum_voxels"),
        ({"validation": 1.0}, "validation"),
        ({"validation": float("nan")}, "validation"),
        ({"window": (40,)}, "window"),
        ({"window": (40, 0)}, "window"),
        ({"patient_pattern": "("}, "patient_pattern"),
        ({"patient_pattern": "a+"}, "patient_pattern: expected a group"),
        ({"fractions": "some"}, "fractions: expected all, class-prompt, rep-medsam, a number or"),
        ({"fractions": "CT=0"}, "fractions"),
        ({"fractions": {"CT": 1.5}}, "fractions"),
        ({"fractions": "Scan=0.5"}, "'Scan'"),
        ({"modality": "Scan"}, "'Scan'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PrepareConfig(**{"sources": (Path("in"),), "output": Path("out"), **settings})


def test_the_published_protocols_are_complete() -> None:
    assert set(PROTOCOLS["class-prompt"]) == set(Modality)
    with pytest.raises(ModalityError):
        fractions_of({"Scan": 0.5})
