"""Prompts in one view: from pixels of the image to those of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError
from medsam_edge.geometry import FloatArray, Geometry
from medsam_edge.inference.predictor import Prompts
from medsam_edge.inference.propagation import Rule
from medsam_edge.inference.tiles import View
from medsam_edge.prompts import CheckedPrompts, Clicks
from medsam_edge.results.mask import CroppedMask, Logits

MARGIN_AROUND = 0.1
"""Share of its sides by which `box_around` is larger than what it holds."""


def prompts_in(view: View, checked: CheckedPrompts, geometry: Geometry, rule: Rule) -> Prompts:
    """The prompts of the objects that are looked for in a view, in network pixels."""
    clicks = [clicks_in(view, own, geometry) for own in view.of(checked.clicks)]
    priors = {number: prior_in(view, own, geometry) for number, own in enumerate(view.of(checked.priors))}
    return Prompts(rule.start(view.boxes(checked.boxes), geometry), rule.everywhere, clicks, priors)


def clicks_in(view: View, clicks: Clicks, geometry: Geometry) -> Clicks:
    """Clicks x, y of the image, in network pixels."""
    corner = np.array([view.left, view.top], dtype=np.float32)
    return Clicks(geometry.points_to_network(clicks.points - corner), clicks.labels)


def prior_in(view: View, mask: npt.NDArray[Any] | Logits, geometry: Geometry) -> Logits:
    """A mask prompt: a mask or probabilities (H, W) of the image, or the logits of a former decoding of this view."""
    return mask if isinstance(mask, Logits) else Logits(0, 0, geometry.mask_to_network(mask[view.where]))


def box_around(mask: CroppedMask, clicks: Clicks, shape: tuple[int, ...]) -> FloatArray:
    """(4,) float32, in an image of (H, W): around a mask and the clicks on its object, a little larger.

    Raises:
        InputError: there is neither.
    """
    height, width = mask.pixels.shape
    on = clicks.points[clicks.labels == 1]
    extent = [] if mask.empty else [[mask.left, mask.top], [mask.left + width, mask.top + height]]
    points = np.concatenate([on, on + 1, np.reshape(extent, (-1, 2))])
    if not len(points):
        raise InputError("points: expected a click on the object where its mask is empty, got clicks on the background")
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN_AROUND * (high - low)
    return np.concatenate([(low - margin).clip(0), np.minimum(high + margin, shape[::-1])]).astype(np.float32)
