"""The mean of several trainings' weights, with batch statistics measured anew.

Weights of trainings that go on from one checkpoint lie near each other, and their mean is at home on more data than
each of them (Wortsman et al., "Model soups", 2022). Batch statistics have no mean, and those that training leaves are
of crops and augmented images: they are measured on images as the sdk shows them to the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medsam_edge.errors import InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.data.cases import Case, find_cases, thin
from medsam_edge_train.models import MedSAM
from medsam_edge_train.models.medsam import EXTRA_WEIGHTS
from medsam_edge_train.settings import is_image_size
from medsam_edge_train.stages.embed import image_tensor

IMAGES_OF_EACH_SET = 6
BATCH = 16


def average(
    checkpoints: Sequence[Path],
    output: Path,
    shares: Sequence[float] = (),
    data: Path | None = None,
    image_size: int = 256,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the mean of the weights of one or more checkpoints of one network; returns the file.

    What only clicks and mask prompts use is the mean of those that were trained to take them. Everything that is no
    weight, such as the ellipse's strength, is the first one's. The file appears whole or not at all.

    Args:
        output: a new .safetensors file.
        shares: of each checkpoint, above 0, of any sum; empty for equal ones.
        data: folder with train/, on whose images batch statistics are measured; None leaves the mean of theirs.
        image_size: side of the square that an image fills there.
        progress: told, in a line of text, what there is to do.

    Raises:
        InputError: no checkpoint, those of different networks, or of one that is fused in some of them; other shares; a
            file that exists already.
        FileMissingError, CheckpointError, ImageError: a file is missing or cannot be read.
    """
    shares = list(shares) or [1.0] * len(checkpoints)
    if not checkpoints:
        raise InputError("checkpoints: expected one or more, got none")
    if len(shares) != len(checkpoints) or not all(0 < share < float("inf") for share in shares):
        raise InputError(f"shares: expected {len(checkpoints)} numbers above 0, got {list(shares)}")
    if output.suffix != ".safetensors" or output.exists():
        raise InputError(f"output: expected the name of a new .safetensors file, got {output}")
    if not is_image_size(image_size):
        raise InputError(f"image_size: expected a positive multiple of 64, got {image_size}")
    loaded = [checkpoint.load(path) for path in checkpoints]
    for path, (network, name) in zip(checkpoints, loaded, strict=True):
        if name != loaded[0][1]:
            raise InputError(f"checkpoints: expected {loaded[0][1]} as in {checkpoints[0]}, got {name} in {path}")
        if network.state_dict().keys() != loaded[0][0].state_dict().keys():
            raise InputError(f"checkpoints: expected all fused alike or none, got {checkpoints[0]} and {path}")
    of_set = attrgetter("modality", "dataset")
    cases = [] if data is None else thin(find_cases(data / "train"), IMAGES_OF_EACH_SET, alike=of_set)
    network, name = loaded[0]
    network.load_state_dict(_mean([own for own, _ in loaded], shares))
    if cases:
        progress(f"average: batch statistics of {len(cases)} images")
        _measure(network.image_encoder, cases, image_size)
    checkpoint.write(output, network, name)
    return output


def _mean(networks: Sequence[MedSAM], shares: Sequence[float]) -> dict[str, Tensor]:
    states = [network.state_dict() for network in networks]
    taught = [index for index, network in enumerate(networks) if "mask" in network.prompt_kinds]
    result = {}
    for key, value in states[0].items():
        of = taught if taught and key.startswith(EXTRA_WEIGHTS) else range(len(states))
        if value.is_floating_point():
            total = sum(shares[index] for index in of)
            value = sum((shares[i] / total * states[i][key].double() for i in of), torch.zeros(())).to(value.dtype)
        result[key] = value
    return result


@torch.no_grad()
def _measure(encoder: nn.Module, cases: Sequence[Case], size: int) -> None:
    """Set the batch statistics of an encoder in eval mode to their mean over batches of mixed whole images."""
    norms = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    order = np.random.default_rng(0).permutation(len(cases))
    for batch in np.array_split(order, math.ceil(len(order) / BATCH)):  # of nearly equal size: all count alike
        encoder(torch.stack([image_tensor(cases[index], size) for index in batch]))
    encoder.eval()
