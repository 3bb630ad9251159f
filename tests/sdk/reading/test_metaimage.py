from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medsam_edge.errors import ImageError
from medsam_edge.reading.read import read_image
from tests.sdk.reading.crafted import (
    META,
    VOLUME,
)


def mhd(folder: Path, values: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "x.mhd").write_bytes(META + f"ElementDataFile = {values}\n".encode())
    return folder / "x.mhd"


def test_values_must_lie_in_the_folder_of_their_header(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("in/x.raw", "in/two words.raw", "out.raw"):
        (tmp_path / name).write_bytes(VOLUME.tobytes())
    for name in ("x.raw", "./x.raw", "two words.raw"):
        np.testing.assert_array_equal(read_image(mhd(tmp_path / "in", name)).pixels, VOLUME)
    (tmp_path / "in/link.raw").symlink_to(tmp_path / "out.raw")
    for name in (
        "../out.raw",
        str(tmp_path / "out.raw"),
        "link.raw",
        "LIST",
        "x%d.raw 1 4 1",
        "/dev/zero",
        "../in/../out.raw",
    ):
        with pytest.raises(ImageError, match="in the folder of"):
            read_image(mhd(tmp_path / "in", name))
    with pytest.raises(ImageError, match=r"a missing file of values: none\.raw"):
        read_image(mhd(tmp_path / "in", "none.raw"))
    (tmp_path / "in/x.raw").write_bytes(VOLUME.tobytes()[:-1])
    with pytest.raises(ImageError, match="is cut: expected 336 bytes, found 335"):
        read_image(mhd(tmp_path / "in", "x.raw"))
