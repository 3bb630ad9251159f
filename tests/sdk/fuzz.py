"""Damaged and hostile files for every reader: `python -m tests.sdk.fuzz --cases 5000 --seed 0`, or `make fuzz`.

Case n of a seed always has the same bytes. A worker process reads it and answers with the outcome. Failures are a
crash, a hang, too much memory, and an undocumented error; each is printed with the command that repeats it. A case may
use SECONDS of processor time, and BYTES of address space beyond the worker's at its start. The worker is killed after
WALL_SECONDS, a much longer time, because the machine may be busy.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import resource
import selectors
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
import tifffile

from medsam_edge.errors import BundleError, FileMissingError, ImageError
from medsam_edge.networks.bundle import MODEL_FILES, Manifest, load_bundle
from medsam_edge.reading.picture import read_indices
from medsam_edge.reading.read import read_image
from medsam_edge.reading.unreadable import as_image_error
from tests.sdk.dicoms import enhanced

SECONDS, BYTES, WALL_SECONDS = 2.0, 1 << 30, 30.0

DICOM_SAMPLES = (
    "JPEG2000.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
)
"""Files of the pydicom wheel."""
STARVED = re.compile(r"bad.?alloc|allocate\b|memory", re.IGNORECASE)
"""What a library says for whose data there was no memory; a DICOM file's bits allocated are none of it."""
BUNDLE = (*MODEL_FILES, "manifest.json")
Random = np.random.Generator


