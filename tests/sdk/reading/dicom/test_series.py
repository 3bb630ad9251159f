from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, generate_uid

from medsam_edge.errors import ImageError, InputError
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.reading import limits
from medsam_edge.reading.dicom import series as dicom_series
from medsam_edge.reading.dicom.geometry import stack_frame
from medsam_edge.reading.read import read_image
from medsam_edge.segmenter import Segmenter
from tests.sdk.dicoms import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    PIXELS,
    SAGITTAL,
    SERIES,
    dataset,
    enhanced,
    normal,
    place,
    series,
    slices,
    write,
)
from tests.sdk.fake import fake_model

FOLDER = Path(str(files("pydicom"))) / "data" / "test_files"


def frame_of(loaded: LoadedImage) -> Frame:
    assert loaded.frame is not None
    return loaded.frame


# one file


def test_values_are_rescaled_and_stay_integers_where_they_can(tmp_path: Path) -> None:
    for slope, intercept, dtype in (("1", "-1024", "i"), ("2", "10", "i"), ("0.5", "-3.25", "f"), ("-1.5", "0", "f")):
        path = write(tmp_path / "slice.dcm", dataset(RescaleSlope=slope, RescaleIntercept=intercept))
        loaded = read_image(path)
        assert loaded.pixels.dtype.kind == dtype
        assert loaded.pixels.dtype != np.float64
        assert (loaded.pixels == PIXELS * float(slope) + float(intercept)).all()
        assert loaded.modality is Modality.CT
        assert frame_of(loaded).dicom_files == (path,)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32])
