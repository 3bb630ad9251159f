"""Checkpoints: our own (safetensors with the architecture in its header) and every published layout.

Published `.pth` files are flat state dicts, or wrap one under `model`, `state_dict` and the like. Distributed, compiled
and Lightning runs put `module.`, `_orig_mod.`, `model.` or `network.` before every key. All are read with
`weights_only=True`; beside tensors and plain values, files may hold numbers of numpy, as which some
loops save a score, and the options that argparse read.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.networks.bundle import PROMPTS
from medsam_edge.writing.whole import replacing
from medsam_edge_train.models import ZOO, MedSAM, build, fuse, quantize
from medsam_edge_train.models.efficientnet import IMAGENET_KEY, imagenet_state

WRAPPERS = ("model", "state_dict", "model_state_dict", "network", "network_weights", "net", "model_state", "weights")
"""Keys of a state dict inside a file; of several, the first in this order."""
PREFIXES = ("module.", "network.", "model.", "net.")
INSIDE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What compiling and sharding put into keys, at any place."""
PARTS = re.compile(r"(?:^|(?<=\.))(image_encoder|prompt_encoder|mask_decoder)\.")
"""Parts that every network has: what stands before them is a prefix."""
LEAST_SHARED = 0.5
"""Share of its tensors that a file has in common with some network, or it is of none."""
NEUTRAL = "mask_decoder.hints."
"""Tensors that checkpoints of networks with boxes alone lack; they change nothing at first."""
SHOWN_KEYS = 8


@dataclass(frozen=True)
class Checkpoint:
    """A state dict with keys as in our networks, and what its file says about it."""

    state: dict[str, Tensor]
    architecture: str | None
    metadata: dict[str, str]


