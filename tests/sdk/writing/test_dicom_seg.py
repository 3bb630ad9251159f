from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

import medsam_edge
from medsam_edge.errors import FileMissingError, ImageError, InputError
from medsam_edge.image import Frame
from medsam_edge.reading.read import read_image
from medsam_edge.segmenter import Segmenter
from medsam_edge.writing.dicom_seg import MAY_BE_EMPTY, check_source
from medsam_edge.writing.labels import write_labels
from medsam_edge.writing.segments import ABNORMAL, LESIONS, ORGANS, STRUCTURE, TISSUE
from tests.sdk.dicoms import AXIAL, OBLIQUE, SAGITTAL, dataset, enhanced, series, slices, write
from tests.sdk.fake import fake_model

LABELS = np.zeros((3, 4, 5), np.uint16)
LABELS[0, 1:3, 0:2] = 1
LABELS[1:, 0, 3:] = 3  # there is no object 2
LABELS[2, 3, 4] = 1

Points = set[tuple[float, ...]]


def points(frame: Frame, inside: npt.NDArray[np.bool_]) -> Points:
    """Centres of the voxels inside, in mm in the patient, by the frame."""
    matrix = np.reshape(frame.direction, (3, 3)) * frame.spacing_mm
    places = np.argwhere(inside)[:, ::-1] @ matrix.T + frame.origin_mm
    return {tuple(place) for place in places.round(3).tolist()}


def segments(path: Path) -> dict[str, Points]:
    """Centres of each segment's voxels by segment label, from the SEG's own attributes alone."""
    data = pydicom.dcmread(path)
    names = {int(item.SegmentNumber): str(item.SegmentLabel) for item in data.SegmentSequence}
    found: dict[str, Points] = {name: set() for name in names.values()}
    shared = data.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    pixels = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    for plane, groups in zip(pixels, data.PerFrameFunctionalGroupsSequence, strict=True):
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(plane)
        places = origin + np.outer(columns * column_mm, orientation[:3]) + np.outer(rows * row_mm, orientation[3:])
        named = groups if "SegmentIdentificationSequence" in groups else shared  # there when all frames share it
        name = names[int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
        found[name] |= {tuple(place) for place in places.round(3).tolist()}
    return found


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE])
def test_every_voxel_lies_where_the_image_has_it(tmp_path: Path, orientation: Sequence[float]) -> None:
    frame = read_image(series(tmp_path / "series", slices((4, 0, 2), orientation))).frame
    assert frame is not None
    write_labels(tmp_path / "seg.dcm", LABELS, frame)
    found = segments(tmp_path / "seg.dcm")
    assert found == {"object 1": points(frame, LABELS == 1), "object 3": points(frame, LABELS == 3)}
    assert [len(places) for places in found.values()] == [5, 4]


def test_highdicom_reads_it_as_the_same_volume(tmp_path: Path) -> None:
    frame = read_image(series(tmp_path / "series", slices((4, 0, 2)))).frame
    write_labels(tmp_path / "seg.dcm", LABELS, frame)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    volume = seg.get_volume(combine_segments=True)
    assert frame is not None
    for z, y, x in np.argwhere(LABELS).tolist():
        place = np.reshape(frame.direction, (3, 3)) * frame.spacing_mm @ [x, y, z] + frame.origin_mm
        index = volume.map_reference_to_indices(place[None])[0].round().astype(int)
        assert volume.array[tuple(index)] == {1: 1, 3: 2}[int(LABELS[z, y, x])]
    assert (volume.array > 0).sum() == (LABELS > 0).sum()


