"""The whole chain on a little data, each step the command a user would type:

    prepare → embed (teacher) → distill → fit → finetune → convert → segment

for a RepViT student and one with class prompts. At the end the curves must have gone the right way: distillation lowers
the embedding's error on held-back images, training lowers the loss and raises the DSC.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import InputError, MedsamEdgeError
from medsam_edge_benchmarks.report.output import SuiteConfig, write_json
from medsam_edge_train.data.cases import find_cases, read_case
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.options import Output
from medsam_edge_train.stages.phantoms import PhantomConfig, write_phantoms

FAST = "--preset small --images-per-epoch 64 --batch-size 4 --warmup-steps 10 --ema 0.9 --val-per-modality 4"


@dataclass(frozen=True)
class Student:
    """A network to train, and the square it is trained at."""

    architecture: str
    image_size: int
    epochs: tuple[int, int, int]  # of distill, fit and finetune
    learning_rate: float  # of fit; low where the decoder comes trained from the teacher
    told: bool  # also say the modality when segmenting; a network with class prompts finds it out


@dataclass(frozen=True, kw_only=True)
class ChainConfig(SuiteConfig):
    """Settings of `bench chain`.

    Attributes:
        data: anything that `train prepare` reads; synthetic images if not given.
        fraction: part of the images that is used.
        teacher: checkpoint whose embeddings are learned.
        output: folder to make.
    """

    data: Path | None = None
    fraction: float = 1.0
    teacher: Path
    output: Output


# TinyViT works at the full resolution from the start: on a CPU its steps take longer at half the size
STUDENTS = (
    Student("rep_medsam_s", 128, (8, 6, 2), 1.5e-4, told=True),
    Student("class_prompt_tinyvit", 64, (4, 6, 1), 6e-4, told=False),
)


@dataclass
class ChainResult:
    """What the chain took and what came of it."""

    seconds: dict[str, float] = field(default_factory=dict)  # of each step
    changes: dict[str, tuple[float, float]] = field(default_factory=dict)  # first and last value of each curve
    wrong: list[str] = field(default_factory=list)  # curves that did not go the right way

    def __str__(self) -> str:
        lines = [f"{name:44} {first:8.4f} → {last:8.4f}" for name, (first, last) in self.changes.items()]
        lines += [f"{name:44} {seconds:8.1f} s" for name, seconds in {**self.seconds, "in all": self.total}.items()]
        return "\n".join([*lines, *(f"went the wrong way: {name}" for name in self.wrong)])

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def run_command(words: list[str]) -> float:
    """Run `medsam-edge` with these words; its output goes to stderr. Gives the seconds it took."""
    print(f"\n$ medsam-edge {' '.join(words)}", file=sys.stderr, flush=True)
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "medsam_edge", *words], stdout=sys.stderr, check=False)  # noqa: S603
    if done.returncode:
        raise MedsamEdgeError(f"chain: medsam-edge {words[0]} {words[1]} ended with code {done.returncode}")
    return time.perf_counter() - start


def bench_chain(settings: ChainConfig) -> dict[str, Any]:
    """Run the chain, and show what it took and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        data = settings.data or write_phantoms(PhantomConfig(Path(folder) / "phantoms"))
        result = chain(data, settings.teacher, settings.output, settings.fraction)
    print(result)
    failed = f"chain: went the wrong way: {', '.join(result.wrong)}" if result.wrong else None
    return {**asdict(result), "failed": failed}


def chain(
    data: Path,
    teacher: Path,
    output: Path,
    fraction: float = 1.0,
    students: Sequence[Student] = STUDENTS,
    run: Callable[[list[str]], float] = run_command,
) -> ChainResult:
    """Run the chain; the settings are those of `ChainConfig`.

    The output holds every run with its curves.png, the bundles, the overlays and chain.json.
    """
    if output.exists():
        raise InputError(f"output: {output} exists already")
    result, shards = ChainResult(), output / "shards"

    def step(name: str, *words: object) -> None:
        result.seconds[name] = run([str(word) for word in words])

    step("prepare", "train", "prepare", "--sources", data, "-o", shards, "--fractions", fraction)
    case = find_cases(shards / "val")[0]
    picture = output / "example.png"  # shards hold png
    picture.write_bytes(case.image.read())
    box = ",".join(str(int(edge)) for edge in boxes_from_masks(read_case(case)[1])[0])
    for student in students:
        name, size, folder = student.architecture, student.image_size, output / student.architecture
        distill, fit, finetune = student.epochs
        known, embeddings = ("--architecture", name), folder / "embeddings"
        fast = (*FAST.split(), "--image-size", size, "--epochs")
        trainings: dict[str, tuple[object, ...]] = {
            "embed": (embeddings, "--teacher", teacher, "--image-size", size),
            "distill": (folder / "distill", *known, "--embeddings", embeddings, "--teacher", teacher, *fast, distill),
            "fit": (
                *(folder / "fit", *known, "--init", folder / "distill" / "best.safetensors", *fast, fit),
                *("--boxes-per-image", 4, "--learning-rate", student.learning_rate),
            ),
            "finetune": (
                *(folder / "finetune", *known, "--init", folder / "fit" / "best.safetensors", *fast, finetune),
                *("--boxes-per-image", 4),
            ),
        }
        for stage, words in trainings.items():
            step(f"{name} {stage}", "train", stage, "--data", shards, "-o", *words)
        trained, bundle = folder / "finetune" / "best.safetensors", folder / "bundle"
        step(f"{name} convert", "convert", trained, "-o", bundle, "--calibration", "phantoms")
        step(
            *(f"{name} segment", "segment", picture, "--box", box, "-o", folder / "mask.png"),
            *("--overlay", folder / "overlay.png", "--bundle", bundle),
            *(("--modality", case.modality.value) if student.told else ()),
        )
        for stage, curve in (
            ("distill", "val_mse"),
            ("distill", "train_loss"),
            ("fit", "val_dsc"),
            ("fit", "train_loss"),
        ):
            values = [value for _, value in sorted(read_curves(folder / stage)[curve].items())]
            result.changes[f"{name} {stage} {curve}"] = (values[0], values[-1])
            if (values[-1] > values[0]) is not (curve == "val_dsc"):  # the one that is to rise
                result.wrong.append(f"{name} {stage} {curve}")
    write_json(output / "chain.json", asdict(result))
    return result
