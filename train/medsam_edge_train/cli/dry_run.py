"""`--dry-run`: what a run would do, and what it would need."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from medsam_edge_train.data.datasets import is_of_crops
from medsam_edge_train.loop.config import choose_precision
from medsam_edge_train.loop.module import starting_network
from medsam_edge_train.loop.processes import world_size
from medsam_edge_train.loop.trainer import check_output
from medsam_edge_train.models import build, fuse
from medsam_edge_train.stages import distill, fit
from medsam_edge_train.stages.distill import DistillConfig
from medsam_edge_train.stages.fit import FitConfig


def plan(config: FitConfig | DistillConfig, resume: bool = False) -> str:
    """A few lines: data, steps, parameters, arithmetic and memory. Nothing is written; raises what a run would of its
    data, its output folder, and what it starts from."""
    check_output(config, resume)
    if config.init is not None:
        starting_network(config)
    if isinstance(config, FitConfig):
        training, _ = fit.loaders(config)
        qat, boxes = config.qat, config.boxes_per_image
    else:
        training, _ = distill.loaders(config)
        qat, boxes = False, 0
    cases = cast(Any, training.dataset).cases
    counts = Counter(case.modality.value for case in cases)
    images = config.images_per_epoch or len(cases)
    with torch.device("meta"):  # shapes only
        network = build(config.architecture).reparameterize()
        if qat:
            fuse(network)
    network.freeze(config.freeze)
    network.context = None  # its cost is at most that of the whole grid; windows need the boxes themselves
    if isinstance(config, DistillConfig):
        distill.freeze_rest(network)
    everything = sum(p.numel() for p in network.parameters())
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    own = config.batch_size // world_size()
    macs, activations = _cost(network, config.image_size, own, boxes)
    copies = everything * (2 if config.ema else 1) + 3 * trained  # weights, average, gradient, AdamW's two moments
    steps = config.epochs * len(training)
    crops = config.epochs * sum(map(is_of_crops, range(len(training)))) if config.crop_size else 0
    sizes = f"{steps - crops} at {config.image_size}" + (f", {crops} of crops at {config.crop_size}" if crops else "")
    return "\n".join(
        [
            f"data        {len(cases)} training images: " + ", ".join(f"{k} {v}" for k, v in sorted(counts.items())),
            f"epochs      {config.epochs} of {images} images, {len(training)} steps each ({sizes} px)",
            f"batch       {config.batch_size} images in {world_size()} process(es), up to {boxes} boxes each",
            f"network     {config.architecture}, {everything:,} parameters, {trained:,} trained",
            f"arithmetic  {macs / own / 1e9:.2f} GMAC forward per image at {config.image_size} px",
            f"memory      about {(4 * copies + activations) / 1e9:.1f} GB per process in f32: "
            f"{4 * copies / 1e9:.1f} weights and optimizer, {activations / 1e9:.1f} activations",
            f"precision   {choose_precision(config.precision)}"
            + ("; the image encoder in f32 with the rounding of int8" if qat else ""),
            f"output      {config.output}",
        ]
    )


def _cost(network: Any, size: int, images: int, boxes: int) -> tuple[float, int]:
    """Multiply-adds and bytes kept for the backward pass of one batch."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
        kept.append(tensor)  # or another storage could get its address
        return tensor

    kept: list[Tensor] = []
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    pixels = torch.zeros(images, 3, size, size, device="meta")
    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        if boxes:
            index = torch.zeros(images * boxes, dtype=torch.int64, device="meta")
            network(pixels, torch.zeros(images * boxes, 4, device="meta"), index)
        else:
            network.image_encoder(pixels)
    return counter.get_total_flops() / 2, sum(size for key, size in sizes.items() if key not in own)
