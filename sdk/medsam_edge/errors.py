"""Every error this project raises on purpose, and `warn`, its one way to warn.

    MedsamEdgeError
    ├── InputError (ValueError)             an argument is not what it must be
    │   ├── BoxError                        a box prompt
    │   ├── ModalityError                   an unknown modality name, or one that the model has no class for
    │   └── ImageError                      an image's shape, type, size or content
    ├── FileMissingError (FileNotFoundError)    a path does not exist
    ├── BundleError (RuntimeError)          a model bundle is missing, incomplete, tampered with or too new
    ├── CheckpointError (ValueError)        a checkpoint cannot be read or does not match a network
    ├── ConversionError (RuntimeError)      a step of the conversion did not keep what it must keep
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
    """An argument is not what it must be."""


class BoxError(InputError):
    """A box prompt has a wrong shape, is not finite, has no area or lies outside the image."""


class ModalityError(InputError):
    """A modality name is not one of the eleven, or not one of the model's classes."""


class ImageError(InputError):
    """An image cannot be used: unreadable, wrong shape or type, not finite, too large."""


class FileMissingError(MedsamEdgeError, FileNotFoundError):
    """A path does not exist."""


class BundleError(MedsamEdgeError, RuntimeError):
    """A model bundle is missing, incomplete, tampered with, or made for another version."""


class CheckpointError(MedsamEdgeError, ValueError):
    """A checkpoint cannot be read, or its tensors do not match the network."""


class ConversionError(MedsamEdgeError, RuntimeError):
    """A step of the conversion changed the model more than it may."""


class CancelledError(MedsamEdgeError, RuntimeError):
    """A progress callback returned False."""


def warn(message: str) -> None:
    """Emit a UserWarning that points at the caller's line: the first frame outside this package."""
    inside = f"{Path(__file__).parent}{os.sep}"
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
