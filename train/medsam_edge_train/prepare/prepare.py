"""`medsam-edge train prepare`: images with labels from many places → shards of 2D training images.

    find pairs → split by patient → per pair: labelled slices → interval → fraction → 8 bits → network size → png or jpg
               → shards, one part of a (split, modality) after the other

Every choice is drawn from a hash of names, so neither the number of processes nor their order changes a byte.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from medsam_edge.errors import ImageError, InputError, MedsamEdgeError
from medsam_edge.intensity import SOFT_TISSUE, Window
from medsam_edge.io import replacing
from medsam_edge.modality import Modality
from medsam_edge_train.prepare.parallel import in_order
from medsam_edge_train.prepare.parts import Part, Prepared, Stream, finished_parts, write_parts
from medsam_edge_train.prepare.readers import read_labels, read_pixels
from medsam_edge_train.prepare.report import LEVELS, Counts, PrepareReport, draw
from medsam_edge_train.prepare.slices import (
    Labels,
    Pixels,
    choose_slices,
    display,
    display_slices,
    drop_small_objects,
    encode,
    encode_jpeg,
    label_values,
    shrink,
)
from medsam_edge_train.prepare.sources import SPLITS, Pair, Skipped, find_pairs
from medsam_edge_train.shards import make_key

PROTOCOLS: Mapping[str, Mapping[Modality, float]] = {
    "all": {},
    "class-prompt": {modality: 1 / 50 if modality is Modality.CT else 1 / 10 for modality in Modality},
    "rep-medsam": {Modality.CT: 0.2},
}
"""Fractions of published trainings (class-prompt paper, section 2.1; Rep-MedSAM, section 2.3); 1 for others."""

SLICE_SUFFIX = r"^(.+?)(?:[-_](?:z|slice[-_]?)\d+)?$"
SETTINGS = "prepare.json"
LOST = "the process that read it died"

Report = Callable[[str], None]


@dataclass(frozen=True)
class PrepareConfig:
    """Settings of `prepare`.

    Attributes:
        sources: folders that hold, at any depth, images/ with masks/, imagesTr/ with labelsTr/, X_image.nii.gz with
            X_label.nii.gz (nrrd, mha), challenge npz, or DICOM series with a label file; the rules are in `sources.py`.
        output: folder of the shards: train/*.tar, val/*.tar and a report; a killed run in it is completed.
        modality: of sources that do not say it.
        image_size: longest side of what is stored; smaller images are not enlarged.
        jpeg: quality, 1 to 100, of images stored as jpg; 0 stores png, which is larger and loses nothing. Masks are
            always png.
        interval: of the labelled slices of a volume, every how many-th is taken (class-prompt paper, section 3.2: 5).
        fractions: random part of the images (of volumes: after the interval) that is taken; all, class-prompt,
            rep-medsam, a number for every modality, or a list such as CT=0.02,MR=0.1, where modalities not named are
            taken whole.
        minimum_pixels: connected parts of an object with fewer pixels of the stored image are removed.
        minimum_voxels: the same in a volume, before it is cut into slices.
        validation: part of each data set's patients that goes to val/ where the source has no split of its own
            (class-prompt paper, section 3.2: 7:3).
        patient_pattern: regular expression whose first group, searched in a file's name without suffix, is the patient;
            the default takes the whole name but for a slice number (_z12, _slice-3).
        window: level and width in HU of CT that is not 8 bits yet.
        workers: processes that read and prepare files.
        shard_images: images of a shard, or somewhat more, for a volume's slices stay together.
        seed: of fractions and split.
    """

    sources: tuple[Path, ...]
    output: Path
    modality: str | None = None
    image_size: int = 256
    jpeg: int = 0
    interval: int = 5
    fractions: str | Mapping[str, float] = "all"
    minimum_pixels: int = 10
    minimum_voxels: int = 100
    validation: float = 0.3
    patient_pattern: str = SLICE_SUFFIX
    window: tuple[float, ...] = SOFT_TISSUE
    workers: int = 1
    shard_images: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.sources, (str, Path)) or not self.sources:
            raise InputError(f"sources: expected folders, got {self.sources!r}")
        for name in ("image_size", "interval", "workers", "shard_images"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("minimum_pixels", "minimum_voxels", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if not 0 <= self.jpeg <= 100:
            raise InputError(f"jpeg: expected a quality of 1 to 100, or 0 for png, got {self.jpeg}")
        if not 0 <= self.validation < 1:
            raise InputError(f"validation: expected 0 or more and less than 1, got {self.validation}")
        if len(self.window) != 2 or not (np.isfinite(self.window).all() and self.window[1] > 0):
            raise InputError(f"window: expected level and a positive width in HU, got {self.window}")
        try:
            groups = re.compile(self.patient_pattern).groups
        except re.error as error:
            raise InputError(f"patient_pattern: {error} in {self.patient_pattern!r}") from error
        if groups < 1:
            raise InputError(f"patient_pattern: expected a group (…), got {self.patient_pattern!r}")
        Modality.parse(self.modality)
        fractions_of(self.fractions)

    @property
    def level_width(self) -> Window:
        """The window as a pair."""
        level, width = self.window
        return level, width


def fractions_of(fractions: str | Mapping[str, float]) -> Mapping[Modality, float]:
    """The part of each modality's images that is taken, 1 for those not named.

    Args:
        fractions: a name of `PROTOCOLS`, {modality name: fraction}, or text such as "CT=0.02,MR=0.1" or "0.1".

    Raises:
        InputError: none of these, or a fraction not above 0 and up to 1.
        ModalityError: an unknown modality.
    """
    if isinstance(fractions, str):
        if fractions in PROTOCOLS:
            return PROTOCOLS[fractions]
        everything = ",".join(f"{modality.value}={fractions}" for modality in Modality)
        entries = [entry.partition("=") for entry in (fractions if "=" in fractions else everything).split(",")]
        try:
            fractions = {name: float(value) for name, _, value in entries}
        except ValueError as error:
            names = ", ".join(PROTOCOLS)
            message = f"fractions: expected {names}, a number or a list such as CT=0.02, got {fractions!r}"
            raise InputError(message) from error
    wrong = {name: value for name, value in fractions.items() if not 0 < value <= 1}
    if wrong:
        raise InputError(f"fractions: expected above 0 and up to 1, got {wrong}")
    return {Modality(Modality.parse(name)): value for name, value in fractions.items()}


@dataclass(frozen=True)
class Plan:
    """What there is to prepare.

    Attributes:
        streams: pairs by (split, modality), sorted; each becomes a row of shards.
        skipped: what looked like half a pair.
        kept, drawn: pairs whose split the source said, and those where it was drawn.
    """

    streams: Mapping[Stream, Sequence[Pair]]
    skipped: Sequence[Skipped]
    kept: int
    drawn: int


def prepare(config: PrepareConfig, report: Report = lambda line: None) -> PrepareReport:
    """Write the shards, and `report.json` and `report.png` beside them.

    What cannot be read is skipped, counted and named in the report. One run at a time in an output folder.

    Args:
        report: told in a line what has been done.

    Raises:
        FileMissingError: a source is no folder.
        ImageError: the sources hold no image with labels.
        InputError: the output folder holds another configuration's shards, or other files.
    """
    plan = make_plan(config)
    if not plan.streams:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in plan.skipped[:3])
        raise ImageError(f"sources: expected images with labels, found none. {reasons}".rstrip())
    _claim_output(config, plan)
    parts = {stream: finished_parts(config.output, stream) for stream in plan.streams}
    done = {stream: sum(part.pairs for part in own) for stream, own in parts.items()}
    todo = [pair for stream, pairs in plan.streams.items() for pair in pairs[done[stream] :]]
    report(
        f"prepare: {plan.kept + plan.drawn} files, {len(todo)} to do; "
        f"train and val kept as the source says for {plan.kept}, drawn by patient for {plan.drawn}"
    )
    results = in_order(functools.partial(prepare_pair, config=config), todo, config.workers, Prepared(reason=LOST))
    work = zip(todo, _with_progress_bar(results, len(todo)), strict=True)
    for stream, own in itertools.groupby(work, lambda item: (item[0].split, item[0].modality)):
        for part in write_parts(config.output, stream, len(parts[stream]), config.shard_images, own):
            parts[stream].append(part)
            report(f"prepare: {'/'.join(stream)}: {sum(part.written for part in parts[stream])} images")
    summary = _summary(plan, parts)
    with replacing(config.output / "report.json") as partial:
        partial.write_text(json.dumps(summary.as_json(), indent=1), encoding="utf-8")
    draw(summary, config.output / "report.png")
    return summary


def make_plan(config: PrepareConfig) -> Plan:
    """Find all pairs and split them; only names are looked at."""
    found = [(root, entry) for root in config.sources for entry in find_pairs(root, Modality.parse(config.modality))]
    skipped = [entry for _, entry in found if isinstance(entry, Skipped)]
    pairs = [entry for _, entry in found if isinstance(entry, Pair)]
    validation = _validation_patients(config, [pair for pair in pairs if not pair.split])
    by_name: dict[tuple[str, ...], Pair] = {}
    kept = 0
    for pair in pairs:
        drawn = SPLITS[(pair.modality, pair.dataset, patient_of(pair, config)) in validation]
        name = (pair.split or drawn, pair.modality.value, pair.dataset, pair.name)
        if name in by_name:
            skipped.append(Skipped(pair.source, f"its modality, dataset and name are those of {by_name[name].source}"))
            continue
        by_name[name] = replace(pair, split=name[0])
        kept += bool(pair.split)
    ordered = [by_name[name] for name in sorted(by_name)]
    streams = itertools.groupby(ordered, lambda pair: (pair.split, pair.modality))
    return Plan({stream: list(own) for stream, own in streams}, skipped, kept, len(ordered) - kept)


def patient_of(pair: Pair, config: PrepareConfig) -> str:
    """The first group of the pattern in the pair's name, or the whole name where it does not match."""
    match = re.search(config.patient_pattern, pair.name)
    return (match[1] if match else None) or pair.name


def _validation_patients(config: PrepareConfig, pairs: Sequence[Pair]) -> set[tuple[Modality, str, str]]:
    """The first patients of each data set in the order of a hash of (seed, patient).

    The data set is not hashed: where several hold the same patients, a patient tends to be on the same side in all.
    """
    patients: dict[tuple[Modality, str], set[str]] = {}
    for pair in pairs:
        patients.setdefault((pair.modality, pair.dataset), set()).add(patient_of(pair, config))
    chosen = set()
    for (modality, dataset), names in patients.items():
        ordered = sorted(names, key=lambda name: (_uniform(config.seed, "split", name), name))
        chosen |= {(modality, dataset, name) for name in ordered[: int(len(names) * config.validation + 0.5)]}
    return chosen


def prepare_pair(pair: Pair, config: PrepareConfig) -> Prepared:
    """Read one pair and make its training images; the reason when it cannot be used."""
    try:
        return _prepare_pair(pair, config)
    except (MedsamEdgeError, MemoryError, cv2.error) as error:
        folders = (str(pair.image.parent), str(pair.label.parent))
        return Prepared(
            reason=functools.reduce(lambda text, folder: text.replace(f"{folder}/", ""), folders, str(error))
        )


def _prepare_pair(pair: Pair, config: PrepareConfig) -> Prepared:
    if pair.is_picture and not _is_sampled(pair, 0, config):
        return Prepared(found=1)
    labels = read_labels(pair)
    if labels.ndim == 2:
        if not _is_sampled(pair, 0, config):
            return Prepared(found=1)
        image = display(read_pixels(pair, labels), pair.modality, config.level_width)
        return _pack(pair, config, Prepared(found=1, sampled=1), [((), image, labels)])
    labels = drop_small_objects(labels, config.minimum_voxels)
    found = sum(bool(plane.any()) for plane in labels)
    chosen = [z for z in choose_slices(labels, config.interval).tolist() if _is_sampled(pair, z, config)]
    if not chosen:
        return Prepared(found=found)
    images = display_slices(read_pixels(pair, labels), np.array(chosen), pair.modality, config.level_width)
    slices = [((f"z{z:04d}",), image, labels[z]) for z, image in zip(chosen, images, strict=True)]
    return _pack(pair, config, Prepared(found=found, sampled=len(chosen)), slices)


def _is_sampled(pair: Pair, z: int, config: PrepareConfig) -> bool:
    fraction = fractions_of(config.fractions).get(pair.modality, 1.0)
    return _uniform(config.seed, "sample", pair.modality.value, pair.dataset, pair.name, z) < fraction


def _pack(
    pair: Pair, config: PrepareConfig, counts: Prepared, slices: Iterable[tuple[tuple[str, ...], Pixels, Labels]]
) -> Prepared:
    """Network size, png or jpg, and what is known about the image; images without an object are left out."""
    samples: list[tuple[str, Mapping[str, bytes]]] = []
    objects, histogram = 0, np.zeros(LEVELS, dtype=np.int64)
    for position, image, labels in slices:
        image, labels = shrink(image, labels, config.image_size)
        labels = drop_small_objects(labels, config.minimum_pixels)
        values = label_values(labels)
        if len(values) == 0:
            continue
        about = {"modality": pair.modality.value, "dataset": pair.dataset, "patient": patient_of(pair, config)}
        members = {
            "image.jpg" if config.jpeg else "image.png": encode_jpeg(image, config.jpeg)
            if config.jpeg
            else encode(image),
            "mask.png": encode(labels if values[-1] > 255 else labels.astype(np.uint8)),
            "json": json.dumps(about).encode(),
        }
        samples.append((make_key(pair.modality.value, pair.dataset, pair.name, *position), members))
        objects += len(values)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        histogram += np.bincount(grey.ravel(), minlength=LEVELS)
    return counts._replace(samples=samples, objects=objects, histogram=histogram.tolist())


def _uniform(*names: str | int) -> float:
    """A number in [0, 1) that depends on the names alone."""
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _claim_output(config: PrepareConfig, plan: Plan) -> None:
    """Take an empty folder, or the one an equal preparation has begun; anything else is left alone."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("sources", "output", "workers")}
    names = [
        [pair.split, pair.modality.value, pair.dataset, pair.name] for own in plan.streams.values() for pair in own
    ]
    settings["modality"] = config.modality and Modality.parse(config.modality)
    settings["fractions"] = {str(name): value for name, value in fractions_of(config.fractions).items()}
    settings["files"] = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    wanted = json.loads(json.dumps(settings))
    path = config.output / SETTINGS
    if path.is_file():
        try:
            stored = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(f"output: {path} is damaged; choose another folder") from error
        changed = [name for name in wanted if wanted[name] != stored.get(name)]
        if changed:
            raise InputError(
                f"output: {config.output} holds shards of other {', '.join(changed)}; choose another folder"
            )
    elif config.output.exists() and any(config.output.glob("[!.]*")):
        raise InputError(f"output: expected an empty folder or one of a preparation, got {config.output}")
    with replacing(path) as partial:
        partial.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    for split in SPLITS:
        (config.output / split).mkdir(exist_ok=True)
    for left in config.output.glob("**/.*.partial.*"):  # by a run that was killed
        left.unlink()


def _summary(plan: Plan, parts: Mapping[Stream, Sequence[Part]]) -> PrepareReport:
    modalities: dict[str, Counts] = {}
    for modality in Modality:
        splits = [list(parts.get((split, modality), ())) for split in SPLITS]
        own = [*splits[0], *splits[1]]
        if own:
            modalities[modality.value] = Counts(
                found=sum(part.found for part in own),
                sampled=sum(part.sampled for part in own),
                train=sum(part.written for part in splits[0]),
                val=sum(part.written for part in splits[1]),
                objects=sum(part.objects for part in own),
                skipped=sum(len(part.skipped) for part in own),
                histogram=tuple(map(sum, zip(*(part.histogram for part in own), strict=True))),
            )
    skipped = [*plan.skipped, *(entry for own in parts.values() for part in own for entry in part.skipped)]
    return PrepareReport(modalities, tuple(skipped), plan.kept, plan.drawn)


def _with_progress_bar(results: Iterable[Prepared], total: int) -> Iterator[Prepared]:
    """The same results, counted on a terminal."""
    if not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(results, "prepare", total, console=Console(stderr=True))
