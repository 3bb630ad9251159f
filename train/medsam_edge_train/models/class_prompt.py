"""Class prompts (class-prompt Tiny-ViT): the network classifies the modality, or is told it, and is prompted with it.

A head on the pooled embedding gives the class; the class becomes four tokens beside the two of the box:

    class_encoder   a second prompt encoder, fed a "box" filled with the label's number → 2 tokens
    cat_encoder     an MLP on the class as a vector → 2 tokens

Keys are the published code's. Where paper and code differ, the arguments of `zoo.class_prompt_tinyvit` choose.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from medsam_edge.modality import Modality
from medsam_edge_train.models.mask_decoder import MLP, MaskDecoder
from medsam_edge_train.models.medsam import MedSAM, Prediction
from medsam_edge_train.models.prompt_encoder import PromptEncoder

CLASSES = (
    Modality.CT,
    Modality.DERMOSCOPY,
    Modality.ENDOSCOPY,
    Modality.FUNDUS,
    Modality.MAMMOGRAPHY,
    Modality.MR,
    Modality.OCT,
    Modality.PET,
    Modality.US,
    Modality.XRAY,
    Modality.MICROSCOPY,
)
"""What each output of the head stands for: the published labels 0–9, and microscopy, which the published code forgot,
in the eleventh place that its head has but never uses."""

DIM = 256
Pooling = Literal["mean", "sum"]


class ClassPromptMedSAM(MedSAM):
    """MedSAM with a modality head and class tokens.

    Args:
        pooling: of the embedding for the head: `mean` (the paper's pooling), or `sum` as the published code does.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__(image_encoder, prompt_encoder, mask_decoder)
        self.image_encoder.add_module("class_prediction_head", MLP([DIM, DIM, DIM, len(CLASSES)]))
        self.class_encoder = PromptEncoder()
        self.cat_encoder = MLP([len(CLASSES), 2 * DIM, 2 * DIM, 2 * DIM, 2 * DIM, 2 * DIM])
        self.pooling = pooling

    def freeze(self, parts: Iterable[str]) -> None:
        """As `MedSAM.freeze`, but for the head, which lies in the image encoder and reads its embedding."""
        super().freeze(parts)
        self.image_encoder.get_submodule("class_prediction_head").requires_grad_(True)

    def classify(self, rows: Tensor) -> Tensor:
        """Embedding rows (B, P, 256) as `embed` gives them → logits (B, 11) in the order of `CLASSES`."""
        embedding = rows - self.prompt_encoder.dense()
        pooled = embedding.mean(1) if self.pooling == "mean" else embedding.sum(1)
        return cast(Tensor, self.image_encoder.get_submodule("class_prediction_head")(pooled))

    def class_tokens(self) -> Tensor:
        """(11, 4, 256): the two label tokens and the two category tokens of each class."""
        numbers = torch.arange(len(CLASSES)).to(self.prompt_encoder.dense())
        label = self.class_encoder(numbers[:, None].expand(-1, 4))
        category = self.cat_encoder(torch.eye(len(CLASSES)).to(numbers)).reshape(-1, 2, DIM)
        return torch.cat([label, category], dim=1)

    def prompts(self, boxes: Tensor, classes: Tensor) -> Tensor:
        """boxes (N, 4) in the 256 frame, classes (N or 1, 11) one-hot → tokens (N, 6, 256): label, box, category."""
        tokens = (classes @ self.class_tokens().flatten(1)).reshape(-1, 4, DIM).expand(boxes.shape[0], -1, -1)
        return torch.cat([tokens[:, :2], self.prompt_encoder(boxes), tokens[:, 2:]], dim=1)

    def decode(
        self, rows: Tensor, boxes: Tensor, cells: Tensor | None = None, classes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `MedSAM.decode`.

        Args:
            classes: (N or 1, 11) one-hot, the modality as told; None for the head's own prediction.
        """
        if classes is None:
            classes = predicted(self.classify(rows))
        return self.decode_tokens(rows, boxes, self.prompts(boxes, classes), cells)

    def forward(self, images: Tensor, boxes: Tensor, image_index: Tensor, classes: Tensor | None = None) -> Prediction:
        """As `MedSAM.forward`; classes (B, 11) one-hot per image, a row of zeros withholds that image's modality."""
        rows = self.embed(images)
        class_logits = self.classify(rows)
        own = predicted(class_logits)
        if classes is not None:
            own = torch.where(classes.any(1, keepdim=True), classes.to(own.dtype), own)
        logits, scores = self.decode(rows[image_index], self.to_frame(boxes, images), classes=own[image_index])
        return Prediction(logits, scores, class_logits)


def predicted(class_logits: Tensor) -> Tensor:
    """One-hot of the likeliest class, (B, 11)."""
    return nn.functional.one_hot(class_logits.argmax(1), len(CLASSES)).to(class_logits.dtype)


def one_hot(modalities: list[Modality]) -> Tensor:
    """(B, 11) float32 in the order of `CLASSES`."""
    return nn.functional.one_hot(torch.tensor([CLASSES.index(m) for m in modalities]), len(CLASSES)).float()
