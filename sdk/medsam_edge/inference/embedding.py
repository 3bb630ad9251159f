"""What the encoder makes of an image: computed once, decoded as often as boxes change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.geometry import Geometry
from medsam_edge.image import Frame
from medsam_edge.modality import Modality


@dataclass(frozen=True, eq=False)
class Embedding:
    """An image's embedding with all that decoding and saving need. Immutable; safe to share between threads.

    Attributes:
        features: the encoder's output, in the layout of its bundle; read-only.
        geometry: how the image lies in the network's square.
        display: (H, W) or (H, W, 3) uint8, the image as the network was shown it before resizing.
        modality: as told, or as the file says; None when neither: the network's own recognition is used, if it has one.
            The encoder does not see it: `dataclasses.replace(embedding, modality=...)` prompts with another class.
        class_scores: probability of each modality as the network sees it, whatever was told; empty without class
            prompts.
        model: identity of the bundle that made it; another bundle cannot decode it.
        frame: spacing, origin and direction of a medical file, for saving masks beside it.
        timings_ms: milliseconds of each stage; `encode` is 0.0 when the embedding came from the cache.
    """

    features: npt.NDArray[Any]
    geometry: Geometry
    display: npt.NDArray[np.uint8]
    modality: Modality | None
    model: str
    class_scores: Mapping[Modality, float] = field(default_factory=dict)
    frame: Frame | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def recognized(self) -> Modality | None:
        """The likeliest of `class_scores`; None without class prompts."""
        return max(self.class_scores, key=lambda modality: self.class_scores[modality], default=None)

    @property
    def class_prompt(self) -> tuple[Modality | None, float | None]:
        """The modality as told, by any of its names, else as recognised; and its probability where it was recognised.

        Raises:
            ModalityError: told by a name that is none.
        """
        if self.modality is not None or self.recognized is None:
            return Modality.parse(self.modality), None
        return self.recognized, self.class_scores[self.recognized]