def test_the_seg_names_its_algorithm_and_its_source(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", slices())
    write_labels(tmp_path / "seg.dcm", LABELS, read_image(folder).frame)
    data = pydicom.dcmread(tmp_path / "seg.dcm")
    source = pydicom.dcmread(folder / "c")
    assert (data.Modality, data.SegmentationType) == ("SEG", "BINARY")
    assert data.StudyInstanceUID == source.StudyInstanceUID
    assert data.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert data.SeriesInstanceUID != source.SeriesInstanceUID
    referenced = data.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert source.SOPInstanceUID in [item.ReferencedSOPInstanceUID for item in referenced]
    for segment in data.SegmentSequence:
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
        assert algorithm.AlgorithmName == "medsam-edge"
        assert algorithm.AlgorithmVersion == medsam_edge.__version__


def test_results_of_slices_and_volumes_are_saved_as_seg(tmp_path: Path) -> None:
    """The fake model's masks are its boxes."""
    segmenter = Segmenter(fake_model())
    folder = series(tmp_path / "series", slices())
    segmenter.segment(folder, [[1, 1, 0, 4, 3, 2]], "MR").save(tmp_path / "volume.dcm")
    assert len(segments(tmp_path / "volume.dcm")["object 1"]) == 3 * 2 * 2
    segmenter.segment(folder / "c", [[1, 1, 4, 3], [0, 3, 1, 4]], "MR").save(tmp_path / "slice.dcm")
    assert {name: len(places) for name, places in segments(tmp_path / "slice.dcm").items()} == {
        "object 1": 6,
        "object 2": 1,
    }


def test_labels_lie_on_the_frames_of_a_multi_frame_file(tmp_path: Path) -> None:
    for name, places in (("up", (0, 2, 4)), ("down", (4, 2, 0)), ("mixed", (2, 4, 0)), ("other", (4, 0, 2))):
        frame = read_image(write(tmp_path / "frames.dcm", enhanced(places, orientation_is_shared=True))).frame
        assert frame is not None
        write_labels(tmp_path / f"{name}.dcm", LABELS, frame)
        assert segments(tmp_path / f"{name}.dcm")["object 3"] == points(frame, LABELS == 3)


@pytest.mark.parametrize("name", ["slice.dcm", "series", "frames.dcm"])
def test_sources_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    series(tmp_path / "series", slices())
    write(tmp_path / "slice.dcm", slices((0,))[0])
    write(tmp_path / "frames.dcm", enhanced(orientation_is_shared=True))
    monkeypatch.chdir(tmp_path)
    loaded = read_image(name)
    monkeypatch.chdir("/")
    write_labels(tmp_path / "seg.dcm", np.ones(loaded.pixels.shape, np.uint16), loaded.frame)
    assert len(segments(tmp_path / "seg.dcm")["object 1"]) == loaded.pixels.size


def without(*names: str) -> pydicom.Dataset:
    data = slices((0,))[0]
    for name in names:
        delattr(data, name)
    return data


def test_the_source_needs_no_slice_thickness_and_no_character_set(tmp_path: Path) -> None:
    data = without("SliceThickness")
    data.SpecificCharacterSet = ""
    write_labels(tmp_path / "seg.dcm", LABELS[0], read_image(write(tmp_path / "slice.dcm", data)).frame)
    assert highdicom.seg.segread(tmp_path / "seg.dcm").number_of_segments == 1


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (without("StudyInstanceUID"), "slice.dcm cannot be the source of a DICOM SEG, it has no StudyInstanceUID"),
        (without("FrameOfReferenceUID"), "no Frame Of Reference UID"),
        (enhanced(), "shared orientation"),
        (dataset(np.zeros((3, 4, 5), np.uint8), Modality="US"), "its frames have no positions"),
    ],
)
def test_a_source_without_required_attributes_is_refused(tmp_path: Path, data: pydicom.Dataset, match: str) -> None:
    loaded = read_image(write(tmp_path / "slice.dcm", data))
    with pytest.raises(ImageError, match=match):
        write_labels(tmp_path / "seg.dcm", np.ones(loaded.pixels.shape, np.uint16), loaded.frame)
    assert [file.name for file in tmp_path.iterdir()] == ["slice.dcm"]


