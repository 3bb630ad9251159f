"""Teachers: image encoders in PyTorch, or of a bundle by OpenVINO, which takes less of a CPU's time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.networks.bundle import load_bundle, sha256
from medsam_edge_train import checkpoint
from medsam_edge_train.loop.config import choose_precision
from medsam_edge_train.models import TEACHER
from medsam_edge_train.models.vit import ViT

VIT_FACTOR = 4
"""MedSAM's encoder reduces by 16 and ours by 4: MedSAM is shown the same square, four times larger."""
NO_MASK = "prompt_encoder.no_mask_embed.weight"


class Teacher(NamedTuple):
    """What makes embeddings.

    Attributes:
        name: for people.
        made_by: what a store says of its embeddings: teacher, teacher_sha256 (of the checkpoint), image_size, and
            bundle, the precision and identity of the bundle, or None of a teacher in PyTorch.
        embed: (B, 3, S, S) float32 in [0, 1] → (B, 256, S/4, S/4) float16, both on the CPU; as the plain encoder gives
            it, without the dense prompt.
    """

    name: str
    made_by: dict[str, Any]
    embed: Callable[[Tensor], Tensor]


def network_teacher(path: Path, architecture: str | None, image_size: int, precision: str) -> Teacher:
    """A checkpoint, run by PyTorch, on a GPU if there is one.

    Args:
        architecture: name of the network, if the checkpoint does not say.
        image_size: S.
        precision: as Lightning names it, or auto.

    Raises:
        InputError: MedSAM's encoder needs another size.
        FileMissingError, CheckpointError: there is no checkpoint, or it cannot be read.
    """
    network, name = checkpoint.load(path, architecture)
    encoder = network.image_encoder
    if isinstance(encoder, ViT) and image_size * VIT_FACTOR != encoder.image_size:
        raise InputError(f"image_size: {name} needs {encoder.image_size // VIT_FACTOR}, got {image_size}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder.to(device)
    made_by = {
        "teacher": name,
        "teacher_sha256": sha256(path.read_bytes()),
        "image_size": image_size,
        "bundle": None,
    }
    return Teacher(name, made_by, lambda images: run_teacher(encoder, images.to(device), precision).half().cpu())


@torch.inference_mode()
def run_teacher(encoder: nn.Module, images: Tensor, precision: str = "32-true") -> Tensor:
    """(B, 3, S, S) in [0, 1] → (B, 256, S/4, S/4) float32."""
    if isinstance(encoder, ViT):
        images = nn.functional.interpolate(images, scale_factor=VIT_FACTOR, mode="bicubic").clamp(0, 1)
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(choose_precision(precision))
    with torch.autocast(images.device.type, dtype=half, enabled=half is not None):
        return cast(Tensor, encoder(images).float())


def bundle_teacher(folder: Path, source: Path, image_size: int) -> Teacher:
    """A bundle of `medsam-edge convert`, whose encoder OpenVINO runs.

    A bundle's embedding is rows of positions with the dense prompt added, which is in the checkpoint alone.

    Args:
        source: the checkpoint that the bundle was converted from.
        image_size: S.

    Raises:
        InputError: the bundle is of another checkpoint, another size or MedSAM, or its embedding is no S/4 × S/4 grid.
        FileMissingError: there is no checkpoint.
        BundleError: the bundle is invalid, or needs a newer OpenVINO.
        CheckpointError: the checkpoint cannot be read, or has no dense prompt.
    """
    bundle = load_bundle(folder)
    manifest, side = bundle.manifest, image_size // 4
    if manifest.architecture == TEACHER:  # its square is four times larger
        raise InputError(f"teacher: expected the checkpoint of {TEACHER} itself, got a bundle of it")
    if manifest.image_size != image_size:
        raise InputError(f"image_size: the bundle {folder} needs {manifest.image_size}, got {image_size}")
    if not source.is_file():
        raise FileMissingError(f"teacher_checkpoint: no such file: {source}")
    if (found := sha256(source.read_bytes())) != manifest.source_sha256:
        raise InputError(
            f"teacher_checkpoint: expected the file that {folder} was converted from, "
            f"of sha256 {manifest.source_sha256}, got {found}"
        )
    dense = checkpoint.read(source).state.get(NO_MASK)
    if dense is None or dense.ndim != 2 or len(dense) != 1:
        raise CheckpointError(f"teacher_checkpoint: expected {NO_MASK} of shape (1, channels) in {source}")
    # training machines have no OpenVINO
    from medsam_edge.networks.engine import EngineSettings, OpenVinoNetwork, load_model

    settings = EngineSettings(num_threads=torch.get_num_threads())  # OMP_NUM_THREADS bounds both kinds of teachers
    encoder = cast(OpenVinoNetwork, load_model(bundle, settings).encoder)
    expected, shape = (1, side**2, dense.shape[1]), encoder.shape("embedding")
    if shape != expected:
        raise InputError(f"teacher: expected a bundle whose embedding is {expected}, rows of positions, got {shape}")

    def embed(images: Tensor) -> Tensor:
        each = [torch.from_numpy(encoder.infer({"image": image[None].numpy()})["embedding"]) for image in images]
        rows = torch.cat(each).float() - dense.float()  # (B, (S/4)², 256)
        return rows.reshape(len(rows), side, side, -1).permute(0, 3, 1, 2).half()

    made_by = {
        "teacher": manifest.architecture,
        "teacher_sha256": manifest.source_sha256,
        "image_size": image_size,
        "bundle": {"precision": manifest.encoder_precision, "sha256": bundle.identity},
    }
    return Teacher(f"{manifest.architecture}, {manifest.encoder_precision} bundle", made_by, embed)
