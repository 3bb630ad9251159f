from __future__ import annotations

import math

import pytest
import torch

from medsam_edge_train.stages.losses import batch_dice, bce_loss, dice_loss, focal_loss, iou_loss

TOP = torch.tensor([[[True, True], [False, False]]])
CORNER = torch.tensor([[[True, False], [False, False]]])
NONE = torch.zeros(1, 2, 2, dtype=torch.bool)
ALL = torch.ones(1, 2, 2, dtype=torch.bool)


def mask_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Rep-MedSAM's loss of the mask."""
    return dice_loss(logits, truth) + bce_loss(logits, truth)


def sure(mask: torch.Tensor, logit: float = 40.0) -> torch.Tensor:
    return torch.where(mask, logit, -logit)


@pytest.mark.parametrize(
    ("logits", "truth", "expected"),
    [
        (torch.zeros(1, 2, 2), ALL, 2 / 7 + math.log(2)),  # 1 - (2·2 + 1) / (2 + 4 + 1)
        (torch.zeros(1, 2, 2), NONE, 2 / 3 + math.log(2)),  # 1 - 1 / (2 + 0 + 1)
        (sure(TOP), TOP, 0.0),
        (sure(NONE), NONE, 0.0),
        (sure(TOP), CORNER, 1 / 4 + 10.0),  # 1 - 3 / (2 + 1 + 1); one pixel of four wrong by 40
        (sure(CORNER), TOP, 1 / 4 + 10.0),
        (sure(NONE), ALL, 4 / 5 + 40.0),  # 1 - 1 / (0 + 4 + 1)
    ],
)
def test_mask_loss_by_hand(logits: torch.Tensor, truth: torch.Tensor, expected: float) -> None:
    assert mask_loss(logits, truth).item() == pytest.approx(expected, abs=1e-5)


def test_mask_loss_is_the_mean_over_objects() -> None:
    loss = mask_loss(torch.cat([torch.zeros(1, 2, 2), sure(TOP)]), torch.cat([ALL, TOP]))
    assert loss.item() == pytest.approx((2 / 7 + math.log(2)) / 2, abs=1e-5)


def test_mask_loss_pulls_logits_towards_the_truth() -> None:
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    mask_loss(logits, TOP).backward()
    assert logits.grad is not None
    assert (logits.grad[TOP] < 0).all()
    assert (logits.grad[~TOP] > 0).all()


@pytest.mark.parametrize(
    ("logits", "truth", "expected"),
    [
        (torch.zeros(1, 2, 2), ALL, 0.25 * 0.25 * math.log(2)),  # α (1 - ½)² ln 2
        (torch.zeros(1, 2, 2), NONE, 0.75 * 0.25 * math.log(2)),
        (torch.zeros(1, 2, 2), TOP, 0.5 * 0.25 * math.log(2)),  # half of each
        (sure(TOP), TOP, 0.0),
        (sure(CORNER), TOP, 0.25 * 40 / 4),  # one pixel of four wrong by 40
        (torch.full((1, 2, 2), math.log(3)), ALL, 0.25 * 0.25**2 * math.log(4 / 3)),  # p = ¾
    ],
)
def test_focal_loss_by_hand(logits: torch.Tensor, truth: torch.Tensor, expected: float) -> None:
    assert focal_loss(logits, truth).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("score", "mask", "truth", "expected"),
    [
        (0.5, TOP, CORNER, 0.0),  # IoU ½
        (1.0, TOP, CORNER, 0.25),
        (0.0, TOP, TOP, 1.0),
        (1.0, CORNER, CORNER, 0.0),  # one pixel
        (0.3, TOP, ~TOP, 0.09),
        (0.3, NONE, NONE, 0.09),  # empty against empty counts as 0
        (0.0, ALL, CORNER, 1 / 16),
    ],
)
def test_iou_loss_by_hand(score: float, mask: torch.Tensor, truth: torch.Tensor, expected: float) -> None:
    assert iou_loss(torch.tensor([score]), sure(mask), truth).item() == pytest.approx(expected, abs=1e-6)


def test_iou_loss_trains_the_score_alone() -> None:
    scores = torch.tensor([1.0], requires_grad=True)
    logits = sure(TOP).requires_grad_()
    iou_loss(scores, logits, CORNER).backward()
    assert logits.grad is None
    assert scores.grad is not None
    assert scores.grad.item() == pytest.approx(1.0)  # 2 · (1 - ½)


def test_batch_dice_by_hand() -> None:
    masks = torch.cat([TOP, CORNER, TOP, NONE, NONE, ALL])
    truth = torch.cat([TOP, TOP, ~TOP, NONE, ALL, TOP])
    assert batch_dice(sure(masks), truth).tolist() == pytest.approx([1, 2 / 3, 0, 0, 0, 2 / 3])


def test_a_logit_of_zero_is_outside() -> None:
    assert batch_dice(torch.zeros(1, 2, 2), ALL).tolist() == [0.0]
