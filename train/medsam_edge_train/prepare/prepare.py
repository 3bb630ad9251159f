"""`medsam-edge train prepare`: images with labels from many sources → shards of 2D training images.

    find pairs → split by patient → per pair: labelled slices → interval → fraction → 8 bits → network size → png or jpg
               → shards, one part of a (split, modality) after the other

A part is a tar, and beside it a json that says what it was made of. The json is written last, so a part with a json is
finished; a killed run continues after the last finished part. Every random choice follows from a hash of names, so
neither the number of processes nor their order changes a byte.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medsam_edge.errors import ImageError, InputError
from medsam_edge.modality import Modality
from medsam_edge.writing.whole import replacing
from medsam_edge_train.data.cases import SPLITS
from medsam_edge_train.data.shards import write_shard
from medsam_edge_train.prepare.config import PrepareConfig, fractions_of
from medsam_edge_train.prepare.parallel import in_order
from medsam_edge_train.prepare.report import LEVELS, Counts, PrepareReport, draw_report
from medsam_edge_train.prepare.samples import Prepared, prepare_pair
from medsam_edge_train.prepare.sources import Pair, Skipped, SplitPairs, Stream, split_pairs
from medsam_edge_train.progress import track

SETTINGS = "prepare.json"
LOST = "the process that read it died"


def prepare(config: PrepareConfig, progress: Callable[[str], None] = lambda line: None) -> PrepareReport:
    """Write the shards, and `report.json` and `report.png` beside them.

    Files that cannot be read are skipped, counted and named in the report. An output folder serves one run at a time.

    Args:
        progress: called with a line of text after each part.

    Raises:
        FileMissingError: a source is not a folder.
        ImageError: the sources hold no image with labels.
        InputError: the output folder holds shards of other settings, or other files.
    """
    pairs = split_pairs(config)
    if not pairs.streams:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in pairs.skipped[:3])
        raise ImageError(f"sources: expected images with labels, found none. {reasons}".rstrip())
    _claim_output(config, pairs)
    parts = {stream: finished_parts(config.output, stream) for stream in pairs.streams}
    done = {stream: sum(part.pairs for part in finished) for stream, finished in parts.items()}
    todo = [pair for stream, of_stream in pairs.streams.items() for pair in of_stream[done[stream] :]]
    progress(
        f"prepare: {pairs.kept + pairs.drawn} files, {len(todo)} to do; "
        f"train and val kept as the source says for {pairs.kept}, drawn by patient for {pairs.drawn}"
    )
    results = in_order(functools.partial(prepare_pair, config=config), todo, config.workers, Prepared(reason=LOST))
    work = zip(todo, track(results, "prepare", len(todo)), strict=True)
    for stream, of_stream in itertools.groupby(work, lambda item: (item[0].split, item[0].modality)):
        for part in write_parts(config, stream, len(parts[stream]), of_stream):
            parts[stream].append(part)
            progress(f"prepare: {'/'.join(stream)}: {sum(part.written for part in parts[stream])} images")
    report = _report(pairs, parts)
    with replacing(config.output / "report.json") as partial:
        partial.write_text(json.dumps(report.as_json(), indent=1), encoding="utf-8")
    draw_report(report, config.output / "report.png")
    return report


def _claim_output(config: PrepareConfig, pairs: SplitPairs) -> None:
    """Take an empty folder, or one begun with equal settings; raise InputError and leave any other folder alone."""
    settings, path = _settings(config, pairs), config.output / SETTINGS
    if path.is_file():
        try:
            stored = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(f"output: {path} is damaged; choose another folder") from error
        if changed := [name for name in settings if settings[name] != stored.get(name)]:
            raise InputError(
                f"output: {config.output} holds shards of other {', '.join(changed)}; choose another folder"
            )
    elif config.output.exists() and any(config.output.glob("[!.]*")):
        raise InputError(f"output: expected an empty folder or one of `train prepare`, got {config.output}")
    with replacing(path) as partial:
        partial.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    for split in SPLITS:
        (config.output / split).mkdir(exist_ok=True)
    for left in config.output.glob("**/.*.partial.*"):  # of a run that was killed
        left.unlink()


def _settings(config: PrepareConfig, pairs: SplitPairs) -> dict[str, Any]:
    """All that the shards depend on, as json gives it back."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("sources", "output", "workers")}
    every = itertools.chain.from_iterable(pairs.streams.values())
    names = [[pair.split, pair.modality.value, pair.dataset, pair.name] for pair in every]
    settings["modality"] = config.modality and Modality.parse(config.modality)
    settings["fractions"] = {str(name): value for name, value in fractions_of(config.fractions).items()}
    settings["files"] = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return dict(json.loads(json.dumps(settings)))


