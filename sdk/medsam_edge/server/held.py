"""Images as the server holds them: from uploaded or served files, by the hash of their bytes."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import is_volume
from medsam_edge.cli.folder import find_images
from medsam_edge.errors import ImageError, MedsamEdgeError
from medsam_edge.image import LoadedImage
from medsam_edge.inference.picture import picture_display
from medsam_edge.inference.volume import volume_display
from medsam_edge.intensity import Window, to_display
from medsam_edge.modality import Modality
from medsam_edge.reading.read import read_image
from medsam_edge.server.errors import Unknown
from medsam_edge.server.warned import collected, tell

CHUNK = 1 << 20
DEPTH = 4
"""Levels of sub-folders in which images are looked for."""
MOST_FILES = 10_000
"""Images that a served folder lists."""
DISPLAYS = 2
"""8-bit versions of one image that are kept: the modality's rule and one window, as a rule."""
PLAIN_NAME = re.compile(r"[^\W_][\w .,+()=@-]{0,127}")

Display = tuple[npt.NDArray[np.uint8], list[str]]
"""An 8-bit image, and the warnings that making it gave."""


@dataclass(eq=False)
class HeldImage:
    """An image in memory.

    Attributes:
        id: SHA-256 of the file's bytes, or of the sorted hashes of several files.
        name: for people; the file's, or the folder's.
        loaded: as read.
        folder: of the uploaded files, deleted with the image; None of served files.
        warnings: of reading.
    """

    id: str
    name: str
    loaded: LoadedImage
    folder: Path | None = None
    warnings: tuple[str, ...] = ()
    _displays: OrderedDict[tuple[str, Window | None], Display] = field(default_factory=OrderedDict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def volume(self) -> bool:
        boxes = self.loaded.boxes
        return is_volume(self.loaded, [] if boxes is None else boxes) and not self.loaded.color

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W), or (D, H, W) of a volume."""
        return self.loaded.pixels.shape if self.volume else self.loaded.pixels.shape[:2]

    @property
    def nbytes(self) -> int:
        with self._lock:
            own = {
                id(array): array.nbytes
                for array in (self.loaded.pixels, *(item[0] for item in self._displays.values()))
            }
        return sum(own.values())

    @cached_property
    def range(self) -> tuple[float, float]:
        """Least and greatest value that is finite; 0, 0 of none."""
        low = high = 0.0
        for number, plane in enumerate(self.loaded.pixels if self.volume else self.loaded.pixels[None]):
            finite = plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane
            if finite.size:
                least, most = float(finite.min()), float(finite.max())
                low, high = (least, most) if number == 0 else (min(low, least), max(high, most))
        return low, high

    def modality(self, given: str | None) -> Modality | None:
        """As given, else as the file says."""
        return Modality.parse(given) or self.loaded.modality

    def shown(self, modality: Modality | None, window: Window | None) -> LoadedImage:
        """The image as the network is shown it: 8 bits, made once."""
        key = _rule(modality), window
        with self._lock:
            if key not in self._displays:
                with collected() as texts:
                    if self.volume:
                        display = volume_display(self.loaded.pixels, modality, window, self.loaded.padding)
                    else:
                        display = picture_display(self.loaded, modality, window)
                self._displays[key] = display, texts
                while len(self._displays) > DISPLAYS:
                    self._displays.popitem(last=False)
            self._displays.move_to_end(key)
            display, texts = self._displays[key]
        tell(texts)
        return replace(self.loaded, pixels=display, padding=None, read_ms=0.0)

    def plane(self, number: int, axis: int, modality: Modality | None, window: Window | None) -> npt.NDArray[np.uint8]:
        """One slice, (rows, columns) or (H, W, 3), 8 bits; the whole volume is converted only where the rule needs it.

        Raises:
            Unknown: there is no such slice.
        """
        if not self.volume:
            axis, planes = 0, self.loaded.pixels[None]
        else:
            planes = np.moveaxis(self.loaded.pixels, axis, 0)
        if number >= len(planes):
            raise Unknown(f"slice: expected 0 to {len(planes) - 1}, got {number}")
        known = (_rule(modality), window) in self._displays
        if self.volume and not known and (window is not None or modality is Modality.CT):
            return to_display(planes[number], modality, window, self.loaded.padding)
        display = self.shown(modality, window).pixels
        plane: npt.NDArray[np.uint8] = np.moveaxis(display, axis, 0)[number] if self.volume else display
        return plane

    def close(self) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def window_of(given: list[float] | str | None) -> Window | None:
    """A window as the sdk takes it, from one as JSON has it."""
    return (given[0], given[1]) if isinstance(given, list) else given


def _rule(modality: Modality | None) -> str:
    """Which of the rules of `medsam_edge.intensity` a modality has, where there is no window."""
    return "unknown" if modality is None else "CT" if modality is Modality.CT else "other"


def receive(files: Sequence[tuple[str, BinaryIO]], folder: Path) -> tuple[str, str, Path]:
    """Write uploaded files to a new folder; returns id, name and what is to be read.

    One file keeps its name, by which its kind is known, and so do the two of a MetaImage header and its values. Others
    are taken for slices of a DICOM series.

    Raises:
        ImageError: no file, or a name that is no plain one.
    """
    if not files:
        raise ImageError("files: expected an image file, or the files of a DICOM series, got none")
    names = [re.split(r"[\\/]", name)[-1] for name, _ in files]
    keep = len(files) == 1 or any(name.lower().endswith(".mhd") for name in names)
    for name in names if keep else ():
        if not PLAIN_NAME.fullmatch(name):
            raise ImageError(f"files: expected a plain file name of at most 128 characters, got {name[:128]!r}")
    if keep and len({name.lower() for name in names}) < len(names):
        raise ImageError("files: expected different names, got one twice")
    folder.mkdir(parents=True)
    digests, paths = [], []
    for number, (name, (_, source)) in enumerate(zip(names, files, strict=True)):
        path = folder / (name if keep else f"{number:05}.dcm")
        digest = hashlib.sha256()
        with path.open("xb") as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                target.write(chunk)
        digests.append(digest.hexdigest())
        paths.append(path)
    headers = [path for path in paths if path.suffix.lower() == ".mhd"]
    return _identity(digests), names[0], paths[0] if len(paths) == 1 else (headers or [folder])[0]


def files_of(path: Path) -> list[Path]:
    """The files of a folder, by name; or the one file."""
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def identity_of(path: Path) -> str:
    """The id of a served file, or of the files of a folder."""
    digests = []
    for file in files_of(path):
        with file.open("rb") as source:
            digest = hashlib.sha256()
            while chunk := source.read(CHUNK):
                digest.update(chunk)
        digests.append(digest.hexdigest())
    return _identity(digests)


def _identity(digests: Sequence[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def read_held(path: Path, identity: str, name: str, folder: Path | None = None) -> HeldImage:
    """Read an image. An error names the file without the folders that lead to it, which are the server's own affair."""
    with collected() as texts:
        try:
            loaded = read_image(path)
        except MedsamEdgeError as error:
            text = str(error).replace(f"{path}/", "").replace(f"{path.parent}/", "").replace(str(path), name)
            raise type(error)(text) from error
    return HeldImage(identity, name, loaded, folder, tuple(texts))


class ServedFolder:
    """The images of a folder, and nothing outside it; or one file.

    Args:
        path: a folder, a file, or a folder that holds one DICOM series.
    """

    def __init__(self, path: Path) -> None:
        self.root = path.resolve()

    def list(self) -> list[tuple[str, Path]]:
        """Name relative to the folder, with `/`, and path, by name."""
        if not self.root.is_dir():
            return [(self.root.name, self.root)]
        found = {path.relative_to(self.root).as_posix(): path for path in self._walk(self.root, DEPTH)}
        inside = [(name, path) for name, path in found.items() if path.resolve().is_relative_to(self.root)]
        return inside[:MOST_FILES]

    def find(self, name: str) -> Path:
        """Raises Unknown unless `list` has the name."""
        for known, path in self.list():
            if known == name:
                return path
        raise Unknown("file: there is no such image in the served folder")

    def _walk(self, folder: Path, depth: int) -> Iterator[Path]:
        images = find_images(folder)
        yield from images
        if depth:
            for path in sorted(folder.iterdir()):
                if path.is_dir() and not path.is_symlink() and path.name[0] != "." and path not in images:
                    yield from self._walk(path, depth - 1)
