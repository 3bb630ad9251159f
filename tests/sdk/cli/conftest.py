"""An image and a volume on disk, for the tests of the command."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import SimpleITK as sitk

from medsam_edge.phantom import phantom, phantom_volume


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "lesion.png"
    cv2.imwrite(str(path), cv2.cvtColor(phantom("Dermoscopy").image, cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = sitk.GetImageFromArray(phantom_volume("CT", (8, 64, 64), objects=2).image)
    image.SetSpacing((0.5, 0.75, 3.0))
    path = tmp_path_factory.mktemp("volumes") / "ct.nii.gz"
    sitk.WriteImage(image, str(path))
    return path
