"""The errors that this project raises on purpose, and `warn` for its warnings.

    MedsamEdgeError
    ├── InputError (ValueError)             an invalid argument
    │   ├── BoxError                        a box prompt
    │   ├── ModalityError                   an unknown modality, or one without a class in the model
    │   └── ImageError                      an image's shape, dtype, size or content
    ├── FileMissingError (FileNotFoundError)    a path does not exist
    ├── BundleError (RuntimeError)          a model bundle is missing, incomplete, tampered with or too new
    ├── CheckpointError (ValueError)        a checkpoint is unreadable or does not match a network
    ├── ConversionError (RuntimeError)      a step of the conversion changed the model too much
    └── CancelledError (RuntimeError)       a progress callback asked to stop

Messages name the argument, what was expected and what came.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path


class MedsamEdgeError(Exception):
    """Base of all errors of this project."""


class InputError(MedsamEdgeError, ValueError):
    """An argument is invalid."""


class BoxError(InputError):
    """A box prompt has a wrong shape, is not finite, has no area or lies outside the image."""


class ModalityError(InputError):
    """A modality is none of the eleven, or none of the model's classes."""


class ImageError(InputError):
    """An image is unreadable, too large, not finite, or of a wrong shape or dtype."""


class FileMissingError(MedsamEdgeError, FileNotFoundError):
    """A path does not exist."""


class BundleError(MedsamEdgeError, RuntimeError):
    """A model bundle is missing, incomplete, tampered with, or made for another version."""


class CheckpointError(MedsamEdgeError, ValueError):
    """A checkpoint is unreadable, or its tensors do not match the network."""


class ConversionError(MedsamEdgeError, RuntimeError):
    """A step of the conversion changed the model more than its limit allows."""


class CancelledError(MedsamEdgeError, RuntimeError):
    """A progress callback returned False."""


def warn(message: str) -> None:
    """Emit a UserWarning that points at the caller's line: the first frame outside this package."""
    inside = f"{Path(__file__).parent}{os.sep}"
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
