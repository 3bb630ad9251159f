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
from medsam_edge.segmenter import Segmenter, segment

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

__version__ = "0.1.0"

# OpenVINO and NNCF report over the network that they are used, as soon as they are imported. Nothing is sent from here:
# without this package they do not try.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
