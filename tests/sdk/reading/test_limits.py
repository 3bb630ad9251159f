from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge.errors import ImageError, InputError
from medsam_edge.reading import limits
from medsam_edge.reading.limits import MAXIMUM_BYTES_VARIABLE, check_claim, check_size, maximum_bytes
from medsam_edge.reading.read import read_image


def test_a_whole_body_ct_is_within_the_limit_also_while_it_is_rescaled(tmp_path: Path) -> None:
    file = tmp_path / "x.nii"
    file.touch()
    size = (512, 512, 1200)
    check_size(file, size, 2)
    check_size(file, size, 2 + 4)
    check_size("the array", size)
    with pytest.raises(ImageError, match="cannot come out of its 0"):
        check_claim(file, size, 2)


def test_the_limit_is_of_bytes_and_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.nii"
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    sitk.WriteImage(image, str(file))
    for limit, fits in (("120", True), ("119", False)):
        monkeypatch.setenv(MAXIMUM_BYTES_VARIABLE, limit)
        assert maximum_bytes() == int(limit)
        if fits:
            assert read_image(file).pixels.shape == (3, 4, 5)
            continue
        message = r"size \(5, 4, 3\): 120 bytes of values, more than 119; MEDSAM_EDGE_MAXIMUM_BYTES sets another limit"
        with pytest.raises(ImageError, match=message):
            read_image(file)


def test_what_rescaling_takes_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored values of two bytes and scaled ones of four are in memory at once."""
    file = tmp_path / "x.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(file))
    raw = bytearray(file.read_bytes())
    raw[112:120] = np.array([2.0, -1024.0], "<f4").tobytes()  # scl_slope, scl_inter
    file.write_bytes(raw)
    monkeypatch.setattr(limits, "MAXIMUM_BYTES", 360)
    assert (read_image(file).pixels == -1024).all()
    monkeypatch.setattr(limits, "MAXIMUM_BYTES", 359)
    with pytest.raises(ImageError, match="360 bytes of values, more than 359"):
        read_image(file)


@pytest.mark.parametrize("text", ["0", "-1", "2G", "1e9", " ", "9" * 30])
def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(MAXIMUM_BYTES_VARIABLE, text)
    with pytest.raises(InputError, match="MEDSAM_EDGE_MAXIMUM_BYTES: expected a positive number of bytes"):
        maximum_bytes()
