"""Finished shards: a tar, and beside it a json that says what it was made of.

The json is written last, so a part with a json is finished; a killed run continues after the last finished part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medsam_edge.writing.whole import replacing
from medsam_edge_train.data.shards import write_shard
from medsam_edge_train.prepare.report import LEVELS
from medsam_edge_train.prepare.samples import Prepared
from medsam_edge_train.prepare.sources import Pair, Skipped
from medsam_edge_train.prepare.split import Stream


@dataclass
class Part:
    """One shard, made of consecutive pairs; the counts are those of `Prepared`, summed.

    Attributes:
        pairs: number of pairs, including skipped ones.
        written: number of images in the shard.
        tar_bytes: size of the tar; 0 if no image was left, so that there is no tar.
    """

    pairs: int = 0
    found: int = 0
    sampled: int = 0
    written: int = 0
    objects: int = 0
    tar_bytes: int = 0
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
    output: Path, stream: Stream, number: int, shard_images: int, work: Iterable[tuple[Pair, Prepared]]
) -> Iterator[Part]:
    """Write the results of a stream's next pairs; a part is written as soon as it has `shard_images` images.

    Args:
        number: number of the first part to write.
    """
    part, samples = Part(), list[tuple[str, Mapping[str, bytes]]]()
    for pair, result in work:
        part.add(pair, result)
        samples += result.samples
        if part.written >= shard_images:
            yield _write_part(_part_path(output, stream, number), part, samples)
            number, part, samples = number + 1, Part(), []
    if part.pairs:
        yield _write_part(_part_path(output, stream, number), part, samples)


def _write_part(path: Path, part: Part, samples: Sequence[tuple[str, Mapping[str, bytes]]]) -> Part:
    part.tar_bytes = write_shard(path, samples) if samples else 0
    with replacing(path.with_suffix(".json")) as partial:  # last: it marks the tar as whole
        partial.write_text(json.dumps(asdict(part)), encoding="utf-8")
    return part
