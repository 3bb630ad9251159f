from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medsam_edge.errors import CheckpointError, FileMissingError, InputError, MedsamEdgeError
from medsam_edge_train import checkpoint
from medsam_edge_train.models import ZOO, MedSAM, build, fuse
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder

KEY = "mask_decoder.transformer.layers.0.self_attn.q_proj.weight"


def tiny() -> MedSAM:
    encoder = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16))
    return MedSAM(encoder, PromptEncoder(16, 4), MaskDecoder(16, depth=1, heads=2, hidden=24))


@pytest.fixture(autouse=True)
def _a_tiny_network_in_the_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ZOO, "tiny", tiny)


@pytest.fixture
def network() -> MedSAM:
    torch.manual_seed(1)
    network = tiny()
    network.image_encoder[1].running_mean.uniform_()  # type: ignore[index]
    network.image_encoder[1].num_batches_tracked.fill_(7)  # type: ignore[index]
    return network


def assert_same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(state[key], value), key


def test_what_is_written_is_read(tmp_path: Path, network: MedSAM) -> None:
    path = tmp_path / "new" / "best.safetensors"
    checkpoint.write(path, network, "tiny", {"val_dsc": "0.5"})
    found = checkpoint.read(path)
    assert_same(found.state, network.state_dict())
    assert found.architecture == "tiny"
    assert found.metadata.items() >= {"architecture": "tiny", "val_dsc": "0.5", "context": "null"}.items()
    assert [file.name for file in path.parent.iterdir()] == ["best.safetensors"]  # no partial file stays


def test_context_and_ellipse_come_back(tmp_path: Path, network: MedSAM) -> None:
    network.context, network.mask_decoder.ellipse = 0.5, 4.0
    checkpoint.write(tmp_path / "a.safetensors", network, "tiny")
    loaded, _ = checkpoint.load(tmp_path / "a.safetensors")
    assert (loaded.context, loaded.mask_decoder.ellipse) == (0.5, 4.0)


def test_a_checkpoint_that_says_neither_has_neither(tmp_path: Path, network: MedSAM) -> None:
    """It was trained before there were any, whatever networks of its architecture are built with today."""
    save_file(network.state_dict(), tmp_path / "a.safetensors", {"architecture": "tiny"})
    loaded, _ = checkpoint.load(tmp_path / "a.safetensors")
    assert (loaded.context, loaded.mask_decoder.ellipse) == (None, 0.0)
    save_file(network.state_dict(), tmp_path / "b.safetensors", {"architecture": "tiny", "ellipse": "round"})
    with pytest.raises(CheckpointError, match="expected numbers for context and ellipse"):
        checkpoint.load(tmp_path / "b.safetensors")


def test_load_gives_the_network_in_eval_mode(tmp_path: Path, network: MedSAM) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, network.train(), "tiny")
    loaded, name = checkpoint.load(path)
    assert name == "tiny"
    assert not any(part.training for part in loaded.modules())
    assert_same(loaded.state_dict(), network.state_dict())
    with torch.no_grad():
        rows, boxes = torch.rand(1, 16, 16), torch.tensor([[3.0, 4, 200, 100]])
        torch.testing.assert_close(loaded.decode(rows, boxes), network.eval().decode(rows, boxes))


