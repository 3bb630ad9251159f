from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from medsam_edge.errors import ImageError
from medsam_edge.intensity import volume_to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom_volume
from medsam_edge.reading.read import read_image
from medsam_edge_train.data.cases import read_case
from medsam_edge_train.prepare.readers import read_labels, read_pixels, without_blurred_edges
from medsam_edge_train.prepare.sources import Pair
from tests.train.prepare.folders import dicom_series, picture, reasons, report_of, run, square, volume


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
    "CT/bomb.npz": "bytes of values, more than 2147483648",
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


def labels_of(image: Path, label: Path) -> npt.NDArray[np.uint16]:
    return read_labels(Pair(image, label, Modality.US, "a", "x", "train", "x"))


def test_dicom_series_of_mixed_slopes_are_read_as_segment_reads_them(tmp_path: Path) -> None:
    """A whole slope in the first slice made integers, zeros, of all others."""
    folder = tmp_path / "in/PET/p1"
    stored = np.stack([np.full((16, 16), 1000 * (z + 1), np.int16) for z in range(4)])
    dicom_series(folder, stored, "PT")
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        z = round(float(data.ImagePositionPatient[2]) / 2)
        data.RescaleSlope, data.RescaleIntercept = (0.00004 if z else 1), 0
        data.save_as(file)
    volume(folder / "label.nii.gz", np.zeros((4, 16, 16), np.uint8))
    label = sitk.ReadImage(str(folder / "label.nii.gz"))
    label.SetSpacing((1, 1, 2))
    sitk.WriteImage(label, str(folder / "label.nii.gz"))
    pair = Pair(folder, folder / "label.nii.gz", Modality.PET, "a", "p1", "train", "p1")
    pixels = read_pixels(pair, read_labels(pair))
    np.testing.assert_allclose(pixels[:, 0, 0], [1000, 0.08, 0.12, 0.16], rtol=1e-6)
    assert (pixels == read_image(folder).pixels).all()


def test_padding_is_black_as_segment_shows_it(tmp_path: Path) -> None:
    """Measured values 100 to 1000 and padding of 30000: it would make all that was measured black."""
    folder = tmp_path / "in/MR/p1"
    stored = np.full((2, 16, 16), 30000, np.int16)
    stored[:, 4:12, 4:12] = np.linspace(100, 1000, 64).reshape(8, 8)
    dicom_series(folder, stored, "MR")
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        data.add_new(0x00280120, "SS", 30000)
        data.save_as(file)
    label = sitk.GetImageFromArray((stored < 30000).astype(np.uint8))
    label.SetSpacing((1, 1, 2))
    sitk.WriteImage(label, str(folder / "label.nii.gz"))
    cases = run(tmp_path / "in", tmp_path / "out", validation=0, image_size=16)
    loaded = read_image(folder)
    expected = volume_to_display(loaded.pixels, Modality.MR, padding=loaded.padding)
    assert expected[0, 0, 0] == 0 and expected[0, 11, 11] == 255
    assert (read_case(cases["train/MR/MR/p1/z0000"])[0] == expected[0]).all()


def test_labels_that_a_writer_scaled_are_whole_numbers(tmp_path: Path) -> None:
    stored = np.array([[[0, 1, 2, 3]]], np.float64)
    for off, whole in ((1.5e-5, True), (-9e-4, True), (2e-3, False)):
        volume(tmp_path / "x_label.nii", np.repeat(np.repeat(stored + off, 4, axis=0), 4, axis=1))
        if whole:
            assert labels_of(tmp_path / "x.nii", tmp_path / "x_label.nii")[0, 0].tolist() == [0, 1, 2, 3]
            continue
        with pytest.raises(ImageError, match="labels: expected whole numbers; were they interpolated"):
            labels_of(tmp_path / "x.nii", tmp_path / "x_label.nii")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_indices_of_a_palette_are_the_labels(tmp_path: Path, bits: int) -> None:
    labels = square((1, 2, 3)).astype(np.uint8)
    mask = Image.fromarray(labels, "P")
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    mask.info["transparency"] = 0
    mask.save(tmp_path / "x.png", bits=bits)
    np.testing.assert_array_equal(labels_of(tmp_path / "i.png", tmp_path / "x.png"), labels)
    colors = np.zeros((3, 256), np.uint16)
    colors[0, 1], colors[1, 2], colors[:, 3] = 1 << 15, 1 << 15, (1 << 15, 0, 1 << 14)
    tifffile.imwrite(tmp_path / "x.tif", labels, photometric="palette", colormap=colors, metadata=None)
    np.testing.assert_array_equal(labels_of(tmp_path / "i.png", tmp_path / "x.tif"), labels)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_indices_of_the_palette_of_a_bmp_are_the_labels(tmp_path: Path, bits: int) -> None:
    indices = np.kron(np.arange(15).reshape(3, 5) % (1 << bits), np.ones((8, 8))).astype(np.uint8)
    colors = np.random.default_rng(0).integers(0, 256, (1 << bits, 4), np.uint8)
    rows = np.unpackbits(indices[::-1, :, None], axis=2)[..., 8 - bits :].reshape(24, -1)
    data = np.packbits(np.pad(rows, ((0, 0), (0, -rows.shape[1] % 32))), axis=1).tobytes()
    start = 54 + colors.nbytes
    header = struct.pack("<2sI4xI", b"BM", start + len(data), start)
    header += struct.pack("<IiiHHIIiiII", 40, 40, 24, 1, bits, 0, len(data), 0, 0, 0, 0)
    (tmp_path / "m.bmp").write_bytes(header + colors.tobytes() + data)
    pair = Pair(tmp_path / "i.png", tmp_path / "m.bmp", Modality.US, "a", "x", "", "x")
    np.testing.assert_array_equal(read_labels(pair), indices)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_in_the_alpha_channel_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    mask = np.zeros((20, 30, 4), np.uint8)
    mask[5:15, 5:15] = 255
    pair = Pair(tmp_path / "i.png", path, Modality.US, "a", "x", "", "x")
    cv2.imwrite(str(path), mask)
    with pytest.raises(ImageError, match="labels: expected a mask without an alpha channel"):
        read_labels(pair)
    mask[..., 3] = 255
    cv2.imwrite(str(path), mask)
    np.testing.assert_array_equal(read_labels(pair), mask[..., 0])


