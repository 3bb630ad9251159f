from __future__ import annotations

import pytest
import torch
from torch import nn

from medsam_edge.errors import InputError
from medsam_edge_train.models import ZOO, MedSAM, build
from medsam_edge_train.models.mask_decoder import BoxPrior
from medsam_edge_train.models.zoo import (
    class_prompt_tinyvit,
    class_prompt_tinyvit_code,
    efficient_medsam,
    lite_medsam,
    medsam_vit_b,
    rep_medsam,
    rep_medsam_cp,
    rep_medsam_s,
    rep_medsam_s_cp,
)


def test_the_zoo_names_every_factory() -> None:
    factories = (
        class_prompt_tinyvit,
        class_prompt_tinyvit_code,
        efficient_medsam,
        lite_medsam,
        medsam_vit_b,
        rep_medsam,
        rep_medsam_cp,
        rep_medsam_s,
        rep_medsam_s_cp,
    )
    assert {factory.__name__: factory for factory in factories} == ZOO
    assert list(ZOO) == sorted(ZOO)


@pytest.mark.parametrize("name", ["", "sam", "Rep_MedSAM"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"architecture: expected one of .*, rep_medsam, .*, got") as caught:
        build(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(("name", "prior"), [("lite_medsam", False), ("rep_medsam", False), ("rep_medsam_s", True)])
def test_build_gives_the_published_parts_with_or_without_box_prior(name: str, prior: bool) -> None:
    network = build(name)
    assert isinstance(network, MedSAM)
    assert isinstance(network.mask_decoder.box_prior, BoxPrior) is prior
    assert sum(isinstance(part, nn.ConvTranspose2d) for part in network.modules()) == 2
    assert len(network.mask_decoder.transformer.layers) == 2


def test_weights_are_random_and_not_shared() -> None:
    first, second = build("rep_medsam_s").mask_decoder, build("rep_medsam_s").mask_decoder
    assert not torch.equal(first.mask_tokens.weight, second.mask_tokens.weight)
    assert first.mask_tokens.weight.data_ptr() != second.mask_tokens.weight.data_ptr()