def test_writing_again_replaces_the_file(tmp_path: Path, network: MedSAM) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, tiny(), "tiny")
    checkpoint.write(path, network, "tiny")
    assert_same(checkpoint.read(path).state, network.state_dict())


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, network: MedSAM, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, network, "tiny")

    def fail(state: object, partial: Path, metadata: object) -> None:
        partial.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.write(path, tiny(), "tiny")
    assert_same(checkpoint.read(path).state, network.state_dict())


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "flat": lambda state: state,
    "model": lambda state: {"model": state},
    "training": lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "state_dict": lambda state: {"state_dict": state, "loss": 0.5},
    "distributed": lambda state: {f"module.{key}": value for key, value in state.items()},
    "distributed training": lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
    "lightning": lambda state: {
        "pytorch-lightning_version": "2.0",
        "state_dict": {f"network.{key}": value for key, value in state.items()},
    },
    "distributed lightning": lambda state: {"state_dict": {f"module.network.{key}": v for key, v in state.items()}},
    "compiled": lambda state: {"state_dict": {f"_orig_mod.{key}": value for key, value in state.items()}},
    "compiled and distributed": lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
    "compiled parts": lambda state: {key.replace("encoder.", "encoder._orig_mod.", 1): v for key, v in state.items()},
    "lightning with a loss": lambda state: {
        "state_dict": {"criterion.weight": torch.ones(1)} | {f"model.{key}": value for key, value in state.items()}
    },
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "nnU-Net": lambda state: {"network_weights": state, "_best_ema": np.float64(0.5), "grad_scaler_state": None},
    "averaged": lambda state: {"n_averaged": torch.tensor(3)} | {f"module.{key}": v for key, v in state.items()},
    "numpy scalars": lambda state: {
        "model": state,
        "dsc": np.float32(0.5),
        "epoch": np.int64(3),
        "done": np.bool_(True),
    },
    "with its options": lambda state: {"state_dict": state, "args": argparse.Namespace(lr=1e-3, sizes=[1, 2])},
    "an unknown wrapper": lambda state: {"student": state, "config": {"lr": 1e-3}},
    "with other entries": lambda state: {**state, "epoch": 3},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_published_layouts_are_read(tmp_path: Path, network: MedSAM, layout: str, zipped: bool) -> None:
    path = tmp_path / "a.pth"
    torch.save(LAYOUTS[layout](network.state_dict()), path, _use_new_zipfile_serialization=zipped)
    found = checkpoint.read(path)
    assert_same(found.state, network.state_dict())
    assert found.architecture is None
    loaded, name = checkpoint.load(path)  # the architecture is found by the tensors
    assert name == "tiny"
    assert_same(loaded.state_dict(), network.state_dict())


def test_a_prefix_that_only_some_keys_have_is_kept(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(state, tmp_path / "a.pth")
    assert checkpoint.read(tmp_path / "a.pth").state.keys() == state.keys()


def test_of_two_networks_in_one_file_none_is_guessed(tmp_path: Path, network: MedSAM) -> None:
    torch.save({"student": network.state_dict(), "teacher": tiny().state_dict()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="expected one state dict, got student, teacher"):
        checkpoint.read(tmp_path / "a.pth")


def test_nor_of_two_in_one_state_dict(tmp_path: Path, network: MedSAM) -> None:
    state = network.state_dict()
    torch.save(
        {"state_dict": {f"{p}.{k}": v for p in ("model", "ema.module") for k, v in state.items()}}, tmp_path / "a.pth"
    )
    with pytest.raises(CheckpointError, match=r"expected one network, its keys begin with 'ema\.module\.', 'model\.'"):
        checkpoint.read(tmp_path / "a.pth")


def test_what_is_refused_beside_tensors_is_named(tmp_path: Path, network: MedSAM) -> None:
    others = {"PosixPath": Path("/a"), "_reconstruct": np.zeros(3), "StrDType": np.str_("a")}
    for name, other in others.items():
        torch.save({"model": network.state_dict(), "args": other}, tmp_path / "a.pth")
        with pytest.raises(CheckpointError, match=rf"holds [\w.]*{name}, which may run code; .* save its state dict"):
            checkpoint.read(tmp_path / "a.pth")


def test_a_file_of_no_known_network_says_which_are_known(tmp_path: Path) -> None:
    torch.save({"layer1.weight": torch.ones(2), "layer2.weight": torch.ones(2)}, tmp_path / "a.pth")
    message = (
        "expected tensors of class_prompt_tinyvit, .*, tiny, got 2 of another network, such as layer1.weight, layer2"
    )
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path / "a.pth", "tiny")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_the_mode_of_a_file_follows_the_umask(tmp_path: Path, network: MedSAM, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        checkpoint.write(tmp_path / "a.safetensors", network, "tiny")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for name in ("no.pth", "no.safetensors", "."):
        with pytest.raises(FileMissingError, match="no such file"):
            checkpoint.read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt"])
@pytest.mark.parametrize("content", [b"", b"a", b"not a checkpoint", b"\0" * 64, b"PK\3\4 not a zip", b"\x80\x02."])
def test_other_files_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read") as caught:
        checkpoint.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for seed in range(300):
        bytes_ = torch.randint(0, 256, (60,), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        path.write_bytes((b"\x80\x02" if seed % 2 else b"") + bytes_.numpy().tobytes())
        with pytest.raises(CheckpointError):
            checkpoint.read(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, network: MedSAM, share: float, zipped: bool) -> None:
    path = tmp_path / "a.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="cannot read"):
        checkpoint.read(path)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_safetensors_file_is_refused(tmp_path: Path, network: MedSAM, share: float) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, network, "tiny")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="cannot read"):
        checkpoint.read(path)


@pytest.mark.parametrize("content", [3, "text", [torch.ones(1)], {}, {"epoch": 3}, {"model": {}}, torch.ones(2)])
def test_files_without_named_tensors_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="expected tensors by name"):
        checkpoint.read(tmp_path / "a.pth")


