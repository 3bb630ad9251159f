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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from medsam_edge.errors import ImageError, InputError
from medsam_edge.modality import Modality
from medsam_edge.writing.whole import replacing
from medsam_edge_train.prepare.config import PrepareConfig, fractions_of
from medsam_edge_train.prepare.parallel import in_order
from medsam_edge_train.prepare.parts import Part, finished_parts, write_parts
from medsam_edge_train.prepare.report import Counts, PrepareReport, draw
from medsam_edge_train.prepare.samples import Prepared, prepare_pair
from medsam_edge_train.prepare.sources import SPLITS
from medsam_edge_train.prepare.split import Plan, Stream, make_plan
from medsam_edge_train.progress import track

SETTINGS = "prepare.json"
LOST = "the process that read it died"

Report = Callable[[str], None]


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
    work = zip(todo, track(results, "prepare", len(todo)), strict=True)
    for stream, own in itertools.groupby(work, lambda item: (item[0].split, item[0].modality)):
        for part in write_parts(config.output, stream, len(parts[stream]), config.shard_images, own):
            parts[stream].append(part)
            report(f"prepare: {'/'.join(stream)}: {sum(part.written for part in parts[stream])} images")
    summary = _summary(plan, parts)
    with replacing(config.output / "report.json") as partial:
        partial.write_text(json.dumps(summary.as_json(), indent=1), encoding="utf-8")
    draw(summary, config.output / "report.png")
    return summary


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
