from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medsam_edge.errors import CheckpointError, InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.models import MedSAM, fuse
from medsam_edge_train.models.quantize import Places, Quantizer, Quantizers, calibrate, round_weight
from tests.train.tiny import tiny_rep

pytestmark = pytest.mark.usefixtures("tiny_zoo")


def test_a_tensor_is_rounded_to_steps_and_clipped() -> None:
    quantizer = Quantizer(torch.tensor([-1.0]), torch.tensor([1.55]))  # 255 steps of 0.01, zero is the 100th
    x = torch.tensor([0.0, 0.014, 0.016, -0.999, 2.0, -3.0], requires_grad=True)
    rounded = quantizer(x)
    assert rounded.tolist() == pytest.approx([0.0, 0.01, 0.02, -1.0, 1.55, -1.0])
    rounded.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1, 1, 0, 0]  # straight through, but not where it was clipped


def test_zero_stays_zero_in_every_range() -> None:
    for low, high in ((0.3, 2.0), (-2.0, -0.3), (-0.337, 1.234), (0.0, 0.0)):
        quantizer = Quantizer(torch.tensor([low]), torch.tensor([high]))
        assert quantizer(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_channels_have_their_own_steps() -> None:
    quantizer = Quantizer(torch.tensor([0.0, 0.0]), torch.tensor([255.0, 25.5]))  # steps of 1 and of 0.1
    x = torch.full((1, 2, 1, 1), 7.34)
    assert quantizer(x).flatten().tolist() == pytest.approx([7.0, 7.3])


def test_weights_have_sixty_three_steps_on_each_side() -> None:
    weight = torch.tensor([[6.3, -6.3, 0.26, 0.0], [0.63, 0.014, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    rounded = round_weight(weight)
    torch.testing.assert_close(
        rounded, torch.tensor([[6.3, -6.3, 0.3, 0.0], [0.63, 0.01, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    )
    rounded.sum().backward()
    assert weight.grad is not None
    assert (weight.grad == 1).all()


def places(module: nn.Module, x: Tensor) -> list[tuple[int, ...]]:
    """The shape of each place, with the number of channels once more where each has its range."""
    found: list[tuple[int, ...]] = []

    def note(number: int, x: Tensor, per_channel: bool) -> Tensor:
        assert number == len(found)
        found.append((*x.shape, x.shape[1]) if per_channel else tuple(x.shape))
        return x

    with torch.no_grad(), Places(note):
        module(x)
    return found


def test_places_of_a_block_with_gates() -> None:
    block = fuse(tiny_rep().image_encoder[2].eval())  # type: ignore[index]
    image, wide = (1, 16, 8, 8), (1, 32, 8, 8)
    assert places(block, torch.rand(image)) == [
        (*image, 16),  # what the depthwise convolution reads
        image,  # what it gives: read by the gates' mean and by the product
        (1, 16, 1, 1),  # the gates, in the product; their own two convolutions are left alone
        image,  # the product, read by the mixer and by the sum
        wide,  # the ReLU, not the convolution before it
        image,  # what the mixer adds
    ]


class Others(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        scores = 2.0 * x @ x.transpose(-1, -2) + 1.0
        return torch.softmax(scores + torch.ones(4, 4), dim=-1)  # a bias has fewer axes


def test_products_of_activations_softmax_and_biases_are_not_rounded() -> None:
    assert places(Others(), torch.rand(1, 2, 4, 4)) == []


def test_ranges_are_means_of_the_ranges_of_the_images() -> None:
    network = calibrate(tiny_rep(), [torch.full((3, 64, 64), value) for value in (0.4, 0.6)])
    assert isinstance(network.quantizers, Quantizers)
    first = network.quantizers[0]
    assert isinstance(first, Quantizer)
    assert first.scale.tolist() == pytest.approx([0.5 / 255])
    assert first.zero_point.tolist() == [0.0]


def quantized(seed: int = 0) -> tuple[MedSAM, Tensor]:
    """A calibrated network, and images that calibrated it."""
    torch.manual_seed(seed)
    images = torch.rand(4, 3, 64, 64)
    return calibrate(tiny_rep(), images), images


def test_calibrate_fuses_and_changes_the_embedding_little() -> None:
    torch.manual_seed(0)
    network = tiny_rep()
    before = copy.deepcopy(network).eval()
    images = torch.rand(4, 3, 64, 64)
    calibrate(network, images)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    with torch.no_grad():
        expected, got = before.embed(images), network.embed(images)
    error = (got - expected).abs().mean() / expected.abs().mean()
    assert 1e-4 < error < 0.05


def test_gradients_reach_every_weight_of_the_encoder() -> None:
    network, images = quantized()
    network.embed(images).square().mean().backward()
    for name, parameter in network.image_encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_quantized_checkpoint_loads_as_the_same_network(tmp_path: Path) -> None:
    network, images = quantized()
    checkpoint.write(tmp_path / "qat.safetensors", network, "tiny_rep")
    loaded, name = checkpoint.load(tmp_path / "qat.safetensors")
    assert name == "tiny_rep"
    with torch.no_grad():
        torch.testing.assert_close(loaded.embed(images), network.embed(images), rtol=0, atol=0)


@pytest.mark.parametrize("change", [-1, 1])
def test_quantizers_of_another_network_are_refused(change: int) -> None:
    network, images = quantized()
    assert isinstance(network.quantizers, Quantizers)
    own = list(network.quantizers)
    network.quantizers = Quantizers(own[:-1] if change < 0 else [*own, own[-1]])
    with pytest.raises(CheckpointError, match="quantizers: expected "):
        network.embed(images)


def test_a_quantized_checkpoint_is_not_exported(tmp_path: Path) -> None:
    network, _ = quantized()
    source = tmp_path / "qat.safetensors"
    checkpoint.write(source, network, "tiny_rep")
    with pytest.raises(InputError, match=r"checkpoint: .*qat.safetensors is fused and quantized"):
        checkpoint.export(source, tmp_path / "out.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["qat.safetensors"]


def test_a_quantized_network_computes_in_f32_under_autocast(data: Path, tmp_path: Path) -> None:
    network, images = quantized()
    with torch.no_grad():
        expected = network.embed(images)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(network.embed(images), expected, rtol=0, atol=0)
