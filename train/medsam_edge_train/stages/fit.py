"""Training of the whole network on images, masks, and boxes made from the masks.

`fit` trains; `finetune` does the same from a trained network, with gentler settings.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medsam_edge.errors import InputError
from medsam_edge.geometry import MASK_LIMIT
from medsam_edge.modality import Modality
from medsam_edge.networks.bundle import PROMPTS
from medsam_edge_train.data.augment import AUGMENTATIONS
from medsam_edge_train.data.cases import Case, find_cases, find_unlabelled, thin
from medsam_edge_train.data.corrections import clicks_on_errors, first_clicks
from medsam_edge_train.data.datasets import Batch, Sample, TrainingData, ValidationData, collate
from medsam_edge_train.data.following import Following
from medsam_edge_train.loop.config import RunConfig
from medsam_edge_train.loop.loader import ResumableLoader, step_loader, validation_cases
from medsam_edge_train.loop.module import StageModule
from medsam_edge_train.loop.processes import merge
from medsam_edge_train.loop.trainer import check_output, run
from medsam_edge_train.metrics import nsd
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM, one_hot
from medsam_edge_train.models.medsam import BOXES_ALONE, ExtraPrompts, MedSAM, Prediction
from medsam_edge_train.models.quantize import calibrate
from medsam_edge_train.settings import at_least_one, check, is_share, not_negative
from medsam_edge_train.stages.losses import batch_dice, bce_loss, dice_loss, focal_loss, iou_loss


@dataclass(frozen=True)
class FitConfig(RunConfig):
    """Settings of `fit` and `finetune`.

    Attributes:
        extra_data: further folders like data; their train/ is added.
        unlabelled: folder of images without masks, <Modality>/<dataset>/*; their labels are superpixels.
        synthetic: share of the other images whose label is superpixels, not their mask; needs scikit-image.
        superpixel_scales: smallest and largest scale of superpixels; larger scales give larger regions.
        paste: share of images that show a pasted object: a random shape with the texture of another training image.
        contrast: share of images whose contrast changes strongly: bent or inverted grey values, uneven light, lower
            resolution, other colours or none.
        zoom: smallest and largest random scale of an image, within 0.25 and 4; flips and flips+color do not scale.
        leave_out: modalities of data that are not trained on; extra_data may contain them.
        follow: share of images whose objects are also prompted with their masks on a neighbouring slice of the same
            volume; for images of no volume the mask is deformed.
        ended: of followed slices on which objects of the neighbour have ended, the share that asks for these.
        wrong: share of the followed objects whose mask prompt is empty or another object's.
        correct: share of batches whose objects are prompted with the network's own masks, and one to three clicks where
            these are wrong.
        click: share of batches whose objects have one to three clicks and no box.
        boxes_per_image: largest number of objects per training image.
        val_boxes: largest number of objects per validation image.
        augmentation: full, full with loose or careless boxes (full+loose, full+careless), or as in the papers, flips or
            flips+color.
        pixel_loss: bce (Rep-MedSAM) or focal (class-prompt Tiny-ViT), added to the Dice loss.
        iou_weight: weight of the loss of the predicted IoU; 0 leaves the scores untrained.
        class_weight: weight of the cross-entropy of the modality head, if the network has one.
        withhold_modality: share of training images whose modality a class-prompt network must recognise itself.
        qat: quantization-aware training: fuse the network and round its image encoder as int8 does; needs init.
        select: dsc: the best checkpoint has the highest mean DSC; paper: the class-prompt paper's mean of accuracy and
            inference time.
    """

    extra_data: tuple[Path, ...] = ()
    unlabelled: Path | None = None
    synthetic: float = 0.0
    superpixel_scales: tuple[float, ...] = (20.0, 500.0)
    paste: float = 0.0
    contrast: float = 0.0
    zoom: tuple[float, float] = (0.75, 1.6)
    leave_out: tuple[str, ...] = ()
    follow: float = 0.0
    ended: float = 0.5
    wrong: float = 0.1
    correct: float = 0.0
    click: float = 0.0
    boxes_per_image: int = 3
    val_boxes: int = 6
    augmentation: Literal["full", "full+loose", "full+careless", "flips", "flips+color"] = "full"
    pixel_loss: Literal["bce", "focal"] = "bce"
    iou_weight: float = 1.0
    class_weight: float = 1.0
    withhold_modality: float = 0.5
    qat: bool = False
    select: Literal["dsc", "paper"] = "dsc"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self, "0 to 1", is_share, "withhold_modality", "synthetic", "follow", "ended", "wrong", "correct", "click"
        )
        check(self, "0 to 1", is_share, "paste", "contrast")
        check(self, "0 or more", not_negative, "iou_weight", "class_weight")
        check(self, "at least 1", at_least_one, "boxes_per_image", "val_boxes")
        if self.qat and self.init is None:
            raise InputError("init: qat starts from a trained checkpoint, got none")
        scales = self.superpixel_scales
        if len(scales) != 2 or not 0 < scales[0] <= scales[1] < float("inf"):
            raise InputError(f"superpixel_scales: expected two numbers, 0 < smallest <= largest, got {scales}")
        zoom = self.zoom
        if len(zoom) != 2 or not 0.25 <= zoom[0] <= zoom[1] <= 4:
            raise InputError(f"zoom: expected two numbers, 0.25 <= smallest <= largest <= 4, got {zoom}")
        if (self.synthetic or self.unlabelled) and find_spec("skimage") is None:
            how = "pip install 'medsam-edge[train]', or '.[train]' in a copy of the repository"
            raise InputError(f"synthetic: needs scikit-image: {how}")
        for modality in self.leave_out:
            Modality.parse(modality)


class PipelineModule(StageModule):
    """The whole network in training, with its loss and validation scores."""

    def __init__(self, config: FitConfig) -> None:
        super().__init__(config)
        self.settings = config
        self._sums: dict[str, list[float]] = {}  # modality → number of objects, sums of their DSC, NSD, Jaccard index
        self._timing: dict[str, list[float]] = {}  # "seconds" → number of images, sum of their seconds
        self._hits: dict[str, list[float]] = {}  # "images" → number of images, number classified correctly

    def build_network(self) -> MedSAM:
        network, config = super().build_network(), cast(FitConfig, self.config)
        if config.follow or config.correct or config.click:
            network.prompt_kinds = PROMPTS
        return calibrate(network, calibration_images(config)) if config.qat else network

    def training_step(self, batch: Batch, number: int) -> Tensor:
        count = len(batch.boxes)
        extra = None if batch.priors is None else mask_prompts(batch.priors, cast(Tensor, batch.has_prior))
        rng = np.random.default_rng((self.config.seed, self.current_epoch, number))
        kind, clicks, boxes = rng.random(), int(rng.integers(1, 4)), batch.boxes
        untrained = BOXES_ALONE in self.config.freeze and extra is None  # boxes alone have no gradient then
        if 0 <= kind - self.settings.correct < self.settings.click:
            asked = first_clicks(batch.masks.cpu().numpy(), clicks)
            extra = with_clicks(mask_prompts(batch.masks.float(), boxes.new_zeros(len(boxes))), *asked)
            boxes = torch.zeros_like(boxes)
        elif kind < self.settings.correct or untrained:
            with torch.no_grad():
                first = self._predict(batch.images, boxes, batch.image_index, batch.given_classes, extra)
            extra = correction(first, batch.masks, clicks)
        prediction = self._predict(batch.images, boxes, batch.image_index, batch.given_classes, extra)
        loss = torch.zeros((), device=batch.boxes.device)
        for part in prediction.parts:
            logits, truth = part.logits.float(), part.crop(batch.masks)
            share = len(part.indices) / count
            loss = loss + share * self._mask_loss(logits, prediction.scores[part.indices].float(), truth)
            self.track("train_dsc", batch_dice(logits.detach(), truth).mean(), len(part.indices))
        entropy = torch.zeros_like(loss)
        if prediction.class_logits is not None:
            entropy = torch.nn.functional.cross_entropy(prediction.class_logits.float(), batch.classes)
        entropy = self.settings.class_weight * entropy
        self.track("train_loss", loss + entropy, count)
        return loss * self.share_of(count) + entropy

    def _mask_loss(self, logits: Tensor, scores: Tensor, truth: Tensor) -> Tensor:
        """Mean over objects; logits and truth (n, h, w) in windows: beyond them all is background by construction."""
        pixel_loss = bce_loss if self.settings.pixel_loss == "bce" else focal_loss
        masks = dice_loss(logits, truth) + pixel_loss(logits, truth)
        return masks + self.settings.iou_weight * iou_loss(scores, logits, truth)

    def _predict(
        self, images: Tensor, boxes: Tensor, image_index: Tensor, classes: Tensor, extra: ExtraPrompts | None = None
    ) -> Prediction:
        side = images.shape[-1]
        whole = self.config.image_size if self.settings.crop_size == side else None
        if isinstance(self.network, ClassPromptMedSAM):
            return cast(Prediction, self.network(images, boxes, image_index, whole, extra, classes))
        return cast(Prediction, self.network(images, boxes, image_index, whole, extra))

    def validation_step(self, batch: list[Sample], _: int) -> None:
        for sample in batch:
            if len(sample.boxes) == 0:
                continue
            index = torch.zeros(len(sample.boxes), dtype=torch.int64, device=sample.boxes.device)
            modality = one_hot([sample.modality]).to(sample.boxes)
            start = time.perf_counter()
            prediction = self._predict(sample.image[None], sample.boxes, index, modality)
            if BOXES_ALONE in self.config.freeze:  # masks of boxes alone stay as they are
                extra = correction(prediction, sample.masks, 1)
                prediction = self._predict(sample.image[None], sample.boxes, index, modality, extra)
            logits = prediction.planes(sample.masks.shape[-1])
            finite = logits.isfinite().flatten(1).all(1) & prediction.scores.isfinite()
            # NaN, because a diverged network gives empty masks, and their DSC of 0 would be a valid score
            dice = batch_dice(logits, sample.masks).where(finite, torch.nan).tolist()
            _add(self._timing, "seconds", [1.0, time.perf_counter() - start])
            masks, truths = (logits > 0).cpu().numpy(), sample.masks.cpu().numpy()
            surfaces = [nsd(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
            jaccard = [value / (2 - value) for value in dice]
            _add(self._sums, sample.modality.value, [float(len(dice)), sum(dice), sum(surfaces), sum(jaccard)])
            if prediction.class_logits is not None:
                hit = prediction.class_logits.argmax(1) == modality.argmax(1)
                _add(self._hits, "images", [1.0, float(hit)])

    def scores(self) -> dict[str, float]:
        """DSC and NSD (tolerance 2 pixels at network size): mean over objects of a modality, then over modalities.

        Also `val_class_accuracy` if the network classifies, and `val_score` by the setting `select`.
        """
        result: dict[str, float] = {}
        rows = {name: [total / count for total in rest] for name, (count, *rest) in merge(self._sums).items()}
        for name, (dice, surface, _) in rows.items():
            result |= {f"val_dsc/{name}": dice, f"val_nsd/{name}": surface}
        means = [sum(column) / len(rows) for column in zip(*rows.values(), strict=True)] or [0.0, 0.0, 0.0]
        result |= {"val_dsc": means[0], "val_nsd": means[1], "val_score": means[0]}
        images, seconds = merge(self._timing).get("seconds", [1.0, 0.0])
        if self.settings.select == "paper":
            # The paper weighs time like accuracy but gives no scale. Ours: 1 for no time, 1/2 for one second per image.
            result["val_score"] = (sum(means) / 3 + 1 / (1 + seconds / images)) / 2
        for images, hits in merge(self._hits).values():
            result["val_class_accuracy"] = hits / images
        for sums in (self._sums, self._timing, self._hits):
            sums.clear()
        return result


def correction(prediction: Prediction, truths: Tensor, clicks: int) -> ExtraPrompts:
    """The network's own masks as prompts, and clicks where they differ from the truths (N, S, S)."""
    logits = prediction.planes(truths.shape[-1]).detach().float().clamp(-MASK_LIMIT, MASK_LIMIT)
    wrong = clicks_on_errors((logits > 0).cpu().numpy(), truths.cpu().numpy(), clicks)
    return with_clicks(mask_prompts(logits, logits.new_ones(len(logits))), *wrong)


def mask_prompts(logits: Tensor, given: Tensor) -> ExtraPrompts:
    """Mask prompts (N, S, S) without clicks."""
    points = logits.new_zeros(len(logits), 0, 2)
    return ExtraPrompts(points, torch.zeros(points.shape[:2], dtype=torch.int64, device=points.device), logits, given)


def with_clicks(extra: ExtraPrompts, points: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> ExtraPrompts:
    """The same mask prompts, and clicks (N, K, 2) with labels (N, K)."""
    device = extra.prior.device
    return extra._replace(points=torch.from_numpy(points).to(device), labels=torch.from_numpy(labels).to(device))


def _add(sums: dict[str, list[float]], name: str, values: list[float]) -> None:
    so_far = sums.get(name, [0.0] * len(values))
    sums[name] = [a + b for a, b in zip(so_far, values, strict=True)]


def fit(config: FitConfig, resume: bool = False) -> Path | None:
    """Train the whole network.

    Args:
        resume: continue from `output/last.ckpt`; it must exist.

    Returns:
        The best checkpoint, `output/best.safetensors`; None if `minutes` are over before training ends.

    Raises:
        InputError: there is no run to resume, or a run would be overwritten.
    """
    check_output(config, resume)
    training, validation = loaders(config)  # first, so that bad data leave no output folder
    pl.seed_everything(config.seed, verbose=False)
    return run(PipelineModule(config), training, validation, resume)


def finetune(config: FitConfig, resume: bool = False) -> Path | None:
    """`fit` from a trained network.

    Raises:
        InputError: `init` is missing.
    """
    check_start(config)
    return fit(config, resume)


def check_start(config: FitConfig) -> None:
    """Raise InputError unless there is an `init` to finetune."""
    if config.init is None:
        raise InputError("init: finetune starts from a trained checkpoint, got none")


def training_cases(config: FitConfig) -> list[Case]:
    """The training images of `data` without the modalities left out, and those of `extra_data`.

    Raises:
        InputError: no image is left.
    """
    left_out = {Modality.parse(modality) for modality in config.leave_out}
    cases = [case for case in find_cases(config.data / "train") if case.modality not in left_out]
    for folder in config.extra_data:
        cases += find_cases(folder / "train")
    if config.unlabelled is not None:
        cases += find_unlabelled(config.unlabelled)
    if not cases:
        raise InputError(f"leave_out: expected to leave images to train on, nothing is left of {config.data}")
    return cases


def calibration_images(config: FitConfig) -> Iterator[Tensor]:
    """Training images as the sdk prepares them, (3, S, S) each: `val_per_modality` of each modality."""
    data = ValidationData(thin(training_cases(config), config.val_per_modality), config.image_size, config.val_boxes)
    return (data[index].image for index in range(len(data)))


def loaders(config: FitConfig) -> tuple[ResumableLoader, DataLoader[Any]]:
    """Training batches and validation images. Raises the errors of `fit` about its data."""
    cases = training_cases(config)
    dataset = TrainingData(
        cases,
        config.image_size,
        config.boxes_per_image,
        config.seed,
        replace(AUGMENTATIONS[config.augmentation], zoom=config.zoom, contrast=config.contrast),
        withhold=config.withhold_modality,
        crop_size=config.crop_size,
        batch_size=config.batch_size,
        synthetic=config.synthetic,
        scales=(config.superpixel_scales[0], config.superpixel_scales[1]),
        following=Following(config.follow, config.ended, config.wrong),
        paste=config.paste,
    )
    held_out = ValidationData(validation_cases(config), config.image_size, config.val_boxes)
    validation = DataLoader(cast(Any, held_out), batch_size=8, collate_fn=list, generator=torch.Generator())
    return step_loader(config, dataset, cases, collate), validation
