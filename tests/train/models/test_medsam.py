from __future__ import annotations

import pytest
import torch

from medsam_edge_train.models import build
from medsam_edge_train.models.medsam import MedSAM


@pytest.fixture(scope="module")
def rep_medsam() -> MedSAM:
    return build("rep_medsam").eval()


def test_embed_gives_rows_with_the_dense_prompt(rep_medsam: MedSAM) -> None:
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        embedding = rep_medsam.image_encoder(images)
        rows = rep_medsam.embed(images)
    assert rows.shape == (2, 256, 256)
    dense = rep_medsam.prompt_encoder.no_mask_embed.weight[0]
    torch.testing.assert_close(rows[1, 5 * 16 + 3], embedding[1, :, 5, 3] + dense)  # row 5, column 3


def test_forward_equals_embed_then_decode_of_each_image(rep_medsam: MedSAM) -> None:
    images = torch.rand(2, 3, 64, 64)
    boxes = torch.tensor([[4.0, 8, 40, 50], [0, 0, 64, 64], [10, 10, 20, 30]])  # pixels of the 64 frame
    with torch.no_grad():
        logits, scores, _ = rep_medsam(images, boxes, torch.tensor([1, 0, 1]))
        assert (logits.shape, scores.shape) == ((3, 64, 64), (3,))
        for image, chosen in ((0, [1]), (1, [0, 2])):
            own, own_scores = rep_medsam.decode(rep_medsam.embed(images[image : image + 1]), boxes[chosen] * 4)
            torch.testing.assert_close(logits[chosen], own, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(scores[chosen], own_scores, rtol=1e-4, atol=1e-4)
