"""The papers' losses: Dice + cross-entropy + predicted IoU (Rep-MedSAM), Dice + focal (class-prompt Tiny-ViT).

Shapes: logits (N, S, S), truth (N, S, S) bool, one mask per object; each loss is a scalar. There must be an object.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
"""The class-prompt paper gives no values; these are of the paper that introduced the loss (Lin et al., 2017)."""


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice loss (class-prompt paper, eq. 4), mean over objects."""
    target = truth.to(logits.dtype)
    probabilities = torch.sigmoid(logits)
    overlap = (probabilities * target).sum((1, 2))
    return (1 - (2 * overlap + 1) / (probabilities.sum((1, 2)) + target.sum((1, 2)) + 1)).mean()


def bce_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy, mean over pixels and objects."""
    return binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))


def focal_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal loss (class-prompt paper, eq. 5), mean over pixels and objects."""
    target = truth.to(logits.dtype)
    entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = torch.where(truth, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    return (weight * (1 - torch.exp(-entropy)) ** FOCAL_GAMMA * entropy).mean()


def iou_loss(scores: Tensor, logits: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of the predicted IoU, scores (N,), against the IoU of the mask (logits above 0)."""
    with torch.no_grad():
        mask = logits > 0
        iou = (mask & truth).sum((1, 2)) / (mask | truth).sum((1, 2)).clamp(min=1)
    return mse_loss(scores, iou.to(scores.dtype))


def batch_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """(N,) DSC in 0..1 of each object's mask (logits above 0); 0 if mask and truth are both empty."""
    mask = logits > 0
    return 2 * (mask & truth).sum((1, 2)) / (mask.sum((1, 2)) + truth.sum((1, 2))).clamp(min=1)
