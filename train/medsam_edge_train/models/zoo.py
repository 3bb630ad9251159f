"""The networks by name; each is a few keywords."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from medsam_edge.errors import InputError
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM, Pooling
from medsam_edge_train.models.efficientnet import EfficientNetLite
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.medsam import MedSAM
from medsam_edge_train.models.prompt_encoder import PromptEncoder
from medsam_edge_train.models.repvit import PlainNeck, PyramidNeck, RepViT
from medsam_edge_train.models.tiny_vit import TinyViT
from medsam_edge_train.models.vit import ViT

CONTEXT = 0.5
"""Share of a box's extent that the windows of our own networks show on each side of it."""
ELLIPSE = 4.0
"""Strength of the ellipse in our own networks, in logits."""


def rep_medsam(kind: type[MedSAM] = MedSAM) -> MedSAM:
    """Rep-MedSAM as published: 843 entries, 10,570,092 parameters."""
    return kind(RepViT(PlainNeck(), (1, 1), nn.GELU), PromptEncoder(), MaskDecoder())


def rep_medsam_s(kind: type[MedSAM] = MedSAM) -> MedSAM:
    """RepViT's blocks behind a down-sampling stem, with a feature pyramid: runs and trains faster."""
    return _ours(RepViT(PyramidNeck(), (2, 2), nn.ReLU), kind)


def efficient_medsam() -> MedSAM:
    """EfficientNet-Lite2, which can start from ImageNet weights."""
    return _ours(EfficientNetLite())


def _ours(encoder: nn.Module, kind: type[MedSAM] = MedSAM) -> MedSAM:
    """With windows around the boxes, and the decoder's box prior, ellipse and hints."""
    decoder = MaskDecoder(box_prior=True, ellipse=ELLIPSE, hints=True)
    return kind(encoder, PromptEncoder(), decoder, context=CONTEXT)


def lite_medsam() -> MedSAM:
    """LiteMedSAM, the challenge's baseline: 435 entries, 9,791,300 parameters."""
    return MedSAM(TinyViT(), PromptEncoder(), MaskDecoder())


def medsam_vit_b() -> MedSAM:
    """MedSAM itself, the teacher; its images are 1024²."""
    return MedSAM(ViT(), PromptEncoder(frame=1024), MaskDecoder())


def class_prompt_tinyvit(depth: int = 3, pooling: Pooling = "mean") -> MedSAM:
    """LiteMedSAM with class prompts as in the paper: three decoder blocks, mean pooling before the class head."""
    return ClassPromptMedSAM(TinyViT(), PromptEncoder(), MaskDecoder(depth=depth), pooling)


def class_prompt_tinyvit_code() -> MedSAM:
    """The same as in the published code: two decoder blocks, sum pooling; 10,988,699 parameters."""
    return class_prompt_tinyvit(depth=2, pooling="sum")


def rep_medsam_cp() -> MedSAM:
    """`rep_medsam` with class prompts; neither paper has this network."""
    return rep_medsam(ClassPromptMedSAM)


def rep_medsam_s_cp() -> MedSAM:
    """`rep_medsam_s` with class prompts."""
    return rep_medsam_s(ClassPromptMedSAM)


TEACHER = "medsam_vit_b"
"""A teacher only: it is neither trained nor converted here."""

ZOO: dict[str, Callable[[], MedSAM]] = {
    "class_prompt_tinyvit": class_prompt_tinyvit,
    "class_prompt_tinyvit_code": class_prompt_tinyvit_code,
    "efficient_medsam": efficient_medsam,
    "lite_medsam": lite_medsam,
    "medsam_vit_b": medsam_vit_b,
    "rep_medsam": rep_medsam,
    "rep_medsam_cp": rep_medsam_cp,
    "rep_medsam_s": rep_medsam_s,
    "rep_medsam_s_cp": rep_medsam_s_cp,
}


def build(architecture: str) -> MedSAM:
    """The named network with random weights; raises InputError if the name is unknown."""
    if architecture not in ZOO:
        raise InputError(f"architecture: expected one of {', '.join(sorted(ZOO))}, got {architecture!r}")
    return ZOO[architecture]()
