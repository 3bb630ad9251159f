"""Teacher embeddings, computed once per image and kept on disk in half precision (Rep-MedSAM, section 2.3).

A store is a folder of safetensors shards and an `index.json` that says which teacher made them, at which size, and
each shard's sha256 and keys. It grows shard by shard; a killed run goes on after the last whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medsam_edge.errors import FileMissingError, InputError
from medsam_edge.geometry import Geometry
from medsam_edge.networks.bundle import sha256
from medsam_edge.writing.whole import replacing
from medsam_edge_train import checkpoint
from medsam_edge_train.data.cases import Case, find_cases, read_case
from medsam_edge_train.loop.config import check_precision, choose_precision
from medsam_edge_train.models import MedSAM
from medsam_edge_train.models.vit import ViT
from medsam_edge_train.options import Output
from medsam_edge_train.progress import progress
from medsam_edge_train.stages.store import INDEX, is_whole, next_name, read_index, write_index

SPLITS = ("train", "val")
VIT_FACTOR = 4
"""MedSAM's encoder reduces by 16 and ours by 4: it is shown the same square, four times larger."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class EmbedConfig:
    """Settings of `embed`.

    Attributes:
        data: folder with train/ and val/, each image/mask folders or shards of `train prepare`.
        output: folder of the store; a store of the same teacher and size is completed.
        teacher: checkpoint of medsam_vit_b or of any network of the zoo.
        teacher_architecture: its network, where the checkpoint does not say.
        image_size: side of the student's training square, a multiple of 64; for MedSAM 256 (it sees 1024).
        batch_size: images per pass.
        shard_images: embeddings per file.
        precision: auto takes bf16 where the CPU or GPU computes in it, else f32.
    """

    data: Path
    output: Output
    teacher: Path
    teacher_architecture: str | None = None
    image_size: int = 256
    batch_size: int = 8
    shard_images: int = 128
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.image_size < 64 or self.image_size % 64:
            raise InputError(f"image_size: expected a positive multiple of 64, got {self.image_size}")
        for name in ("batch_size", "shard_images"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")
        check_precision(self.precision)


def image_tensor(case: Case, size: int) -> Tensor:
    """(3, S, S) float32 in [0, 1]: the image as the sdk hands it to a network, without augmentation."""
    image, labels = read_case(case)
    return torch.from_numpy(Geometry.of(labels.shape, size).image_to_network(image))


def embedding_key(split: str, case: Case) -> str:
    """The case's name in the store."""
    return f"{split}/{case.key}"


def embed(config: EmbedConfig, report: Report = lambda line: None) -> Path:
    """Embed every image of both splits, or those a killed run has left.

    Returns:
        The store's folder.

    Raises:
        FileMissingError: the data have neither train/ nor val/.
        InputError: the folder holds a store of another teacher or size; MedSAM's encoder at another size than its own.
        CheckpointError: the teacher or the store's index cannot be read.
    """
    cases = _find_all(config.data)
    teacher, name = checkpoint.load(config.teacher, config.teacher_architecture)
    if isinstance(teacher.image_encoder, ViT) and config.image_size * VIT_FACTOR != teacher.image_encoder.image_size:
        needed = teacher.image_encoder.image_size // VIT_FACTOR
        raise InputError(f"image_size: {name} needs {needed}, got {config.image_size}")
    made_by = {"teacher": name, "teacher_sha256": sha256(config.teacher.read_bytes()), "image_size": config.image_size}
    config.output.mkdir(parents=True, exist_ok=True)
    shards: dict[str, Any] = {}
    if (config.output / INDEX).is_file():
        index = read_index(config.output)
        if made_by != {key: index.get(key) for key in made_by}:
            raise InputError(f"output: {config.output} holds embeddings of another teacher or image size")
        shards = {name: entry for name, entry in index["shards"].items() if is_whole(config.output / name, entry)}
    done = {key for entry in shards.values() for key in entry["keys"]}
    missing = [pair for pair in cases if pair[0] not in done]
    report(f"embed: {len(cases)} images, {len(missing)} to do, teacher {name}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = teacher.image_encoder.to(device)
    write_index(config.output, made_by, shards)  # now, lest it names damaged shards of which nothing is missing
    with progress("embed", len(missing)) as step:
        for start in range(0, len(missing), config.shard_images):
            tensors = _embed_cases(encoder, missing[start : start + config.shard_images], config, step)
            file = next_name(shards)
            with replacing(config.output / file) as partial:
                save_file(tensors, partial)
                shards[file] = {"sha256": sha256(partial.read_bytes()), "keys": list(tensors)}
            write_index(config.output, made_by, shards)
    return config.output


def _embed_cases(
    encoder: nn.Module, cases: Sequence[tuple[str, Case]], config: EmbedConfig, step: Report
) -> dict[str, Tensor]:
    """The float16 embedding of each case, by its name in the store."""
    device, tensors = next(encoder.parameters()).device, {}
    for first in range(0, len(cases), config.batch_size):
        batch = cases[first : first + config.batch_size]
        images = torch.stack([image_tensor(case, config.image_size) for _, case in batch]).to(device)
        embeddings = run_teacher(encoder, images, config.precision).half().cpu()
        for (key, _), value in zip(batch, embeddings, strict=True):
            tensors[key] = value.clone(memory_format=torch.contiguous_format)
            step(key)
    return tensors


def _find_all(data: Path) -> list[tuple[str, Case]]:
    """Every image of both splits, or of the one there is, with its name in the store."""
    splits = [split for split in SPLITS if (data / split).is_dir()]
    if not splits:
        raise FileMissingError(f"data: expected a folder with {' or '.join(SPLITS)}, got {data}")
    return [(embedding_key(split, case), case) for split in splits for case in find_cases(data / split)]


@torch.inference_mode()
def run_teacher(encoder: nn.Module, images: Tensor, precision: str = "32-true") -> Tensor:
    """(B, 3, S, S) → (B, 256, S/4, S/4)."""
    if isinstance(encoder, ViT):
        images = nn.functional.interpolate(images, scale_factor=VIT_FACTOR, mode="bicubic").clamp(0, 1)
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(choose_precision(precision))
    with torch.autocast(images.device.type, dtype=half, enabled=half is not None):
        result: Tensor = encoder(images)
    return result.float()


def copy_decoder(teacher: Path, network: MedSAM) -> list[str]:
    """Give a student its teacher's prompt encoder and mask decoder, as far as they fit (Rep-MedSAM, section 2.3).

    Returns:
        What did not fit, a line each.
    """
    state = checkpoint.read(teacher).state
    parts = {key: value for key, value in state.items() if not key.startswith("image_encoder.")}
    own = {key: value for key, value in network.state_dict().items() if key.startswith("image_encoder.")}
    return checkpoint.load_state(network, {**own, **parts}, "the student", partial=True)
