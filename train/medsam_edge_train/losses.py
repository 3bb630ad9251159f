"""Rep-MedSAM's loss: Dice + binary cross-entropy on the mask, and squared error on the predicted IoU."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice loss + BCE, mean over objects. logits (N, S, S), truth (N, S, S) bool."""
    target = truth.to(logits.dtype)
    probabilities = torch.sigmoid(logits)
    overlap = (probabilities * target).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (probabilities.sum((1, 2)) + target.sum((1, 2)) + 1)
    return dice.mean() + torch.nn.functional.binary_cross_entropy_with_logits(logits, target)


def iou_loss(scores: Tensor, logits: Tensor, truth: Tensor) -> Tensor:
    """Squared error of the predicted IoU (N,) against the IoU of the cut mask."""
    with torch.no_grad():
        mask = logits > 0
        iou = (mask & truth).sum((1, 2)) / (mask | truth).sum((1, 2)).clamp(min=1)
    return torch.nn.functional.mse_loss(scores, iou.to(scores.dtype))


def batch_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """(N,) DSC of each object's cut mask, in 0..1."""
    mask = logits > 0
    return 2 * (mask & truth).sum((1, 2)) / (mask.sum((1, 2)) + truth.sum((1, 2))).clamp(min=1)
