"""A bundle of two tiny OpenVINO networks with random weights, which compile in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from medsam_edge.networks.bundle import CARD_FILE, MANIFEST_FILE, MODEL_FILES, Manifest, sha256

SIZE = 64
CHANNELS = 8


def weights(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(size=shape).astype(np.float32)


def encoder(rng: np.random.Generator) -> ov.Model:
    """image (1, 3, S, S) → embedding (1, (S/4)², C): two convolutions, then rows of positions."""
    image = ops.parameter([1, 3, SIZE, SIZE], np.float32, name="image")
    half = ops.relu(ops.convolution(image, weights(rng, 16, 3, 3, 3), [2, 2], [0, 0], [1, 1], [1, 1]))
    quarter = ops.convolution(half, weights(rng, CHANNELS, 16, 3, 3), [2, 2], [0, 0], [1, 1], [1, 1])
    rows = ops.reshape(quarter, np.array([1, CHANNELS, -1]), special_zero=False)
    return named([ops.transpose(rows, np.array([0, 2, 1]))], [image], ["embedding"])


def decoder(rng: np.random.Generator) -> ov.Model:
    """embedding, boxes (N, 4), cells (N, K) → logits (N, K, 4, 4) of the cells and the box, scores (N,)."""
    embedding = ops.parameter([1, (SIZE // 4) ** 2, CHANNELS], np.float32, name="embedding")
    boxes = ops.parameter([-1, 4], np.float32, name="boxes")
    cells = ops.parameter([-1, -1], np.int64, name="cells")
    rows = ops.gather(ops.squeeze(embedding, np.array([0])), cells, np.array(0))  # (N, K, C)
    prompt = ops.tanh(ops.matmul(boxes, weights(rng, 4, CHANNELS) / SIZE, False, False))  # (N, C)
    mixed = ops.add(rows, ops.unsqueeze(prompt, np.array([1])))
    pixels = ops.matmul(mixed, weights(rng, CHANNELS, 16), False, False)  # (N, K, 16)
    logits = ops.reshape(pixels, np.array([0, 0, 4, 4]), special_zero=True)
    scores = ops.sigmoid(ops.reduce_mean(mixed, np.array([1, 2]), keep_dims=False))
    return named([logits, scores], [embedding, boxes, cells], ["logits", "scores"])


def named(results: list[ov.Node], parameters: list[ov.Node], names: list[str]) -> ov.Model:
    model = ov.Model(results, parameters, "tiny")
    for parameter in parameters:
        parameter.output(0).get_tensor().set_names({parameter.get_friendly_name()})
    for output, name in zip(model.outputs, names, strict=True):
        output.get_tensor().set_names({name})
    return model


def write_tiny_bundle(folder: Path, seed: int = 0) -> Path:
    """Write the bundle; another seed gives other weights."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    ov.save_model(encoder(rng), folder / "encoder.xml", compress_to_fp16=False)
    ov.save_model(decoder(rng), folder / "decoder.xml", compress_to_fp16=False)
    files = {name: sha256((folder / name).read_bytes()) for name in MODEL_FILES}
    release = ".".join(ov.__version__.split(".")[:2]) + ".0"
    manifest = Manifest("tiny", SIZE, files, "f32", "f32", reach=8, openvino=release, source_sha256="0" * 64)
    (folder / MANIFEST_FILE).write_text(manifest.to_json())
    (folder / CARD_FILE).write_text("# Random weights\n")
    return folder
