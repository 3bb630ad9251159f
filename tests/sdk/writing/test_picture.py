from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge.errors import ImageError
from medsam_edge.writing.picture import write_picture
from tests.sdk.reading.crafted import RGB


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 70000, 3), np.uint8), r"no \.jpg of shape \(2, 70000, 3\)"),
        (np.full((4, 5), 300, np.uint16), "expected png or tif for 16 bits"),
    ],
)
def test_an_image_that_jpg_cannot_hold_is_refused(tmp_path: Path, image: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(ImageError, match=f"^output: .*{message}"):
        write_picture(tmp_path / "x.jpg", image)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="output: cannot write"):
        write_picture(tmp_path / "file" / "x.png", RGB)
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ImageError, match=r"output: cannot write .*Is a directory"):
        write_picture(tmp_path / "x.png", RGB)
    with pytest.raises(ImageError, match=r"output: cannot write .*null"):
        write_picture(tmp_path / "\0.png", RGB)
    assert {file.name for file in tmp_path.iterdir()} == {"file", "x.png"}
