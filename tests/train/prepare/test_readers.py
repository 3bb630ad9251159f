from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge.phantom import phantom_volume
from tests.train.prepare.folders import picture, reasons, report_of, run, volume


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """One good picture among many sources that are not."""
    root = tmp_path / "in"
    for name in ("good", "no_picture", "no_mask", "no_image", "sizes", "color_mask"):
        picture(root, f"US/a/{name}")
    (root / "US/a/images/no_picture.png").write_bytes(b"no picture")
    (root / "US/a/masks/no_mask.png").unlink()
    (root / "US/a/images/no_image.png").unlink()
    (root / "US/a/images/notes.txt").write_text("not an image")
    cv2.imwrite(str(root / "US/a/images/sizes.png"), np.zeros((64, 65), np.uint8))
    cv2.imwrite(str(root / "US/a/masks/color_mask.png"), np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    ct = phantom_volume("CT", (8, 64, 64))
    for name in ("cut", "sizes", "flipped", "negative", "alone"):
        volume(root / "CT" / f"{name}_image.nii.gz", ct.image)
        volume(root / "CT" / f"{name}_label.nii.gz", ct.labels)
    (root / "CT/alone_label.nii.gz").unlink()
    content = (root / "CT/cut_image.nii.gz").read_bytes()
    (root / "CT/cut_image.nii.gz").write_bytes(content[: len(content) // 2])
    for part, array in (("image", ct.image), ("label", ct.labels)):
        volume(root / f"CT/short_{part}.nii", array)
    os.truncate(root / "CT/short_image.nii", 65388)
    volume(root / "CT/sizes_label.nii.gz", ct.labels[:, :-1])
    volume(root / "CT/negative_label.nii.gz", -ct.labels.astype(np.int16))
    labels = sitk.GetImageFromArray(ct.labels)
    labels.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(labels, str(root / "CT/flipped_label.nii.gz"))
    np.savez(root / "CT" / "no_labels.npz", imgs=ct.image)
    np.savez(root / "CT" / "pickle.npz", imgs=np.zeros((4, 4)), gts=np.array([[{}]], dtype=object))
    np.savez(root / "CT" / "nan.npz", imgs=np.full((4, 4), np.nan), gts=np.ones((4, 4), np.uint8))
    np.savez(root / "CT" / "rgba.npz", imgs=np.ones((4, 4, 4), np.uint8), gts=np.ones((4, 4), np.uint8))
    (root / "CT" / "empty.npz").write_bytes(b"")
    bomb(root / "CT" / "bomb.npz")
    picture(root, "Somewhere/b/x")
    return root


def bomb(path: Path) -> None:
    """A header that promises a terabyte."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1048576, 1048576), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("imgs", "gts"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


REASONS = {
    "US/a/images/no_picture.png": "cannot read no_picture.png",
    "US/a/images/no_mask.png": "no labels found",
    "US/a/masks/no_image.png": "no image found",
    "US/a/images/sizes.png": "image is (64, 65), its labels (64, 64)",
    "US/a/images/color_mask.png": "one value a pixel",
    "CT/cut_image.nii.gz": "cut_image.nii.gz is cut: its packed values have no end",
    "CT/short_image.nii": "expected 65888 bytes, found 65388",  # 352 of header, 8 · 64 · 64 · 2 of values
    "CT/sizes_image.nii.gz": "image is (8, 64, 64), its labels (8, 63, 64)",
    "CT/negative_image.nii.gz": "expected 0 to 65535, got -",
    "CT/flipped_image.nii.gz": "different axis directions",
    "CT/alone_image.nii.gz": "no labels found",
    "CT/no_labels.npz": "expected an array 'gts' in no_labels.npz, found imgs.npy",
    "CT/pickle.npz": "pickle.npz holds Python objects, which are not read",
    "CT/nan.npz": "NaN",
    "CT/rgba.npz": "image is (4, 4, 4), its labels (4, 4)",
    "CT/empty.npz": "cannot read empty.npz",
    "CT/bomb.npz": "more than 268435456 pixels or voxels",
    "Somewhere/b/images/x.png": "no folder is named after one",
}


def test_what_cannot_be_used_is_counted_and_named(damaged: Path, tmp_path: Path) -> None:
    assert list(run(damaged, tmp_path / "out", validation=0)) == ["train/US/a/good"]
    found = reasons(tmp_path / "out")
    assert found.keys() == REASONS.keys()
    for source, reason in REASONS.items():
        assert reason in found[source]
        assert str(tmp_path) not in found[source]  # a report can be shown around
    modalities = report_of(tmp_path / "out")["modalities"]
    assert modalities["US"]["skipped"] == 3
    assert modalities["CT"]["skipped"] == 11
    assert modalities["US"] == {"found": 1, "sampled": 1, "train": 1, "val": 0, "objects": 1, "skipped": 3}


def test_an_npz_with_a_wrong_checksum_is_skipped(tmp_path: Path) -> None:
    """Stored with a wrong checksum."""
    picture(tmp_path / "in", "US/a/x")
    stream = io.BytesIO()
    np.savez(stream, imgs=np.full((16, 16), 77, np.uint8), gts=np.full((16, 16), 55, np.uint8))
    (tmp_path / "in" / "CT_1.npz").write_bytes(stream.getvalue().replace(b"M" * 16, b"M" * 15 + b"N"))
    run(tmp_path / "in", tmp_path / "out")
    assert "cannot read CT_1.npz: Bad CRC-32" in reasons(tmp_path / "out")["CT_1.npz"]
