"""The C interface of the C++ library by ctypes, as far as tests and measurements need it."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TYPES = (
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
)
"""NumPy's names in the order of medsam_type."""
LIBRARY = Path(__file__).parents[3] / "build" / "cpp" / "libmedsam_edge.so"


class Settings(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("device", ctypes.c_char_p),
        ("num_threads", ctypes.c_int32),
        ("no_cache", ctypes.c_int32),
        ("cache_bytes", ctypes.c_uint64),
        ("cache_dir", ctypes.c_char_p),
    ]


class Image(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("depth", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
    ]


class Prompts(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("count", ctypes.c_size_t),
        ("boxes", ctypes.c_void_p),
        ("points", ctypes.c_void_p),
        ("point_labels", ctypes.c_void_p),
        ("point_counts", ctypes.c_void_p),
        ("prior", ctypes.c_void_p),
        ("prior_type", ctypes.c_int32),
        ("prior_is_label_map", ctypes.c_int32),
    ]


class Options(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("modality", ctypes.c_char_p),
        ("window", ctypes.c_char_p),
        ("window_level", ctypes.c_double),
        ("window_width", ctypes.c_double),
        ("detail", ctypes.c_int32),
        ("axis", ctypes.c_int32),
        ("streams", ctypes.c_int32),
        ("stop_when_empty", ctypes.c_int32),
        ("follow", ctypes.c_int32),
        ("drop_logits", ctypes.c_int32),
        ("progress", ctypes.c_void_p),
        ("user", ctypes.c_void_p),
    ]


@dataclass
class Library:
    """A segmenter of the C++ library.

    Raises:
        RuntimeError: with the library's message.
    """

    bundle: Path
    num_threads: int = 2
    cache: bool = True

    def __post_init__(self) -> None:
        self._library = ctypes.CDLL(os.environ.get("MEDSAM_EDGE_LIBRARY", str(LIBRARY)))
        self._library.medsam_last_error.restype = ctypes.c_char_p
        self._segmenter = ctypes.c_void_p()
        settings = Settings(ctypes.sizeof(Settings), None, self.num_threads, not self.cache, 0, None)
        created = ctypes.byref(self._segmenter)
        self._check(self._library.medsam_segmenter_create(bytes(self.bundle), ctypes.byref(settings), created))

    def close(self) -> None:
        self._library.medsam_segmenter_destroy(self._segmenter)

    def segment(
        self, pixels: npt.NDArray[Any], boxes: npt.ArrayLike, modality: str, streams: int = 1
    ) -> npt.NDArray[np.uint16]:
        """The label map; of (D, H, W) where boxes have six columns."""
        pixels, corners = np.ascontiguousarray(pixels), np.ascontiguousarray(boxes, np.float64)
        volume = corners.shape[1] == 6
        depth, (height, width) = (pixels.shape[0], pixels.shape[1:]) if volume else (0, pixels.shape[:2])
        channels = 3 if pixels.ndim == 3 and not volume else 1
        kind = TYPES.index(pixels.dtype.name)
        image = Image(ctypes.sizeof(Image), pixels.ctypes.data, kind, channels, depth, height, width)
        prompts = Prompts(ctypes.sizeof(Prompts), len(corners), corners.ctypes.data)
        options = Options(ctypes.sizeof(Options), modality.encode(), streams=streams)
        result = ctypes.c_void_p()
        given = [ctypes.byref(item) for item in (image, prompts, options, result)]
        self._check(self._library.medsam_segment(self._segmenter, *given))
        labels = np.empty(pixels.shape if volume else pixels.shape[:2], np.uint16)
        target = labels.ctypes.data_as(ctypes.c_void_p)
        self._check(self._library.medsam_result_label_map(result, 0, target, ctypes.c_size_t(labels.size)))
        self._library.medsam_result_destroy(result)
        return labels

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeError(f"{status}: {self._library.medsam_last_error().decode()}")
