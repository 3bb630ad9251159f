"""Tiny bundles of networks with class prompts, and with clicks, masks and windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from medsam_edge.networks.bundle import MANIFEST_FILE, MODEL_FILES, PROMPTS, sha256
from tests.sdk.tiny_bundle import CHANNELS, SIZE, named, weights, write_tiny_bundle

CLASSES = ("CT", "MR", "US")


def write_class_bundle(folder: Path, seed: int = 1) -> Path:
    """Write the bundle: the embedding's means say the class, and the class moves the logits."""
    write_tiny_bundle(folder, seed)
    rng = np.random.default_rng(seed)
    ov.save_model(class_encoder(rng), folder / "encoder.xml", compress_to_fp16=False)
    ov.save_model(class_decoder(rng), folder / "decoder.xml", compress_to_fp16=False)
    return changed(folder, classes=list(CLASSES))


def write_prompted_bundle(folder: Path, seed: int = 2) -> Path:
    """Write the bundle: clicks and masks move the logits of a window around the box."""
    write_tiny_bundle(folder, seed)
    ov.save_model(prompted_decoder(np.random.default_rng(seed)), folder / "decoder.xml", compress_to_fp16=False)
    return changed(folder, prompts=list(PROMPTS), context=0.5)


def changed(folder: Path, **fields: Any) -> Path:
    """The same bundle with other fields in its manifest, and the hashes of its files as they are."""
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8")) | fields
    manifest["files"] = {name: sha256((folder / name).read_bytes()) for name in MODEL_FILES}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def class_encoder(rng: np.random.Generator) -> ov.Model:
    image = ops.parameter([1, 3, SIZE, SIZE], np.float32, name="image")
    quarter = ops.convolution(image, weights(rng, CHANNELS, 3, 4, 4), [4, 4], [0, 0], [0, 0], [1, 1])
    rows = ops.transpose(ops.reshape(quarter, np.array([1, CHANNELS, -1]), special_zero=False), np.array([0, 2, 1]))
    means = ops.reduce_mean(rows, np.array([1]), keep_dims=False)  # (1, C)
    scores = ops.softmax(ops.matmul(means, weights(rng, CHANNELS, len(CLASSES)), False, False), 1)
    return named([rows, scores], [image], ["embedding", "class_scores"])


def class_decoder(rng: np.random.Generator) -> ov.Model:
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


def prompted_decoder(rng: np.random.Generator) -> ov.Model:
    embedding = ops.parameter([1, (SIZE // 4) ** 2, CHANNELS], np.float32, name="embedding")
    boxes = ops.parameter([-1, 4], np.float32, name="boxes")
    cells = ops.parameter([-1, -1], np.int64, name="cells")
    points = ops.parameter([-1, -1, 2], np.float32, name="points")
    point_labels = ops.parameter([-1, -1], np.int64, name="point_labels")
    prior = ops.parameter([-1, -1, 4, 4], np.float32, name="prior")
    has_prior = ops.parameter([-1], np.float32, name="has_prior")
    rows = ops.gather(ops.squeeze(embedding, np.array([0])), cells, np.array(0))  # (N, K, C)
    signs = ops.convert(ops.unsqueeze(point_labels, np.array([2])), "f32")
    clicked = ops.reduce_mean(ops.multiply(points, signs), np.array([1]), keep_dims=False)  # (N, 2)
    prompt = ops.add(
        ops.matmul(boxes, weights(rng, 4, CHANNELS) / SIZE, False, False),
        ops.matmul(clicked, weights(rng, 2, CHANNELS) / SIZE, False, False),
    )
    mixed = ops.add(rows, ops.unsqueeze(ops.tanh(prompt), np.array([1])))
    pixels = ops.reshape(ops.matmul(mixed, weights(rng, CHANNELS, 16), False, False), np.array([0, 0, 4, 4]), True)
    given = ops.multiply(prior, ops.reshape(has_prior, np.array([-1, 1, 1, 1]), False))
    logits = ops.add(pixels, ops.multiply(given, np.float32(0.3)))
    scores = ops.sigmoid(ops.reduce_mean(mixed, np.array([1, 2]), keep_dims=False))
    inputs = [embedding, boxes, cells, points, point_labels, prior, has_prior]
    return named([logits, scores], inputs, ["logits", "scores"])
