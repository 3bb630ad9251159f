"""A tiny bundle of a network with class prompts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from medsam_edge.networks.bundle import MANIFEST_FILE, MODEL_FILES, sha256
from tests.sdk.tiny_bundle import CHANNELS, SIZE, named, weights, write_tiny_bundle

CLASSES = ("CT", "MR", "US")


def write_class_bundle(folder: Path, seed: int = 1) -> Path:
    """Write the bundle: the embedding's means say the class, and the class moves the logits."""
    write_tiny_bundle(folder, seed)
    rng = np.random.default_rng(seed)
    ov.save_model(encoder(rng), folder / "encoder.xml", compress_to_fp16=False)
    ov.save_model(decoder(rng), folder / "decoder.xml", compress_to_fp16=False)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["classes"] = list(CLASSES)
    manifest["files"] = {name: sha256((folder / name).read_bytes()) for name in MODEL_FILES}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


def encoder(rng: np.random.Generator) -> ov.Model:
    image = ops.parameter([1, 3, SIZE, SIZE], np.float32, name="image")
    quarter = ops.convolution(image, weights(rng, CHANNELS, 3, 4, 4), [4, 4], [0, 0], [0, 0], [1, 1])
    rows = ops.transpose(ops.reshape(quarter, np.array([1, CHANNELS, -1]), special_zero=False), np.array([0, 2, 1]))
    means = ops.reduce_mean(rows, np.array([1]), keep_dims=False)  # (1, C)
    scores = ops.softmax(ops.matmul(means, weights(rng, CHANNELS, len(CLASSES)), False, False), 1)
    return named([rows, scores], [image], ["embedding", "class_scores"])


def decoder(rng: np.random.Generator) -> ov.Model:
    embedding = ops.parameter([1, (SIZE // 4) ** 2, CHANNELS], np.float32, name="embedding")
    boxes = ops.parameter([-1, 4], np.float32, name="boxes")
    cells = ops.parameter([-1, -1], np.int64, name="cells")
    classes = ops.parameter([1, len(CLASSES)], np.float32, name="classes")
    rows = ops.gather(ops.squeeze(embedding, np.array([0])), cells, np.array(0))  # (N, K, C)
    kind = ops.matmul(classes, weights(rng, len(CLASSES), CHANNELS), False, False)  # (1, C)
    prompt = ops.tanh(ops.matmul(boxes, weights(rng, 4, CHANNELS) / SIZE, False, False))  # (N, C)
    mixed = ops.add(rows, ops.unsqueeze(ops.add(prompt, kind), np.array([1])))
    pixels = ops.matmul(mixed, weights(rng, CHANNELS, 16), False, False)
    logits = ops.reshape(pixels, np.array([0, 0, 4, 4]), special_zero=True)
    scores = ops.sigmoid(ops.reduce_mean(mixed, np.array([1, 2]), keep_dims=False))
    return named([logits, scores], [embedding, boxes, cells, classes], ["logits", "scores"])
