"""Class prompts (class-prompt Tiny-ViT): the modality, given or recognised by the network, is a prompt beside the box.

A head on the pooled embedding recognises the class. The class becomes four tokens beside the two of the box:

    class_encoder   a second prompt encoder; its input is a "box" filled with the number of the class → 2 tokens
    cat_encoder     an MLP on the one-hot class → 2 tokens

Keys are those of the published code. Where paper and code differ, the arguments of `zoo.class_prompt_tinyvit` choose.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from medsam_edge.modality import Modality
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.medsam import ExtraPrompts, MedSAM, Prediction
from medsam_edge_train.models.prompt_encoder import PromptEncoder
from medsam_edge_train.models.transformer import MLP

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
"""The class of each output of the head: the published labels 0–9, then microscopy. The published head has an eleventh
output that its code, which forgets microscopy, never uses."""

DIM = 256
Pooling = Literal["mean", "sum"]


class ClassPromptMedSAM(MedSAM):
    """MedSAM with a modality head and class tokens.

    Args:
        pooling: pooling of the embedding before the head: `mean` as in the paper, `sum` as in the published code.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        pooling: Pooling = "mean",
        context: float | None = None,
    ) -> None:
        super().__init__(image_encoder, prompt_encoder, mask_decoder, context)
        self.image_encoder.add_module("class_prediction_head", MLP([DIM, DIM, DIM, len(CLASSES)]))
        self.class_encoder = PromptEncoder()
        self.cat_encoder = MLP([len(CLASSES), 2 * DIM, 2 * DIM, 2 * DIM, 2 * DIM, 2 * DIM])
        self.pooling = pooling

    def freeze(self, parts: Iterable[str]) -> None:
        """As `MedSAM.freeze`, but the class head, which is part of the image encoder, is always trained."""
        super().freeze(parts)
        self.image_encoder.get_submodule("class_prediction_head").requires_grad_(True)

    def classify(self, rows: Tensor) -> Tensor:
        """Rows (B, P, 256) as `embed` gives them → class logits (B, 11) in the order of `CLASSES`."""
        embedding = rows - self.prompt_encoder.dense()
        pooled = embedding.mean(1) if self.pooling == "mean" else embedding.sum(1)
        return cast(Tensor, self.image_encoder.get_submodule("class_prediction_head")(pooled))

    def class_tokens(self) -> Tensor:
        """(11, 4, 256): the two label tokens and the two category tokens of each class."""
        numbers = torch.arange(len(CLASSES)).to(self.prompt_encoder.dense())
        label = self.class_encoder(numbers[:, None].expand(-1, 4))
        category = self.cat_encoder(torch.eye(len(CLASSES)).to(numbers)).reshape(-1, 2, DIM)
        return torch.cat([label, category], dim=1)

    def prompts(self, sparse: Tensor, classes: Tensor) -> Tensor:
        """Tokens of a box and clicks (N, T, 256), classes (N or 1, 11) one-hot → (N, T + 4, 256): label, these,
        category."""
        tokens = (classes @ self.class_tokens().flatten(1)).reshape(-1, 4, DIM).expand(sparse.shape[0], -1, -1)
        return torch.cat([tokens[:, :2], sparse, tokens[:, 2:]], dim=1)

    def decode(
        self,
        rows: Tensor,
        boxes: Tensor,
        cells: Tensor | None = None,
        extra: ExtraPrompts | None = None,
        classes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `MedSAM.decode`.

        Args:
            classes: (N or 1, 11) one-hot, the given modality; None for the prediction of the class head.
        """
        if classes is None:
            classes = predicted(self.classify(rows))
        return self.decode_tokens(rows, boxes, self.prompts(self.sparse(boxes, extra), classes), cells, extra=extra)

    def forward(
        self,
        images: Tensor,
        boxes: Tensor,
        image_index: Tensor,
        whole: int | None = None,
        extra: ExtraPrompts | None = None,
        classes: Tensor | None = None,
    ) -> Prediction:
        """As `MedSAM.forward`; classes (B, 11) one-hot per image, a row of zeros withholds an image's modality."""
        rows = self.embed(images)
        class_logits = self.classify(rows)
        used = predicted(class_logits)
        if classes is not None:
            used = torch.where(classes.any(1, keepdim=True), classes.to(used.dtype), used)

        def finish(sparse: Tensor) -> Tensor:
            return self.prompts(sparse, used[image_index])

        prediction = self.predict(rows, boxes, image_index, finish, whole, extra)
        return prediction._replace(class_logits=class_logits)


def predicted(class_logits: Tensor) -> Tensor:
    """Class logits (B, 11) → one-hot of the most probable class, (B, 11)."""
    return nn.functional.one_hot(class_logits.argmax(1), len(CLASSES)).to(class_logits.dtype)


def one_hot(modalities: list[Modality]) -> Tensor:
    """(B, 11) float32 one-hot in the order of `CLASSES`."""
    return nn.functional.one_hot(torch.tensor([CLASSES.index(m) for m in modalities]), len(CLASSES)).float()