def test_a_palette_of_greys_is_read_as_these_greys(tmp_path: Path) -> None:
    """Programs that pack pictures write white as index 0."""
    mask = Image.fromarray(1 - (square() > 0).astype(np.uint8), "P")
    mask.putpalette([255, 255, 255, 0, 0, 0])
    mask.save(tmp_path / "x.png")
    np.testing.assert_array_equal(labels_of(tmp_path / "i.png", tmp_path / "x.png"), 255 * square())


def disc(side: int = 128) -> npt.NDArray[np.uint8]:
    yy, xx = np.mgrid[:side, :side]
    return (255 * (np.hypot(yy - side / 2, xx - side / 2) < side / 3)).astype(np.uint8)


@pytest.mark.parametrize("quality", [50, 75, 95, 100])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_mask_of_one_object_that_was_a_jpeg_is_that_object(tmp_path: Path, quality: int, suffix: str) -> None:
    packed = cv2.imencode(".jpg", disc(), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(packed.tobytes() if suffix == ".jpg" else b"")
    if suffix == ".png":
        cv2.imwrite(str(path), cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE))
    labels = labels_of(tmp_path / "i.png", path)
    assert len(np.unique(labels)) == 2
    assert np.count_nonzero((labels > 0) != (disc() > 0)) <= 4


@pytest.mark.parametrize("side", [64, 99, 256])
@pytest.mark.parametrize("how", [cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC])
def test_a_mask_of_one_object_that_was_resized_is_that_object(side: int, how: int) -> None:
    labels = without_blurred_edges(cv2.resize(disc(), (side, side), interpolation=how).astype(np.uint16))
    assert np.unique(labels).tolist() == [0, 255]
    nearest = cv2.resize(disc(), (side, side), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    assert np.count_nonzero((labels > 0) & nearest) > 0.95 * np.count_nonzero((labels > 0) | nearest)


def test_masks_of_several_objects_with_blurred_edges_are_refused(tmp_path: Path) -> None:
    several = np.where(disc() > 0, np.where(np.arange(128) < 64, 80, 200), 0).astype(np.uint8)
    with pytest.raises(ImageError, match=r"labels: expected objects, \d+ of \d+ values lie on edges alone"):
        without_blurred_edges(cv2.resize(several, (99, 99)).astype(np.uint16))
    for suffix in (".jpg", ".png"):
        cv2.imwrite(str(tmp_path / f"x{suffix}"), square((100, 200)))
    with pytest.raises(ImageError, match="labels: expected"):
        labels_of(tmp_path / "i.png", tmp_path / "x.jpg")
    assert np.unique(labels_of(tmp_path / "i.png", tmp_path / "x.png")).tolist() == [0, 100, 200]


def test_small_and_thin_objects_are_no_blurred_edges() -> None:
    thin = square((255,))
    thin[40, :], thin[50, 5:9] = 1, 200  # far from the object
    cells = np.zeros((64, 64), np.uint16)
    for index in range(100):
        y, x = divmod(index, 10)
        cells[6 * y : 6 * y + 3, 6 * x : 6 * x + 3] = index + 1
    vessel = np.zeros((64, 64), np.uint16)
    vessel[10, :] = 255
    for labels in (thin, cells, vessel, square((1, 2, 3)), square((20, 255))):
        assert without_blurred_edges(labels) is labels


def test_a_jpeg_mask_is_found_where_there_is_no_other(tmp_path: Path) -> None:
    for name in ("alone", "both"):
        picture(tmp_path / "in", f"US/a/{name}")
        cv2.imwrite(str(tmp_path / f"in/US/a/masks/{name}.jpg"), 255 * square())
    (tmp_path / "in/US/a/masks/alone.png").unlink()
    cases = run(tmp_path / "in", tmp_path / "out", validation=0)
    assert list(cases) == ["train/US/a/alone", "train/US/a/both"]


def test_an_empty_report_is_drawn_without_a_warning(tmp_path: Path) -> None:
    picture(tmp_path / "in", "US/a/x")
    (tmp_path / "in/US/a/masks/x.png").write_bytes(b"no picture")
    assert run(tmp_path / "in", tmp_path / "out") == {}  # a warning is an error here