def read(path: Path) -> Checkpoint:
    """Read a checkpoint of any known layout.

    Raises:
        FileMissingError: there is no such file.
        CheckpointError: the file is not a checkpoint, or holds something other than tensors.
    """
    if not path.is_file():
        raise FileMissingError(f"checkpoint: no such file: {path}")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                metadata = dict(file.metadata() or {})
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"checkpoint: cannot read {path}: {error}") from error
        return Checkpoint(_clean(state), metadata.get("architecture"), metadata)
    try:
        with torch.serialization.safe_globals([*_numbers_of_numpy(), argparse.Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles and archives raise whatever they run into
        refused = re.search(r"GLOBAL ([\w.]+)", str(error)) or re.search(r"got <class '([\w.]+)'", str(error))
        reason = (
            f", got one that holds {refused[1]}, which may run code; where you trust it, save its state dict alone: "
            "torch.save(torch.load(…, weights_only=False)['model'], …)"
            if refused
            else ""
        )
        message = f"checkpoint: cannot read {path}: expected a PyTorch file of plain tensors{reason}"
        raise CheckpointError(message) from error
    state = _unwrap(loaded)
    if IMAGENET_KEY in state:
        state = imagenet_state(state)
    if not state:
        raise CheckpointError(f"checkpoint: expected tensors by name in {path}, found none")
    return Checkpoint(state, None, {})


def _numbers_of_numpy() -> list[Any]:
    """What unpickles a number of numpy, under the names of numpy 1 and 2. None of it runs code of the file."""
    scalar = cast(Any, np.float64(0).__reduce__())[0]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*names, np.dtype, *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd")]


def write(path: Path, network: MedSAM, architecture: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network as safetensors, with what its masks depend on beside its weights: `context`, `ellipse`, prompts.

    The file appears whole or not at all.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    own = {"context": network.context, "ellipse": network.mask_decoder.ellipse, "prompts": network.prompt_kinds}
    settings = {name: json.dumps(value) for name, value in own.items()}
    with replacing(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # as the umask says; safetensors gives nobody else the right to read
        save_file(state, partial, {"architecture": architecture, **settings, **(metadata or {})})
        partial.chmod(mode)


LAYOUTS = ("flat", "wrapped", "module")


def export(source: Path, target: Path, layout: str = "flat", architecture: str | None = None) -> None:
    """Write a checkpoint as a published-layout `.pth`; the file appears whole or not at all. Raises as `load`.

    Args:
        layout: `flat` (a state dict, as rep_medsam.pth and lite_medsam.pth), `wrapped` (under `model`, as the published
            training scripts save it), or `module` (as a distributed run saves it: wrapped, `module.` before every key).

    Raises:
        InputError: the layout is unknown, the target exists or is .safetensors, or the source is fused and quantized.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
    if target.suffix == ".safetensors":
        raise InputError(f"output: expected the name of a PyTorch file such as x.pth, got {target}")
    if target.exists():
        raise InputError(f"output: {target} exists already")
    network, _ = load(source, architecture)
    if network.quantizers is not None:
        raise InputError(f"checkpoint: {source} is fused and quantized; no published layout can hold it")
    before = "module." if layout == "module" else ""
    state = {f"{before}{key}": value for key, value in network.state_dict().items()}
    with replacing(target) as partial:
        torch.save(state if layout == "flat" else {"model": state, "epoch": 0}, partial)


def load(path: Path, architecture: str | None = None) -> tuple[MedSAM, str]:
    """The network of a checkpoint, in eval mode, and the name of its architecture.

    A fused network stays fused. One of quantization-aware training has its quantizers, and computes as int8 will.

    Args:
        architecture: the name; needed if the file does not say and the tensors do not tell.

    Raises:
        FileMissingError: there is no such file.
        CheckpointError: the file is unreadable, or its tensors do not match; the message names the keys.
    """
    checkpoint = read(path)
    name = architecture or checkpoint.architecture or nearest_architecture(checkpoint.state)
    network = _like(name, checkpoint.state)
    load_state(network, checkpoint.state, name)
    if path.suffix == ".safetensors":
        said = {"context": "null", "ellipse": "0", **checkpoint.metadata}  # without them, it was trained with neither
        try:
            context, network.mask_decoder.ellipse = json.loads(said["context"]), float(json.loads(said["ellipse"]))
            network.context = None if context is None else float(context)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"checkpoint: expected numbers for context and ellipse in {path}: {error}") from error
    set_prompt_kinds(network, checkpoint.metadata)
    return network.eval(), name


def set_prompt_kinds(network: MedSAM, metadata: Mapping[str, str]) -> None:
    """What a checkpoint's network was trained to take; mask prompts that a network of ours never saw change nothing.

    Raises:
        CheckpointError: other kinds than there are.
    """
    kinds = metadata.get("prompts", '["box"]')
    if kinds not in (json.dumps(PROMPTS[:1]), json.dumps(PROMPTS)):
        raise CheckpointError(f"checkpoint: expected prompts {json.dumps(PROMPTS)} or fewer, got {kinds}")
    network.prompt_kinds = tuple(json.loads(kinds))
    if network.mask_decoder.hints is not None and "mask" not in network.prompt_kinds:
        network.prompt_encoder.forget_masks()


def load_state(network: nn.Module, state: Mapping[str, Tensor], name: str, partial: bool = False) -> list[str]:
    """Load a state dict; returns what does not fit, one line for each kind of mismatch.

    Args:
        name: of the architecture, for messages.
        partial: load the tensors that fit instead of raising; the rest of the network stays unchanged.

    Raises:
        CheckpointError: a key is missing or unexpected, or a shape differs; with `partial`, no tensor fits.
    """
    expected = network.state_dict()
    problems = _differences(expected, state)
    fitting = {key: value for key, value in state.items() if key in expected and expected[key].shape == value.shape}
    if problems and not (partial and fitting):
        nearest = nearest_architecture(state)
        fits = len(fitting) / max(len(expected), len(state))
        if max(fits, _shared(nearest, state)) < LEAST_SHARED:
            raise CheckpointError(
                f"checkpoint: expected tensors of {', '.join(sorted(ZOO))}, "
                f"got {len(state)} of another network, such as {_shorten(list(state))}"
            )
        hint = f"; its tensors are nearest to {nearest}" if nearest != name else ""
        raise CheckpointError(f"checkpoint: does not match {name}: " + "; ".join(problems) + hint)
    network.load_state_dict(fitting, strict=False)
    return problems


def nearest_architecture(state: Mapping[str, Tensor]) -> str:
    """Name of the network that shares the most (key, shape) pairs with a state dict."""
    return max(sorted(ZOO), key=lambda name: _shared(name, state))


def _shared(name: str, state: Mapping[str, Tensor]) -> float:
    """Share of (key, shape) pairs that the named network has in common with a state dict."""
    if quantize.is_quantized(state):
        with torch.device("meta"):
            expected = _shapes_of(_like(name, state))
    else:
        expected = _shapes(ZOO[name], _is_fused(state))
    same = [key for key, shape in expected.items() if key in state and state[key].shape == shape]
    return len(same) / max(len(expected), len(state))


@cache
def _shapes(make: Callable[[], MedSAM], fused: bool) -> dict[str, torch.Size]:
    """Shapes of a network's tensors; cached, because a file may be compared with every network several times."""
    with torch.device("meta"):
        return _shapes_of(fuse(make()) if fused else make())


def _shapes_of(network: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in network.state_dict().items()}


def _like(name: str, state: Mapping[str, Tensor]) -> MedSAM:
    """The named network in the form that a state dict has: as built, fused, or with quantizers."""
    network = build(name)
    if quantize.is_quantized(state):
        return quantize.like(network, state)
    return cast(MedSAM, fuse(network)) if _is_fused(state) else network


def _is_fused(state: Mapping[str, Tensor]) -> bool:
    """Whether no batch norm is left."""
    return not any(key.endswith("running_var") for key in state)


def _unwrap(loaded: object) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        return {}
    for key in WRAPPERS:
        if found := _unwrap(loaded.get(key)):
            return found
    named = {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}
    inside = {key: _unwrap(value) for key, value in loaded.items() if not named}
    known = [key for key, state in inside.items() if any(map(PARTS.match, state))]
    if len(known) > 1:
        raise CheckpointError(f"checkpoint: expected one state dict, got {', '.join(map(str, known))}")
    return inside[known[0]] if known else _clean(named)


def _clean(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys as in our networks: without what a training loop puts before them, and without the loop's own tensors."""
    for word in INSIDE:
        state = {key.replace(word, ""): value for key, value in state.items()}
    prefixes = {key[: match.start()] for key in state if (match := PARTS.search(key))}
    if len(prefixes) > 1:
        raise CheckpointError(
            "checkpoint: expected one network, its keys begin with "
            + ", ".join(repr(prefix) for prefix in sorted(prefixes))
        )
    if len(prefixes) == 1 and (only := prefixes.pop()):
        return {key.removeprefix(only): value for key, value in state.items() if key.startswith(only)}
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            return _clean({key.removeprefix(prefix): value for key, value in state.items()})
    return state


def _differences(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    missing = [key for key in expected if key not in state and not key.startswith(NEUTRAL)]
    unexpected = [key for key in state if key not in expected]
    shapes = [
        f"{key} (expected {tuple(expected[key].shape)}, got {tuple(state[key].shape)})"
        for key in expected
        if key in state and expected[key].shape != state[key].shape
    ]
    named = (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes))
    return [f"{len(keys)} {what}: {_shorten(keys)}" for what, keys in named if keys]


def _shorten(keys: list[str]) -> str:
    more = len(keys) - SHOWN_KEYS
    return ", ".join(keys[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