def test_a_refused_seg_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "slice.dcm", without())
    frame = read_image(source).frame
    assert frame is not None
    bare = Frame(frame.spacing_mm, frame.origin_mm, frame.direction)
    for no_dicom in (bare, None):
        with pytest.raises(ImageError, match="needs an image read from DICOM"):
            write_labels(tmp_path / "seg.dcm", LABELS[0], no_dicom)
    with pytest.raises(ImageError, match="cannot be empty"):
        write_labels(tmp_path / "seg.dcm", np.zeros((4, 5), np.uint16), frame)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "highdicom", None)
        with pytest.raises(InputError, match=r"DICOM SEG needs highdicom: pip install 'medsam-edge\[dicom\]'"):
            write_labels(tmp_path / "seg.dcm", LABELS[0], frame)
    source.unlink()
    source.mkdir()
    with pytest.raises(ImageError, match=r"slice\.dcm cannot be the source of a DICOM SEG: .*directory"):
        write_labels(tmp_path / "seg.dcm", LABELS[0], frame)
    source.rmdir()
    with pytest.raises(FileMissingError, match=r"the image's DICOM file .*slice\.dcm is gone"):
        write_labels(tmp_path / "seg.dcm", LABELS[0], frame)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("absent", [[name] for name in MAY_BE_EMPTY] + [list(MAY_BE_EMPTY)])
def test_what_an_anonymiser_took_out_is_written_empty(tmp_path: Path, absent: list[str]) -> None:
    made = slices()
    for data in made:
        for name in absent:
            if name in data:
                delattr(data, name)
    frame = read_image(series(tmp_path / "series", made)).frame
    assert check_source(frame) == frame
    write_labels(tmp_path / "seg.dcm", LABELS, frame)
    data = pydicom.dcmread(tmp_path / "seg.dcm")
    assert not any(data.get(name) for name in absent)
    assert len(segments(tmp_path / "seg.dcm")["object 1"]) == 5


@pytest.mark.parametrize("name", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_what_a_source_must_have_is_checked_without_labels(tmp_path: Path, name: str) -> None:
    """So that the command knows before it segments."""
    frame = read_image(write(tmp_path / "slice.dcm", without(name))).frame
    with pytest.raises(ImageError, match=r"slice\.dcm cannot be the source of a DICOM SEG"):
        check_source(frame)
    frame = read_image(write(tmp_path / "frames.dcm", enhanced(orientation_is_shared=True))).frame
    assert check_source(frame) == frame
    (tmp_path / "frames.dcm").unlink()
    with pytest.raises(FileMissingError, match=r"frames\.dcm is gone"):
        check_source(frame)


def test_segments_have_names_and_codes(tmp_path: Path) -> None:
    """A known name, one of the caller's own with a code, one without."""
    folder = series(tmp_path / "series", slices())
    result = Segmenter(fake_model()).segment(folder, [[0, 0, 0, 2, 2, 1], [2, 2, 1, 4, 4, 2], [0, 3, 2, 1, 4, 3]], "MR")
    own = ("stent", ("65818007", "SCT", "Stent"))
    result.save(tmp_path / "seg.dcm", labels=["Liver", own, "thing"])
    found = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    assert [item.SegmentLabel for item in found] == ["Liver", "stent", "thing"]
    kinds = [item.SegmentedPropertyTypeCodeSequence[0] for item in found]
    assert [(kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) for kind in kinds] == [
        ("10200004", "SCT", "Liver"),
        ("65818007", "SCT", "Stent"),
        ("85756007", "SCT", "Tissue"),
    ]
    categories = [item.SegmentedPropertyCategoryCodeSequence[0].CodeValue for item in found]
    assert categories == ["91723000", "91723000", "85756007"]
    before = sorted(tmp_path.iterdir())
    for labels in (["liver"], "abc", 3, ["liver", "a", 5], ["liver", "a", ("b", ("1", "2"))], ["", "a", "b"]):
        with pytest.raises(InputError, match="labels"):
            result.save(tmp_path / "other.dcm", labels=labels)
    with pytest.raises(InputError, match=r"only a DICOM SEG \(\.dcm\) holds names, got x\.nii"):
        result.save(tmp_path / "x.nii", labels=["a", "b", "c"])
    assert sorted(tmp_path.iterdir()) == before


def test_the_codes_are_those_of_snomed_as_pydicom_has_them() -> None:
    for known in (ORGANS, LESIONS):
        for name, value in known.items():
            assert getattr(codes.SCT, "".join(word.capitalize() for word in name.split())).value == value, name
    for value, scheme, meaning in (STRUCTURE, ABNORMAL, TISSUE):
        code = getattr(codes, scheme)
        assert getattr(code, meaning.replace(" ", "")) == Code(value, scheme, meaning)