def valid_files(folder: Path) -> dict[str, bytes]:
    """Small valid files of every kind, by name."""
    rng = np.random.default_rng(0)
    grey, rgb = rng.integers(0, 255, (24, 20), np.uint8), rng.integers(0, 255, (24, 20, 3), np.uint8)
    colors = rng.integers(0, 1 << 16, (3, 256), np.uint16)
    pictures: dict[str, tuple[npt.NDArray[Any], list[int]]] = {
        "rgb.png": (rgb, []),
        "deep.png": (grey.astype(np.uint16) * 257, []),
        "one_bit.png": (grey & 1, [cv2.IMWRITE_PNG_BILEVEL, 1]),
        "rgb.jpg": (rgb, []),
        "progressive.jpg": (grey, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        "rgb.bmp": (rgb, []),
        "lzw.tif": (rgb, [cv2.IMWRITE_TIFF_COMPRESSION, 5]),
        "deep.tif": (grey.astype(np.uint16), [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
    }
    files = {name: cv2.imencode(Path(name).suffix, image, how)[1].tobytes() for name, (image, how) in pictures.items()}
    for name, image, how in (
        ("planes.tif", np.moveaxis(rgb, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (
            "tiles.tif",
            np.moveaxis(rgb.astype(np.uint16), -1, 0),
            {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 16)},
        ),
        ("alpha.tif", np.dstack([rgb, grey]), {"extrasamples": [2]}),
        ("grey_alpha.tif", np.dstack([grey, grey]), {"photometric": "minisblack", "extrasamples": [2]}),
        ("white.tif", grey.astype(np.uint16), {"photometric": "miniswhite", "compression": "zlib"}),
        ("imagej.tif", grey, {"description": "ImageJ=1.53t\nimages=1\n"}),
        ("ome.tif", grey, {"description": '<OME><Image><Pixels SizeZ="1" SizeC="1"/></Image></OME>'}),
        ("palette.tif", grey, {"photometric": "palette", "colormap": colors}),
        ("big.tif", np.moveaxis(rgb, -1, 0), {"photometric": "rgb", "planarconfig": "separate", "bigtiff": True}),
    ):
        packed = io.BytesIO()
        tifffile.imwrite(packed, image, **{"metadata": None, **how})
        files[name] = packed.getvalue()
    volume = sitk.GetImageFromArray(rng.integers(-1000, 1000, (4, 6, 7), np.int16))
    for name in ("raw.nii", "packed.nii.gz", "raw.nrrd", "packed.nrrd", "raw.mha", "packed.mha", "slice.dcm"):
        image = volume[:, :, 1:2] if name == "slice.dcm" else volume
        sitk.WriteImage(image, str(folder / name), name.startswith("packed"))
        files[name] = (folder / name).read_bytes()
        (folder / name).unlink()
    for name in ("rgb.nii", "rgb.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(rgb, isVector=True), str(folder / name))
        files[name] = (folder / name).read_bytes()
        (folder / name).unlink()
    stream, frames = io.BytesIO(), enhanced()
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(frames, name, "1.2.3")  # the same bytes each time
    frames.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    pydicom.dcmwrite(stream, frames, enforce_file_format=True, implicit_vr=False, little_endian=True)
    files["frames.dcm"] = stream.getvalue()
    for sample in DICOM_SAMPLES:
        files[sample] = (resources.files("pydicom") / "data" / "test_files" / sample).read_bytes()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, imgs=rgb, boxes=np.array([[1, 2, 9, 9]]), spacing=np.ones(3))
    files["case.npz"] = buffer.getvalue()
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in MODEL_FILES}
    manifest = Manifest("tiny", 256, digests, "f32", "f32", 256, "2025.0.0", "0" * 64, classes=("CT", "MR"))
    return {**files, "manifest.json": manifest.to_json().encode(), **{name: name.encode() for name in MODEL_FILES}}


EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63]
NUMBERS = [b"0", b"-1", b"nan", b"inf", b"1e400", b"65536", b"4294967296", b"9" * 19, b"9" * 5000, b"[", b"..", b""]


def flip(data: bytearray, rng: Random, _: list[bytes]) -> None:
    for at in rng.integers(0, len(data), rng.integers(1, 9)):
        data[at] ^= 1 << int(rng.integers(8))


def cut(data: bytearray, rng: Random, _: list[bytes]) -> None:
    del data[rng.integers(0, len(data)) :]


def extreme(data: bytearray, rng: Random, _: list[bytes]) -> None:
    """Put an extreme value into a binary header."""
    size = int(rng.choice([1, 2, 4, 8]))
    at = int(rng.integers(0, max(1, min(len(data), 512) - size)))
    value = int(rng.choice(np.array(EXTREMES, np.uint64))) & ((1 << 8 * size) - 1)
    data[at : at + size] = value.to_bytes(size, "little" if rng.integers(2) else "big")


def number(data: bytearray, rng: Random, _: list[bytes]) -> None:
    """Replace a number of a text header."""
    digits = [at for at, byte in enumerate(data[:1000]) if 48 <= byte < 58]
    if digits:
        at = end = int(rng.choice(digits))
        while end < len(data) and 48 <= data[end] < 58:
            end += 1
        data[at:end] = NUMBERS[rng.integers(len(NUMBERS))]


def splice(data: bytearray, rng: Random, others: list[bytes]) -> None:
    """Put a piece of this or another file over or into this one."""
    other = bytes(data) if rng.integers(2) else others[rng.integers(len(others))]
    start, at, size = (int(rng.integers(0, max(1, len(item)))) for item in (other, data, other))
    data[at : at + size * int(rng.integers(2))] = other[start : start + size]


def swap(data: bytearray, rng: Random, others: list[bytes]) -> None:
    """Put another file's content under this name."""
    data[:] = others[rng.integers(len(others))]


MUTATIONS: list[Callable[[bytearray, Random, list[bytes]], None]] = [
    flip, flip, cut, extreme, extreme, extreme, number, number, splice, swap,
]  # fmt: skip


def mutated(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    result = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        if result:
            MUTATIONS[rng.integers(len(MUTATIONS))](result, rng, others)
    return bytes(result)


def case(seed: int, index: int, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Make name and content of a case; half of the files with a checksum or a packing are mutated beneath it."""
    rng = np.random.default_rng((seed, index))
    names = list(files)
    name, others = names[index % len(names)], list(files.values())
    data = files[name]
    if rng.integers(2):
        if name.endswith(".png"):
            return name, with_checksums(mutated(data, rng, others))
        if name.endswith(".gz"):
            return name, gzip.compress(mutated(gzip.decompress(data), rng, others), 1, mtime=0)
        if name.endswith(".npz"):
            return name, packed_again(data, rng, others)
    return name, mutated(data, rng, others)


def with_checksums(png: bytes) -> bytes:
    data, at = bytearray(png), 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        if end + 4 <= len(data):
            struct.pack_into(">I", data, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


def packed_again(npz: bytes, rng: Random, others: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = old.namelist()[rng.integers(3)]
        for name in old.namelist():
            data = old.read(name)
            new.writestr(zipfile.ZipInfo(name), mutated(data, rng, others) if name == chosen else data)
    return buffer.getvalue()


def outcome(name: str, data: bytes, files: dict[str, bytes], folder: Path) -> str:
    """Read a file; the outcome is `read`, `refused`, or `BAD: …`."""
    (folder / name).write_bytes(data)
    try:
        if name in BUNDLE:
            bundle = load_bundle(folder)
            whole = all(bundle.contents[item] == files[item] for item in MODEL_FILES)
            return "read" if whole or name == "manifest.json" else "BAD: a changed model file is accepted"
        with as_image_error(folder / name):  # as the labels of a training pair
            if name.endswith((".png", ".tif", ".bmp")):
                read_indices(folder / name)
        pixels = read_image(folder / name).pixels
        usable = pixels.size and pixels.dtype.kind in "buif" and pixels.ndim in (2, 3)
        return "read" if usable else f"BAD: {pixels.dtype} of shape {pixels.shape}"
    except UserWarning:  # of alpha, for example: `-W error` makes an error of it
        return "read"
    except (ImageError, FileMissingError, BundleError) as error:
        starved = isinstance(error.__cause__, MemoryError) or STARVED.search(str(error))
        return f"BAD: memory ran out: {error}"[:300] if starved else "refused"
    except BaseException as error:
        return f"BAD: {type(error).__name__}: {error}"[:300]
    finally:
        if name in BUNDLE:
            (folder / name).write_bytes(files[name])
        else:
            (folder / name).unlink()


def work(seed: int) -> None:
    """Answer each case number on stdin with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries write there
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = valid_files(folder)
        for name in BUNDLE:
            (folder / name).write_bytes(files[name])
        for name, data in files.items():
            if outcome(name, data, files, folder) != "read":  # also loads every library
                raise RuntimeError(f"{name} is to be valid")
        limit = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize() + BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for line in sys.stdin:
            name, data = case(seed, int(line), files)
            start = time.process_time()
            found = outcome(name, data, files, folder)
            seconds = time.process_time() - start
            answers.write(json.dumps([name, found if seconds < SECONDS else f"BAD: {seconds:.1f} s"]) + "\n")
            answers.flush()


@dataclass
class Report:
    """How often each file was read and refused, and the failures by case number."""

    counts: Counter[tuple[str, str]]
    failures: dict[int, str]


def fuzz(cases: Iterable[int], seed: int) -> Report:
    """Read the cases of a seed in a worker process, and start another one if it dies."""
    report = Report(Counter(), {})
    worker: subprocess.Popen[str] | None = None
    for index in cases:
        worker = worker or _start(seed)
        name, found = _ask(worker, index)
        report.counts[name, found.split(":")[0]] += 1
        if found.startswith("BAD"):
            report.failures[index] = f"{name}: {found}"
        if worker.poll() is not None:
            worker = None
    if worker:
        worker.communicate()
    return report


def _start(seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "tests.sdk.fuzz", "--seed", str(seed), "--work"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def _ask(worker: subprocess.Popen[str], index: int) -> tuple[str, str]:
    assert worker.stdin is not None and worker.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        worker.stdin.write(f"{index}\n")
        worker.stdin.flush()
        answer = worker.stdout.readline() if selector.select(WALL_SECONDS) else "hang"
    if answer in ("", "hang"):
        worker.kill()
        worker.communicate()
        return "?", f"BAD: {'hangs' if answer else f'crashes ({worker.returncode})'}"
    name, found = json.loads(answer)
    return name, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="this one only")
    parser.add_argument("--keep", type=Path, help="folder for the files that fail")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.seed)
        return 0
    report = fuzz(range(options.cases) if options.case is None else [options.case], options.seed)
    for name in sorted({name for name, _ in report.counts}):
        print(
            f"{name:18}", *(f"{kind} {count:5}" for (its, kind), count in sorted(report.counts.items()) if its == name)
        )
    for index, failure in report.failures.items():
        print(f"python -m tests.sdk.fuzz --seed {options.seed} --case {index}   # {failure}")
    if options.keep:
        keep(report, options.seed, options.keep)
    return bool(report.failures)


def keep(report: Report, seed: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = valid_files(folder)
    for index in report.failures:
        name, data = case(seed, index, files)
        (folder / f"{seed}_{index}_{name}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