class Code:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("layout", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, layout: str) -> None:
    path, proof = tmp_path / "a.pth", tmp_path / "it ran"
    content = {"model": {"a": torch.ones(1)}, "extra": Code(proof)}
    if layout == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"extra": Code(proof)}, protocol=2))  # the protocol torch writes
    with pytest.raises(CheckpointError, match="cannot read"):
        checkpoint.read(path)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Code(proof)))  # what would have happened
    assert proof.exists()


def test_one_missing_tensor_is_named(tmp_path: Path, network: MedSAM) -> None:
    state = network.state_dict()
    del state[KEY]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path / "a.pth")
    assert str(caught.value) == f"checkpoint: does not match tiny: 1 missing: {KEY}"


def test_one_unexpected_tensor_is_named(network: MedSAM) -> None:
    state = {**network.state_dict(), "mask_decoder.extra": torch.ones(1)}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_state(network, state, "tiny")
    assert str(caught.value) == "checkpoint: does not match tiny: 1 unexpected: mask_decoder.extra"


def test_one_transposed_tensor_is_named_with_both_shapes(network: MedSAM) -> None:
    key = "mask_decoder.transformer.layers.0.mlp.lin1.weight"
    state = network.state_dict()
    state[key] = state[key].T
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_state(network, state, "tiny")
    expected = f"1 wrong shape: {key} (expected (24, 16), got (16, 24))"
    assert str(caught.value) == f"checkpoint: does not match tiny: {expected}"


def test_all_kinds_of_mismatch_at_once_and_nothing_is_loaded(network: MedSAM) -> None:
    state = {key: value + 1 for key, value in network.state_dict().items()}
    state["more"] = state.pop(KEY)
    state["prompt_encoder.no_mask_embed.weight"] = torch.ones(2, 16)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"1 missing: .*; 1 unexpected: more; 1 wrong shape: prompt_encoder"):
        checkpoint.load_state(network, state, "tiny")
    assert_same(network.state_dict(), before)


def test_many_keys_are_shortened(network: MedSAM) -> None:
    state = dict(list(network.state_dict().items())[12:])
    with pytest.raises(CheckpointError, match=r"12 missing: .* and 4 more; 12 unexpected: .* and 4 more$"):
        checkpoint.load_state(network, state | {f"x{index}": torch.ones(1) for index in range(12)}, "tiny")


def test_half_precision_is_loaded(network: MedSAM) -> None:
    state = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    other = tiny()
    checkpoint.load_state(other, state, "tiny")
    for key, value in other.state_dict().items():
        assert torch.equal(value, state[key].to(value.dtype)), key


@pytest.mark.parametrize("name", ["rep_medsam", "rep_medsam_s", "tiny"])
def test_the_nearest_architecture_is_found_despite_some_other_tensors(name: str) -> None:
    state = build(name).state_dict()
    assert checkpoint.nearest_architecture(state) == name
    del state[KEY]
    state["more"] = torch.ones(1)
    state["prompt_encoder.no_mask_embed.weight"] = torch.ones(2, 16)
    assert checkpoint.nearest_architecture(state) == name


def test_a_given_architecture_is_not_replaced_by_the_nearest(tmp_path: Path, network: MedSAM) -> None:
    torch.save(network.state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="does not match rep_medsam_s"):
        checkpoint.load(tmp_path / "a.pth", "rep_medsam_s")


