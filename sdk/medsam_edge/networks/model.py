"""What a segmenter needs of a model, whoever computes it: OpenVINO, PyTorch in benchmarks, a fake in tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ModalityError
from medsam_edge.modality import Modality
from medsam_edge.networks.bundle import Bundle

Arrays = Mapping[str, npt.NDArray[Any]]


class Network(Protocol):
    """One part of a model: named arrays in, named arrays out, callable from any number of threads."""

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run once. The arrays returned belong to the caller."""
        ...

    @property
    def effective_precision(self) -> str:
        """The floating-point type this machine computes in, where the network is not quantized."""
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """An encoder and a decoder that belong together; `bundle.py` says what they take and give.

    Attributes:
        image_size: side of the network's input square, in pixels.
        identity: differs between any two models, so that no embedding is decoded by the wrong one.
        reach: how far beyond its box a mask may lie, in network pixels; nothing farther is decoded.
        classes: the modality of each class prompt, in the network's order; empty for networks without.
        bundle: where it was loaded from, if from a bundle.
    """

    encoder: Network
    decoder: Network
    image_size: int
    identity: str
    reach: int
    classes: tuple[Modality, ...] = ()
    bundle: Bundle | None = None

    def one_hot(self, modality: Modality) -> npt.NDArray[np.float32]:
        """(1, C), the decoder's class prompt.

        Raises:
            ModalityError: none of the model's classes.
        """
        if modality not in self.classes:
            raise ModalityError(f"modality: the model knows {', '.join(self.classes)}, got {modality}")
        return np.array([[modality == other for other in self.classes]], dtype=np.float32)
