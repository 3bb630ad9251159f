"""The model as the sdk sees it; OpenVINO computes it, or PyTorch in benchmarks, or a fake in tests."""

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
    """One part of a model: named arrays in, named arrays out. It is safe to call from several threads."""

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the network once. The caller owns the returned arrays."""
        ...

    @property
    def effective_precision(self) -> str:
        """The floating-point type in which this machine computes the parts that are not quantized."""
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """An encoder and a decoder that belong together; `bundle.py` gives their inputs and outputs."""

    encoder: Network
    decoder: Network
    image_size: int
    identity: str  # unique to the model, so that no embedding is decoded by another one
    reach: int  # as in `Manifest`, like `image_size` and `context`
    classes: tuple[Modality, ...] = ()  # of the class prompts, in the network's order
    bundle: Bundle | None = None  # which it was loaded from
    context: float | None = None
    prompts: tuple[str, ...] = ("box",)  # kinds that the decoder takes

    def one_hot(self, modality: Modality) -> npt.NDArray[np.float32]:
        """Return the decoder's class prompt, (1, C); ModalityError for none of the model's classes."""
        if modality not in self.classes:
            raise ModalityError(f"modality: the model knows {', '.join(self.classes)}, got {modality}")
        return np.array([[modality == other for other in self.classes]], dtype=np.float32)