def test_stored_types(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    pixels = PIXELS.astype(dtype) * 12
    assert (read_image(write(tmp_path / "slice.dcm", dataset(pixels))).pixels == pixels).all()


def test_big_endian_is_read(tmp_path: Path) -> None:
    for pixels in (PIXELS.astype(np.uint16) * 1000, PIXELS.astype(np.uint32) * 70000):
        data = dataset(pixels, PixelData=pixels.astype(pixels.dtype.newbyteorder(">")).tobytes())
        data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        assert (read_image(write(tmp_path / "slice.dcm", data)).pixels == pixels).all()


def test_colour_is_rgb(tmp_path: Path) -> None:
    rgb = np.arange(60, dtype=np.uint8).reshape(4, 5, 3) * 4
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    for planar, stored in ((0, rgb), (1, rgb.transpose(2, 0, 1))):
        data = dataset(rgb[..., 0], PlanarConfiguration=planar, PixelData=stored.tobytes(), Modality="XC", **tags)
        assert (read_image(write(tmp_path / "photo.dcm", data)).pixels == rgb).all()


def test_monochrome1_is_the_negative_of_the_stored_range(tmp_path: Path) -> None:
    """Of a radiograph: bone is stored low and comes out high."""
    stored = np.array([[0, 1, 1000], [4000, 4094, 4095]], np.uint16)
    tags = {"Modality": "DX", "PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    loaded = read_image(write(tmp_path / "bone.dcm", dataset(stored, **tags)))
    assert (loaded.pixels == 4095 - stored).all()
    display = to_display(loaded.pixels, loaded.modality)
    assert display[0, 0] == 255
    assert display[1, 2] == 0
    scaled = dataset(stored, RescaleSlope=2, RescaleIntercept=-10, **tags)
    assert (read_image(write(tmp_path / "bone.dcm", scaled)).pixels == 2 * (4095 - stored.astype(int)) - 10).all()
    eight = dataset(stored.astype(np.uint8), Modality="DX", PhotometricInterpretation="MONOCHROME1")
    assert (read_image(write(tmp_path / "bone.dcm", eight)).pixels == 255 - stored.astype(np.uint8)).all()


@pytest.mark.parametrize(("modality", "slope"), [("CT", 1), ("PT", 0.25)])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_monochrome1_leaves_measures_as_they_are(
    tmp_path: Path, modality: str, slope: float, dtype: npt.DTypeLike
) -> None:
    stored = PIXELS.astype(dtype) * 100
    tags = {"Modality": modality, "RescaleSlope": slope, "RescaleIntercept": -1024}
    path = write(tmp_path / "slice.dcm", dataset(stored, PhotometricInterpretation="MONOCHROME1", **tags))
    assert (read_image(path).pixels == stored.astype(float) * slope - 1024).all()


def test_itks_warnings_are_off_while_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards the switch is as it was, also when reading fails."""
    path, execute, seen = FOLDER / "MR_small_jp2klossless.dcm", sitk.ImageFileReader.Execute, []

    def watched(reader: Any) -> Any:
        seen.append(sitk.ProcessObject.GetGlobalWarningDisplay())
        return execute(reader)

    monkeypatch.setattr(sitk.ImageFileReader, "Execute", watched)
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    try:
        for shown in (True, False):
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)
            read_image(path)
            with pytest.raises(ImageError):
                read_image(write_bytes(tmp_path / "damaged.dcm", path.read_bytes()[:-2000]))
            assert sitk.ProcessObject.GetGlobalWarningDisplay() == shown
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
    assert seen == [False, False]


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_file_without_preamble(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.dcm", dataset()).read_bytes()
    for name in ("bare.dcm", "bare"):
        (tmp_path / name).write_bytes(whole[132:])
        assert (read_image(tmp_path / name).pixels == PIXELS).all()


@pytest.mark.parametrize(
    ("sop", "what"),
    [("481.3", "structure set"), ("481.5", "plan"), ("481.2", "dose"), ("88.33", "report"), ("9.1.1", "waveform"),
     ("66.4", "segmentation"), ("11.1", "presentation state"), ("104.1", "document")],
)  # fmt: skip
def test_objects_that_are_no_images_are_named(tmp_path: Path, sop: str, what: str) -> None:
    path = write(tmp_path / "object.dcm", dataset(None, f"1.2.840.10008.5.1.4.1.1.{sop}"))
    with pytest.raises(ImageError, match=rf"expected an image, .*object\.dcm is an? .*{what}"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is too short for a DICOM file"),
        (b"\x89PNG\r\n\x1a\n", "it is no DICOM file"),
        (b"\0" * 128 + b"DICM" + b"x" * 99, "it is cut or damaged"),
    ],
)
def test_a_suffix_does_not_make_an_image(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=rf"cannot read .*slice\.dcm: {reason}"):
        read_image(write_bytes(tmp_path / "slice.dcm", content))


# several frames in one file


def test_frames_with_places_are_a_volume(tmp_path: Path) -> None:
    for name, places in (("up", (0, 2, 4)), ("down", (4, 2, 0))):
        loaded = read_image(write(tmp_path / f"{name}.dcm", enhanced(places)))
        assert (loaded.pixels[1] == PIXELS + 100 - 1000).all()
        frame = frame_of(loaded)
        assert frame.spacing_mm == pytest.approx((0.6, 0.5, 2))
        assert frame.origin_mm == pytest.approx(place(places[0]))
        assert frame.direction == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1 if name == "up" else -1))
        assert frame.dicom_files == (tmp_path / f"{name}.dcm",)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (lambda: enhanced((0, 9, 2)), "mm apart but (2|7) mm between frame [13] and frame [32]"),
        (lambda: enhanced((0, 2, 4, 10)), "2 mm apart but 6 mm between frame 3 and frame 4"),
        (lambda: enhanced((0, 0, 2, 2)), "frame 1 and frame 2 share one"),
        (lambda: enhanced(orientations=(AXIAL, SAGITTAL)), "frames of one orientation"),
    ],
)
def test_frames_that_simpleitk_would_take_for_a_volume_are_refused(
    tmp_path: Path, data: Callable[[], Dataset], match: str
) -> None:
    path = write(tmp_path / "frames.dcm", data())
    assert sitk.ReadImage(str(path)).GetSize()[2] > 2
    with pytest.raises(ImageError, match=match):
        read_image(path)


@pytest.mark.parametrize("places", [(0, 6, 12, 3, 9), (12, 0, 9, 3, 6)])
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_frames_in_disorder_are_sorted(tmp_path: Path, places: Sequence[float], orientation: Sequence[float]) -> None:
    path = write(tmp_path / "frames.dcm", enhanced(places, (orientation,)))
    loaded, order = read_image(path), np.argsort(places)
    assert (loaded.pixels == np.stack([PIXELS + 100 * number - 1000 for number in order])).all()
    frame = frame_of(loaded)
    assert frame.dicom_frames == tuple(order)
    assert frame.spacing_mm == pytest.approx((0.6, 0.5, 3))
    assert frame.origin_mm == pytest.approx(place(0, orientation))
    assert np.reshape(frame.direction, (3, 3))[:, 2] == pytest.approx(normal(orientation))


def test_frames_have_their_own_rescale_and_monochrome1_leaves_measures(tmp_path: Path) -> None:
    stored = np.stack([PIXELS, PIXELS + 100, PIXELS + 200])
    slopes = np.array([1, 2, 1])[:, None, None]
    loaded = read_image(write(tmp_path / "x.dcm", enhanced(slopes=(1, 2), PhotometricInterpretation="MONOCHROME1")))
    assert loaded.pixels.dtype.kind == "i"
    assert (loaded.pixels == stored * slopes - 1000).all()


def test_frames_are_a_volume_in_every_order_of_bytes(tmp_path: Path) -> None:
    for syntax, order in ((DeflatedExplicitVRLittleEndian, "<"), (ExplicitVRBigEndian, ">")):
        data = enhanced()
        for group in data.PerFrameFunctionalGroupsSequence:
            del group.PixelValueTransformationSequence
        pixels = np.stack([PIXELS, PIXELS + 100, PIXELS + 200])
        data.file_meta.TransferSyntaxUID, data.PixelData = syntax, pixels.astype(f"{order}i2").tobytes()
        loaded = read_image(write(tmp_path / "frames.dcm", data))
        assert (loaded.pixels == pixels).all()
        assert frame_of(loaded).spacing_mm == pytest.approx((0.6, 0.5, 2))
        assert frame_of(loaded).origin_mm == pytest.approx(place(0))


def test_frames_without_places_are_slices_and_colour_frames_are_refused(tmp_path: Path) -> None:
    film = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    assert (read_image(write(tmp_path / "film.dcm", dataset(film, Modality="US"))).pixels == film).all()
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    data = dataset(film, PixelData=np.repeat(film, 3).tobytes(), **tags)
    with pytest.raises(ImageError, match="3 frames in colour"):
        read_image(write(tmp_path / "colour.dcm", data))


# a folder


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_slices_are_sorted_by_place(tmp_path: Path, orientation: Sequence[float]) -> None:
    """Whatever their names and numbers; each voxel lies where its slice's header says."""
    made = slices((0, 1.5, 3, 4.5), orientation)
    shuffled = random.Random(3).sample(made, len(made))  # noqa: S311
    folder = series(tmp_path / "series", shuffled)
    loaded = read_image(folder)
    assert (loaded.pixels == np.stack([PIXELS + 100 * number for number in range(4)])).all()
    assert loaded.pixels.dtype == np.int16
    assert loaded.modality is Modality.CT
    frame = frame_of(loaded)
    assert frame.spacing_mm == pytest.approx((0.6, 0.5, 1.5))  # not the thickness, which is 9
    matrix = np.reshape(frame.direction, (3, 3)) * frame.spacing_mm
    for z, data in enumerate(made):
        x_mm, y_mm = np.reshape(orientation, (2, 3)) * [[0.6], [0.5]]
        expected = np.array(data.ImagePositionPatient, float) + 3 * x_mm + 2 * y_mm
        assert matrix @ [3, 2, z] + frame.origin_mm == pytest.approx(expected)
    names = dict(zip(map(id, shuffled), ("b.dcm", "c", "a.dcm", "d.ima"), strict=True))
    assert [file.name for file in frame.dicom_files] == [names[id(data)] for data in made]


def test_geometry_and_values_are_those_of_simpleitk(tmp_path: Path) -> None:
    for number, orientation in enumerate((AXIAL, SAGITTAL, OBLIQUE)):
        folder = series(tmp_path / str(number), slices((6, 4, 2, 0), orientation))
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
        theirs, ours = reader.Execute(), read_image(folder)
        frame = frame_of(ours)
        assert (sitk.GetArrayFromImage(theirs) == ours.pixels).all()
        assert frame.spacing_mm == pytest.approx(theirs.GetSpacing())
        assert frame.origin_mm == pytest.approx(theirs.GetOrigin())
        assert frame.direction == pytest.approx(theirs.GetDirection())


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    """As in PET, where SimpleITK's series reader rounds to the type of the first slice."""
    made = slices()
    slopes = (1, 0.25, 3.5)
    for data, slope in zip(made, slopes, strict=True):
        data.Modality, data.RescaleSlope, data.RescaleIntercept = "PT", slope, -2
    loaded = read_image(series(tmp_path / "pet", made))
    assert loaded.pixels.dtype == np.float32
    assert (loaded.pixels == np.stack([(PIXELS + 100 * z) * slopes[z] - 2 for z in range(3)])).all()
    assert loaded.modality is Modality.PET


def test_whole_rescales_stay_integers(tmp_path: Path) -> None:
    made = slices()
    for data, slope in zip(made, (1, 2, 3), strict=True):
        data.RescaleSlope, data.RescaleIntercept = slope, -1024
    loaded = read_image(series(tmp_path / "ct", made))
    assert loaded.pixels.dtype.kind == "i"
    assert (loaded.pixels == np.stack([(PIXELS + 100 * z) * (z + 1) - 1024 for z in range(3)])).all()


def test_monochrome1_of_a_series_is_turned_round_by_one_range(tmp_path: Path) -> None:
    made = slices()
    for data in made:
        data.Modality, data.PhotometricInterpretation = "MR", "MONOCHROME1"
    expected = np.stack([-1 - (PIXELS + 100 * z) for z in range(3)])  # of 16 bits with sign
    assert (read_image(series(tmp_path / "mr", made)).pixels == expected).all()


def test_what_is_no_slice_is_passed_over(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", slices())
    (folder / "notes.txt").write_text("1.2.840.10008.")
    (folder / "label.nii.gz").write_bytes(b"\x1f\x8b")
    (folder / "._a.dcm").write_bytes(b"of another system")
    series(folder / "below", slices((50, 52)))
    for name, sop in (("DICOMDIR", "1.2.840.10008.1.3.10"), ("report.dcm", "1.2.840.10008.5.1.4.1.1.88.11")):
        write(folder / name, dataset(None, sop))
    write(folder / "outlines", dataset(None, "1.2.840.10008.5.1.4.1.1.481.3", SeriesInstanceUID=generate_uid()))
    assert read_image(folder).pixels.shape == (3, 4, 5)


VENDORS = {
    "XX_0006": "1.3.46.670589.11.0.0.12.2",
    "REPORT": "1.3.12.2.1107.5.9.1",
    "RWV": "1.2.840.10008.5.1.4.1.1.67",
    "GE": "1.2.840.113619.4.27",
    "RAW": "1.2.840.10008.5.1.4.1.1.66",
    "hanging.dcm": "1.2.840.10008.5.1.4.38.1",
}


@pytest.mark.parametrize("name", VENDORS)
def test_vendors_files_without_an_image_are_passed_over(tmp_path: Path, name: str) -> None:
    folder = series(tmp_path / "series", slices())
    other = write(folder / name, dataset(None, VENDORS[name], SeriesInstanceUID=generate_uid()))
    other.write_bytes(other.read_bytes() + bytes(64))
    for stray in ("Thumbs.db", "report.pdf", "notes.txt"):
        (folder / stray).write_bytes(b"%PDF")
    assert read_image(folder).pixels.shape == (3, 4, 5)
    with pytest.raises(ImageError, match="expected an image, "):
        read_image(other)


def test_an_image_that_was_cut_before_its_pixels_is_not_passed_over(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", slices((0, 2, 4, 6)))
    whole = (folder / "c").read_bytes()
    for end in (whole.index(b"\xe0\x7f\x10\x00OW"), whole.index(b"\x28\x00\x02\x00US")):
        (folder / "c").write_bytes(whole[:end])
        with pytest.raises(ImageError, match="it is cut, or its pixels are none of whole numbers"):
            read_image(folder)


def test_one_of_several_series_is_chosen_by_its_uid(tmp_path: Path) -> None:
    """Also in the folders of an export: patient, study, series."""
    made, other = slices((0, 2, 4)), generate_uid()
    made[2].SeriesInstanceUID = other
    flat = series(tmp_path / "flat", made)
    nested = tmp_path / "export"
    for number, data in enumerate(made):
        below = nested / "PATIENT" / "STUDY" / data.SeriesInstanceUID
        below.mkdir(parents=True, exist_ok=True)
        write(below / f"{number}", data)
    write(nested / "DICOMDIR", dataset(None, "1.2.840.10008.1.3.10"))
    for folder in (flat, nested):
        assert read_image(folder, series=SERIES).pixels.shape == (2, 4, 5)
        assert (read_image(folder, series=other).pixels == PIXELS + 200).all()
        with pytest.raises(ImageError, match=rf"expected one series.*UID {other}\).*; choose one by its UID"):
            read_image(folder)
        with pytest.raises(InputError, match=rf"series: expected the UID of a series in .*, got '1.2'; .*UID {SERIES}"):
            read_image(folder, series="1.2")
    assert read_image(nested / "PATIENT" / "STUDY" / other).pixels.shape == (4, 5)
    with pytest.raises(InputError, match="series: is for a folder"):
        read_image(flat / "c", series=SERIES)


def changed(number: int, **tags: Any) -> list[Dataset]:
    made = slices()
    for name, value in tags.items():
        if value is None:
            delattr(made[number], name)
        else:
            setattr(made[number], name, value)
    return made


def larger() -> list[Dataset]:
    made = slices()
    pixels = np.zeros((6, 5), np.int16)
    made[2].Rows, made[2].PixelData = 6, pixels.tobytes()
    return made


def in_colour() -> list[Dataset]:
    made = changed(1, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    made[1].PixelData = made[1].PixelData * 3
    return made


def tilted() -> list[Dataset]:
    made = slices()
    for number, data in enumerate(made):
        data.ImagePositionPatient[1] += 0.2 * number
    return made


def of_frames() -> list[Dataset]:
    made = slices()
    made[1] = dataset(np.zeros((2, 4, 5), np.int16))
    return made


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (larger, r"one size \(x, y\), a.dcm has \(5, 6\), b.dcm has \(5, 4\)"),
        (in_colour, "single grey slices, .*c is in colour"),
        (of_frames, "single grey slices, .*c is of 2 frames"),
        (tilted, "b.dcm lies 0.4 mm beside|a.dcm lies 0.4 mm beside b.dcm"),
        (lambda: changed(1, PhotometricInterpretation="MONOCHROME1"), "one photometric interpretation"),
        (
            lambda: changed(1, PixelSpacing=[0.5, 0.7]),
            r"one pixel spacing \(x, y\), a.dcm has \(0.6, 0.5\), c has \(0.7",
        ),
        (lambda: changed(1, PixelSpacing=None), r"known pixel spacing \(Pixel Spacing\), .*c has none"),
        (lambda: changed(1, ImageOrientationPatient=list(SAGITTAL)), "one orientation, a.dcm .* c has"),
        (lambda: changed(1, ImageOrientationPatient=None), "known orientation .*c has none"),
        (lambda: changed(2, ImagePositionPatient=None), r"known position .*a\.dcm has none"),
        (lambda: changed(2, ImagePositionPatient=place(2)), "one slice in each place, (c and a.dcm|a.dcm and c) share"),
        (lambda: slices((0, 2, 4, 8)), "2 mm apart but 4 mm between a.dcm and d.ima"),
        (lambda: slices((0, 2, 4.05)), "mm apart but .* mm between"),
        (lambda: slices((0, 0.1, 0.2, 0.33)), "0.1 mm apart but 0.13 mm between"),
    ],
)
def test_slices_that_are_no_volume_are_refused(tmp_path: Path, make: Callable[[], list[Dataset]], match: str) -> None:
    with pytest.raises(ImageError, match=match):
        read_image(series(tmp_path / "series", make()))


def test_small_differences_of_steps_are_accepted(tmp_path: Path) -> None:
    for number, places in enumerate(((0, 2, 4.03), (0, 0.1, 0.215))):
        frame = frame_of(read_image(series(tmp_path / str(number), slices(places))))
        assert frame.spacing_mm[2] == pytest.approx(places[2] / 2)


def test_an_orientation_without_a_right_angle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no right angle"):
        read_image(series(tmp_path / "series", slices(orientation=(1, 0, 0, 0.5, 0.5, 0))))


@pytest.mark.parametrize("text", [b"1\\2", b"a\\b\\c", b"1\\2\\inf", b"1\\2\\3\\4"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, text: bytes) -> None:
    """The header of a file may hold anything."""
    made = slices()
    made[1].ImagePositionPatient = "1\\2\\3333333333"
    folder = series(tmp_path / "series", made)
    whole = (folder / "c").read_bytes()
    (folder / "c").write_bytes(whole.replace(b"1\\2\\3333333333", text.ljust(14)))
    with pytest.raises(ImageError, match=r"expected 3 numbers in ImagePositionPatient, .*c has"):
        read_image(folder)


def test_several_series_are_named(tmp_path: Path) -> None:
    made = slices((0, 2, 4, 6))
    made[3].SeriesInstanceUID, made[3].SpecificCharacterSet = generate_uid(), "ISO_IR 100"
    made[3].SeriesDescription = "Schädel"
    with pytest.raises(ImageError, match=r"has 2: .*'abdomen' \(3 slices, UID .*; choose one by its UID") as caught:
        read_image(series(tmp_path / "two", made))
    assert re.search(r"'Sch.*del' \(1 slices, UID", str(caught.value).encode("ascii", "replace").decode())


def test_folders_without_images(tmp_path: Path) -> None:
    for name in ("empty", "text"):
        (tmp_path / name).mkdir()
    (tmp_path / "text" / "notes.txt").write_text("none")
    for name in ("empty", "text"):
        with pytest.raises(ImageError, match=r"folder .* has no DICOM image"):
            read_image(tmp_path / name)


def test_a_damaged_slice_is_not_passed_over(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", slices((0, 2, 4, 6)))
    whole = (folder / "c").read_bytes()
    (folder / "c").write_bytes(whole[:-12])
    with pytest.raises(
        ImageError, match=r"cannot read .*c: it is cut or damaged: \(7fe0,0010\) is to have 40 bytes, 28 are left"
    ):
        read_image(folder)


def test_too_many_voxels_are_refused_before_pixels_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = series(tmp_path / "series", slices())
    monkeypatch.setattr(limits, "MAXIMUM_BYTES", 59)
    monkeypatch.delattr(dicom_series, "load")
    with pytest.raises(ImageError, match=r"size \(5, 4, 3\): \d+ bytes of values, more than 59"):
        read_image(folder)


def test_one_slice_is_a_picture_and_a_volume_of_one(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", slices((3,)))
    segmenter = Segmenter(fake_model())
    assert segmenter.segment(folder, [[1, 1, 4, 3]], "MR").label_map.shape == (4, 5)
    assert segmenter.segment(folder, [[1, 1, 0, 4, 3, 1]], "MR").label_map.shape == (1, 4, 5)


def test_a_result_keeps_the_place_of_a_series(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", slices((4, 2, 0), OBLIQUE))
    result = Segmenter(fake_model()).segment(folder, [[1, 1, 0, 4, 3, 2]], "MR")
    result.save(tmp_path / "mask.nii.gz")
    saved, frame = sitk.ReadImage(str(tmp_path / "mask.nii.gz")), frame_of(read_image(folder))
    assert saved.GetOrigin() == pytest.approx(frame.origin_mm, abs=1e-4)  # NIfTI has float32
    assert saved.GetDirection() == pytest.approx(frame.direction, abs=1e-5)
    assert result.frame == frame


def test_a_stack_needs_no_more_than_its_planes(tmp_path: Path) -> None:
    """By hand: two planes 3 mm apart, from the second to the first."""
    positions = np.array([[0.0, 0, 3], [0, 0, 0]])
    frame = stack_frame("ab", positions, np.eye(3), (1.0, 2.0), (tmp_path,))
    assert frame.spacing_mm == (1, 2, 3)
    assert frame.origin_mm == (0, 0, 3)
    assert frame.direction == (1, 0, 0, 0, 1, 0, 0, 0, -1)