@dataclass
class Part:
    """One shard, made of consecutive pairs; the counts are those of `Prepared`, summed."""

    pairs: int = 0  # including skipped ones
    found: int = 0
    sampled: int = 0
    written: int = 0  # number of images in the shard
    objects: int = 0
    tar_bytes: int = 0  # 0 if no image was left, so that there is no tar
    histogram: list[int] = field(default_factory=lambda: [0] * LEVELS)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, pair: Pair, result: Prepared) -> None:
        self.pairs += 1
        self.found += result.found
        self.sampled += result.sampled
        self.written += len(result.samples)
        self.objects += result.objects
        self.histogram = [a + b for a, b in zip(self.histogram, result.histogram, strict=True)]
        if result.reason:
            self.skipped.append(Skipped(pair.source, result.reason))


def _part_path(output: Path, stream: Stream, number: int) -> Path:
    split, modality = stream
    return output / split / f"{modality}-{number:05d}.tar"


def finished_parts(output: Path, stream: Stream) -> list[Part]:
    """Parts before the first one that is missing or not whole."""
    parts: list[Part] = []
    while True:
        path = _part_path(output, stream, len(parts))
        try:
            part = Part(**json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
            if part.tar_bytes and path.stat().st_size != part.tar_bytes:
                return parts
        except (OSError, ValueError, TypeError):
            return parts
        part.skipped = [Skipped(*entry) for entry in part.skipped]
        parts.append(part)


def write_parts(
    config: PrepareConfig, stream: Stream, number: int, work: Iterable[tuple[Pair, Prepared]]
) -> Iterator[Part]:
    """Write the results of a stream's next pairs from part `number` on, each part as soon as it has enough images."""
    part, samples = Part(), list[tuple[str, Mapping[str, bytes]]]()
    for pair, result in work:
        part.add(pair, result)
        samples += result.samples
        if part.written >= config.shard_images:
            yield _write_part(_part_path(config.output, stream, number), part, samples)
            number, part, samples = number + 1, Part(), []
    if part.pairs:
        yield _write_part(_part_path(config.output, stream, number), part, samples)


def _write_part(path: Path, part: Part, samples: Sequence[tuple[str, Mapping[str, bytes]]]) -> Part:
    part.tar_bytes = write_shard(path, samples) if samples else 0
    with replacing(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(asdict(part)), encoding="utf-8")
    return part


def _report(pairs: SplitPairs, parts: Mapping[Stream, Sequence[Part]]) -> PrepareReport:
    modalities: dict[str, Counts] = {}
    for modality in Modality:
        train, val = (parts.get((split, modality), ()) for split in SPLITS)
        if both := [*train, *val]:
            modalities[modality.value] = Counts(
                found=sum(part.found for part in both),
                sampled=sum(part.sampled for part in both),
                train=sum(part.written for part in train),
                val=sum(part.written for part in val),
                objects=sum(part.objects for part in both),
                skipped=sum(len(part.skipped) for part in both),
                histogram=tuple(map(sum, zip(*(part.histogram for part in both), strict=True))),
            )
    skipped = [*pairs.skipped, *(entry for of_stream in parts.values() for part in of_stream for entry in part.skipped)]
    return PrepareReport(modalities, tuple(skipped), pairs.kept, pairs.drawn)