def test_safetensors_without_header_are_recognised_by_their_tensors(tmp_path: Path, network: MedSAM) -> None:
    path = tmp_path / "a.safetensors"
    save_file({f"module.{key}": value for key, value in network.state_dict().items()}, path)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() is None
    loaded, name = checkpoint.load(path)
    assert name == "tiny"
    assert_same(loaded.state_dict(), network.state_dict())


def test_an_unknown_architecture_in_the_header_needs_a_given_one(tmp_path: Path, network: MedSAM) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, network, "from_the_future")
    with pytest.raises(MedsamEdgeError, match="'from_the_future'"):
        checkpoint.load(path)
    loaded, name = checkpoint.load(path, "tiny")
    assert name == "tiny"
    assert_same(loaded.state_dict(), network.state_dict())


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        *(("tiny", layout) for layout in checkpoint.LAYOUTS),
        ("rep_medsam", "flat"),
        ("lite_medsam", "flat"),
        ("medsam_vit_b", "flat"),
        ("class_prompt_tinyvit_code", "flat"),
    ],
)
def test_a_published_layout_round_trips(tmp_path: Path, name: str, layout: str) -> None:
    network = build(name)
    checkpoint.write(tmp_path / "own.safetensors", network, name)
    checkpoint.export(tmp_path / "own.safetensors", tmp_path / "published.pth", layout)
    loaded, found = checkpoint.load(tmp_path / "published.pth")
    assert found == name
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    assert [path.name for path in tmp_path.glob("*.partial")] == []


@pytest.mark.parametrize("name", ["rep_medsam", "rep_medsam_s", "rep_medsam_cp", "lite_medsam", "class_prompt_tinyvit"])
def test_a_fused_checkpoint_gives_the_fused_network(tmp_path: Path, name: str) -> None:
    fused = fuse(build(name))
    if fused.mask_decoder.hints is not None:
        fused.prompt_encoder.forget_masks()  # as loading does where nothing says that they were trained
    torch.save(fused.state_dict(), tmp_path / "fused.pth")
    network, found = checkpoint.load(tmp_path / "fused.pth")
    assert found == name
    assert_same(network.state_dict(), fused.state_dict())
    torch.save({**fused.state_dict(), "extra": torch.zeros(1)}, tmp_path / "fused.pth")
    with pytest.raises(CheckpointError, match=f"does not match {name}: 1 unexpected: extra$"):
        checkpoint.load(tmp_path / "fused.pth")


def test_export_refuses_unknown_layouts_safetensors_names_and_existing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="layout: expected one of flat, wrapped, module, got 'zip'"):
        checkpoint.export(tmp_path / "own.safetensors", tmp_path / "out.pth", "zip")
    with pytest.raises(
        InputError, match=r"output: expected the name of a PyTorch file such as x.pth, got .*out.safetensors"
    ):
        checkpoint.export(tmp_path / "own.safetensors", tmp_path / "out.safetensors")
    (tmp_path / "out.pth").touch()
    with pytest.raises(InputError, match=r"output: .* exists already"):
        checkpoint.export(tmp_path / "own.safetensors", tmp_path / "out.pth")


def test_a_partial_load_takes_what_fits_and_says_what_does_not() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    kept = network.state_dict()["1.weight"].clone()
    state = {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2), "1.weight": torch.ones(5, 2), "old": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"1 missing: 1.bias; 1 unexpected: old; 1 wrong shape: 1.weight"):
        checkpoint.load_state(network, state, "it")
    problems = checkpoint.load_state(network, state, "it", partial=True)
    assert [line.split(":")[0] for line in problems] == ["1 missing", "1 unexpected", "1 wrong shape"]
    assert torch.equal(network.state_dict()["0.weight"], torch.ones(2, 2))
    assert torch.equal(network.state_dict()["1.weight"], kept)
    with pytest.raises(
        CheckpointError, match=r"expected tensors of .*rep_medsam.*, got 1 of another network, such as old"
    ):
        checkpoint.load_state(network, {"old": torch.ones(1)}, "it", partial=True)  # nothing fits
