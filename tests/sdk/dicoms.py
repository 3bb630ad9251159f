"""DICOM files of known values and positions, written by pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)  # its normal is (0.48, -0.64, 0.6)
PIXELS = np.arange(20, dtype=np.int16).reshape(4, 5)
STUDY, SERIES, SPACE = (generate_uid() for _ in range(3))


def normal(orientation: Sequence[float]) -> npt.NDArray[np.float64]:
    return np.cross(orientation[:3], orientation[3:])


def dataset(pixels: npt.NDArray[Any] | None = PIXELS, sop: str = CTImageStorage, **tags: Any) -> Dataset:
    """A data set with the attributes of every image; `tags` are set last, None removes one."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = STUDY, SERIES, SPACE
    data.Modality, data.SeriesDescription, data.PatientID, data.PatientName = "CT", "abdomen", "1", "A^B"
    data.StudyDate = data.StudyTime = data.PatientBirthDate = data.PatientSex = data.AccessionNumber = ""
    data.StudyID, data.InstanceNumber, data.PositionReferenceIndicator = "1", 1, ""
    data.ReferringPhysicianName = ""
    if pixels is not None:
        data.Rows, data.Columns = pixels.shape[-2:]
        if pixels.ndim == 3:
            data.NumberOfFrames = len(pixels)
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
        data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
        data.PixelData = pixels.tobytes()
        data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def write(path: Path, data: Dataset) -> Path:
    big = data.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    pydicom.dcmwrite(path, data, enforce_file_format=True, implicit_vr=False, little_endian=not big)
    return path


def place(at: float, orientation: Sequence[float] = AXIAL) -> list[float]:
    """Image Position (Patient) `at` mm along the normal, from (-7, 11, 30)."""
    return [round(value, 9) for value in (np.array([-7.0, 11.0, 30.0]) + at * normal(orientation)).tolist()]


def slices(places: Sequence[float] = (0, 2, 4), orientation: Sequence[float] = AXIAL) -> list[Dataset]:
    """A series with spacing 0.5 between rows and 0.6 between columns; slice k has values 100 k + 0…19."""
    return [
        dataset(
            PIXELS + np.int16(100 * number),
            ImagePositionPatient=place(at, orientation),
            ImageOrientationPatient=list(orientation),
            PixelSpacing=[0.5, 0.6],
            SliceThickness=9,
            InstanceNumber=99 - number,
        )
        for number, at in enumerate(places)
    ]


def series(folder: Path, made: Sequence[Dataset], names: Sequence[str] = ("b.dcm", "c", "a.dcm", "d.ima")) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in zip(names, made, strict=False):
        write(folder / name, data)
    return folder


def enhanced(
    places: Sequence[float] = (0, 2, 4),
    orientations: Sequence[Sequence[float]] = (AXIAL,),
    slopes: Sequence[float] = (1,),
    orientation_is_shared: bool = False,
    **tags: Any,
) -> Dataset:
    """A multi-frame data set, each frame with its own functional groups; frame k has values 100 k + 0…19."""
    frames, shared = [], Dataset()
    for number, at in enumerate(places):
        position, plane, values, frame = Dataset(), Dataset(), Dataset(), Dataset()
        plane.ImageOrientationPatient = list(orientations[number % len(orientations)])
        position.ImagePositionPatient = place(at, orientations[0])
        values.RescaleIntercept, values.RescaleSlope, values.RescaleType = -1000, slopes[number % len(slopes)], "HU"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        (shared if orientation_is_shared else frame).PlaneOrientationSequence = [plane]
        frames.append(frame)
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.6], 9
    shared.PixelMeasuresSequence = [measures]
    pixels = np.stack([PIXELS + np.int16(100 * number) for number in range(len(places))])
    groups = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": frames}
    return dataset(pixels, EnhancedCTImageStorage, **groups, **tags)
