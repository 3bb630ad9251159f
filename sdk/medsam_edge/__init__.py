"""Segment medical images on a CPU, from box prompts.

from medsam_edge import segment

result = segment("slice.png", [[30, 40, 120, 160]], modality="CT")
result.save("labels.png")
"""

import sys

from medsam_edge.errors import (
    BoxError,
    BundleError,
    CancelledError,
    CheckpointError,
    ConversionError,
    FileMissingError,
    ImageError,
    InputError,
    MedsamEdgeError,
    ModalityError,
)
from medsam_edge.image import LoadedImage
from medsam_edge.inference.embedding import Embedding
from medsam_edge.modality import Modality
from medsam_edge.reading.read import read_image
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.segmenter import Segmenter
from medsam_edge.shortcut import segment
from medsam_edge.version import __version__

__all__ = [
    "BoxError",
    "BundleError",
    "CancelledError",
    "CheckpointError",
    "ConversionError",
    "Embedding",
    "FileMissingError",
    "ImageError",
    "InputError",
    "LoadedImage",
    "MedsamEdgeError",
    "Modality",
    "ModalityError",
    "Segmentation",
    "Segmenter",
    "VolumeSegmentation",
    "__version__",
    "read_image",
    "segment",
]

# OpenVINO and NNCF report their use over the network as soon as they are imported, but only if they find this package.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
