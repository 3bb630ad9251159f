"""Read this first: an image and boxes in, masks out.

embed    read → intensity → geometry → encoder          once per image
decode   boxes → decoder → masks back in the image       as often as boxes change
segment  both, with embeddings found again by content; slice by slice in a volume (volume.py)
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import BoxesLike, check_boxes
from medsam_edge.errors import ImageError, InputError
from medsam_edge.geometry import Geometry
from medsam_edge.image import LoadedImage
from medsam_edge.inference.cache import EmbeddingCache, content_key
from medsam_edge.inference.embedding import Embedding
from medsam_edge.inference.physical import boxes_to_pixels
from medsam_edge.inference.picture import picture_of, segment_picture
from medsam_edge.inference.volume import is_volume, segment_volume
from medsam_edge.intensity import Window
from medsam_edge.modality import Modality
from medsam_edge.networks.bundle import load_bundle, packaged_bundle
from medsam_edge.networks.model import Model
from medsam_edge.reading.itk import from_simpleitk
from medsam_edge.reading.limits import check_size
from medsam_edge.reading.read import read_image
from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.settings import (
    Axis,
    BoxSpace,
    Compat,
    Detail,
    Overlap,
    Progress,
    Settings,
    check_choice,
)

ImageLike = Any
"""(H, W) or (H, W, 3) RGB array, SimpleITK.Image, the path of an image file, or what `read_image` gave; (D, H, W) where
volumes are taken."""

DECODE_BATCH = 4
"""Boxes decoded at once. More gain nothing on processors without matrix units, and cost memory."""

DEFAULT_CACHE_BYTES = 1024**3
"""Some 500 slices of a half-precision embedding: a volume whose boxes change is not encoded again."""


class Segmenter:
    """A model ready to segment. Make one and share it: it is safe to use from many threads.

    It cannot be pickled: in a pool of processes, make one in each. Embeddings and results can.

    Args:
        bundle: folder of a converted model; None for the packaged one; or a model that is loaded already.
        device: OpenVINO device.
        num_threads: CPU threads of one inference; None for OpenVINO's choice.
        cache_bytes: budget for embeddings kept by content; 0 keeps none.
        cache_dir: folder for compiled models, which makes later starts faster; None for none. What lies there is not
            checked: it must be yours alone to write.

    Raises:
        BundleError: the bundle is missing, damaged, tampered with, or cannot be compiled.
        InputError: `num_threads` or `cache_bytes` that are no such numbers, or a `cache_dir` that is a file.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Model | None = None,
        *,
        device: str = "CPU",
        num_threads: int | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if num_threads is not None and not isinstance(num_threads, Integral):
            raise InputError(f"num_threads: expected a whole number or None, got {num_threads!r}")
        if cache_dir and Path(cache_dir).is_file():
            raise InputError(f"cache_dir: expected a folder, got the file {cache_dir}")
        self._cache = EmbeddingCache(cache_bytes)
        if not isinstance(bundle, Model):
            from medsam_edge.networks import engine

            settings = engine.EngineSettings(device, num_threads, Path(cache_dir) if cache_dir else None)
            bundle = engine.load_model(load_bundle(packaged_bundle() if bundle is None else Path(bundle)), settings)
        self.model = bundle

    def embed(
        self, image: ImageLike, modality: str | Modality | None = None, *, window: Window | None = None
    ) -> Embedding:
        """Run the encoder, or find the embedding of the same pixels in the cache.

        Args:
            image: (H, W) grey or (H, W, 3) RGB array of any real dtype, a SimpleITK image of one slice, or a file's
                path. uint8 is taken as display-ready; other dtypes go through the modality's intensity rule.
            modality: one of the eleven; None takes what a DICOM file says, if anything. It chooses the intensity rule
                and the class prompt of networks that have one. Without it, such a network is prompted with the class
                that it recognises; the intensities have then followed the rule for an unknown modality and stay so.
            window: CT (level, width) in HU, or of any other grey image in its own units; or the name of a CT window:
                soft-tissue, lung, brain, bone or liver (`medsam_edge.intensity.WINDOWS`).

        Raises:
            ImageError, FileMissingError, ModalityError, InputError: the argument at fault is named. A modality that is
                no class of a network with class prompts is a ModalityError.
        """
        clock = _Clock()
        loaded = _load(image)
        told = self._told(modality, loaded)
        clock.lap("read")
        display = picture_of(loaded, told, window)
        clock.lap("prepare")
        embedding = self.embed_display(display, told)
        laps = {stage: embedding.timings_ms[stage] + clock.laps_ms.get(stage, 0.0) for stage in embedding.timings_ms}
        return replace(embedding, frame=loaded.frame, timings_ms=laps)

    def embed_display(
        self, display: npt.NDArray[np.uint8], modality: Modality | None = None, enlarging: int = cv2.INTER_LINEAR
    ) -> Embedding:
        """`embed` for what is a picture already, of which the embedding keeps no copy.

        Args:
            display: (H, W) or (H, W, 3) uint8, not to be changed any more.
            enlarging: OpenCV's interpolation of a picture smaller than the network's square.
        """
        clock = _Clock()
        geometry = Geometry.of(display.shape[:2], self.model.image_size)
        key = content_key(display, self.model.identity, enlarging if geometry.scale > 1 else None)
        outputs = self._cache.get(key)
        clock.lap("prepare")
        if outputs is None:
            planes = geometry.image_to_network(display, enlarging)
            clock.lap("prepare")
            outputs = self.model.encoder.infer({"image": planes[None]})
            for array in outputs.values():
                array.setflags(write=False)
            self._cache.put(key, outputs)
            clock.lap("encode")
        scores = outputs["class_scores"][0].tolist() if self.model.classes else []
        return Embedding(
            features=outputs["embedding"],
            geometry=geometry,
            display=display,
            modality=modality,
            model=self.model.identity,
            class_scores=dict(zip(self.model.classes, scores, strict=True)),
            timings_ms={"read": 0.0, "prepare": 0.0, "encode": 0.0} | clock.laps_ms,
        )

    def decode(self, embedding: Embedding, boxes: BoxesLike, *, overlap: Overlap = "later") -> Segmentation:
        """Segment what each box holds.

        Args:
            embedding: from this model's `embed`.
            boxes: (N, 4) x0, y0, x1, y1 in pixels of the image as given, far edges exclusive; (0, 4) gives an empty
                result.
            overlap: who owns a pixel of several masks in the label map: `later` box or higher `score`.

        Raises:
            BoxError: a box breaks the rule of `medsam_edge.boxes.check_boxes`.
            InputError: an embedding of another model, or an unknown `overlap`.
            ModalityError: the embedding's modality is no class of a network with class prompts.
        """
        if embedding.model != self.model.identity:
            raise InputError("embedding: made by another model than the one that is to decode it")
        check_choice("overlap", overlap, Overlap)
        geometry = embedding.geometry
        checked = check_boxes(boxes, geometry.height, geometry.width)
        prompts = geometry.boxes_to_network(checked)
        modality, confidence = embedding.class_prompt
        inputs = {"embedding": embedding.features}
        if modality and self.model.classes:
            inputs["classes"] = self.model.one_hot(modality)
        clock = _Clock()
        masks: dict[int, CroppedMask] = {}
        scores = np.zeros(len(prompts), dtype=np.float32)
        by_size = np.argsort(np.prod(prompts[:, 2:] - prompts[:, :2], axis=1), kind="stable")
        for start in range(0, len(prompts), DECODE_BATCH):
            own = by_size[start : start + DECODE_BATCH]  # of like size, because their windows are of one size
            windows = geometry.windows(prompts[own], self.model.reach)
            outputs = self.model.decoder.infer({**inputs, "boxes": prompts[own], "cells": windows.cells})
            clock.lap("decode")
            for index, plane in zip(own.tolist(), windows.planes(outputs["logits"]), strict=True):
                masks[index] = CroppedMask(*geometry.mask_to_image(plane))
            scores[own] = outputs["scores"]
            clock.lap("restore")
        timings = {**embedding.timings_ms, "decode": 0.0, "restore": 0.0} | clock.laps_ms
        return Segmentation(
            boxes=checked,
            scores=scores,
            masks=tuple(masks[index] for index in range(len(prompts))),
            display=embedding.display,
            modality=modality,
            modality_confidence=confidence,
            timings_ms=timings,
            overlap=overlap,
            frame=embedding.frame,
        )

    def segment(
        self,
        image: ImageLike,
        boxes: BoxesLike,
        modality: str | Modality | None = None,
        *,
        window: Window | None = None,
        box_space: BoxSpace = "pixel",
        overlap: Overlap = "later",
        axis: Axis = 0,
        streams: int = 1,
        stop_when_empty: bool = False,
        progress: Progress | None = None,
        compat: Compat | None = None,
        detail: Detail = "auto",
    ) -> Segmentation | VolumeSegmentation:
        """`embed`, then `decode`; of a volume, every slice that a box reaches, from its middle slice outwards.

        The same pixels are not encoded again, whatever the modality and the boxes: `timings_ms["encode"]` is then 0.0.
        Slices of a volume are kept too, as far as `cache_bytes` go.

        Args:
            image: as for `embed`; with boxes of six numbers a volume: a (D, H, W) array, a SimpleITK image, or the
                path of a nii, nii.gz, nrrd, mha, challenge npz or DICOM file, or of a DICOM series' folder.
                Percentiles are those of the whole volume.
            boxes: (N, 4) x0, y0, x1, y1 in pixels, or (N, 6) x0, y0, z0, x1, y1, z1 in voxels of the array as given,
                far edges exclusive. They decide what a (…, …, 3) array is: with (N, 4) an RGB picture, with (N, 6) a
                volume. No boxes, [], give an empty result.
            modality, window, overlap: as for `embed` and `decode`.
            box_space: `physical` for boxes in mm in the coordinates of a medical file, see
                `medsam_edge.inference.physical`: (N, 6), any two opposite corners; (N, 4) for a file of two
                dimensions. The box used is the smallest along the array's axes that holds it. A result's `boxes` are
                in pixels, and so is what an error says of a box outside the image.
            axis: of a volume's array, along which slices are taken: 0 or axial, 1 or coronal, 2 or sagittal. This and
                the next three are for volumes only.
            streams: threads that encode the next slices while one is decoded; 0 for none. The same bits.
            stop_when_empty: whether an object ends, in that direction, at the first slice without a mask. If not, its
                box prompts the next slice.
            progress: called with (slices done, slices in all) after each slice; returning False cancels.
                Slices on which all objects have ended are passed over. A slice counts once for each of its tiles.
            compat: `rep-medsam` for the published scripts' rules, quirks included, to compare with their figures:
                boxes cut to whole network pixels, the next slice's box from shrunken label values, and z1 the last
                slice, as in the challenge's files (the command makes the z1 of such a file exclusive as it reads it).
            detail: where to look for a box that is small in its image or slice. `image`: in the whole, resized to the
                network's square. `auto`: in a tile around it, embedded as well, where it would be less than 12 pixels
                of the square; no tile is enlarged. `crop`: in a tile of which it fills about a fifth, enlarged where
                need be, which is better for boxes that are exact and worse for others, and most boxes cost an
                encoding (`medsam_edge.inference.tiles`). Never a tile with `compat`.

        Returns:
            `Segmentation` for (N, 4), `VolumeSegmentation` for (N, 6); of a slice in colour always `Segmentation`.

        Raises:
            CancelledError: `progress` returned False.
            InputError: an unknown `axis`, `compat`, `detail` or `box_space`, `streams` that is no number of threads, or
                physical boxes for an image that does not know where it lies, of other dimensions, or with `compat`.
            What `embed` and `decode` raise.
        """
        settings = Settings(box_space, overlap, axis, streams, stop_when_empty, progress, compat, detail)
        clock = _Clock()
        loaded = _load(image)
        told = self._told(modality, loaded)
        clock.lap("read")
        volume = is_volume(loaded, boxes)
        if box_space == "physical":
            boxes = boxes_to_pixels(boxes, loaded.frame)
            if volume and loaded.color:  # a slice that lies in the patient; there are no volumes in colour
                height, width = loaded.pixels.shape[:2]
                boxes, volume = check_boxes(boxes, height, width, 1)[:, [0, 1, 3, 4]], False
        segment_loaded = segment_volume if volume else segment_picture
        return segment_loaded(self, loaded, boxes, told, window, settings, clock)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise InputError(
            "segmenter: holds compiled networks, which cannot be copied or sent to another process; make one in each "
            "process, as with a pool's initializer, or call medsam_edge.segment there"
        )

    def _told(self, modality: str | Modality | None, loaded: LoadedImage) -> Modality | None:
        told = Modality.parse(modality) or loaded.modality
        if told and self.model.classes:
            self.model.one_hot(told)  # to be refused here, before the slow half
        return told


def segment(
    image: ImageLike,
    boxes: BoxesLike,
    modality: str | Modality | None = None,
    *,
    window: Window | None = None,
    box_space: BoxSpace = "pixel",
    overlap: Overlap = "later",
    axis: Axis = 0,
    streams: int = 1,
    stop_when_empty: bool = False,
    progress: Progress | None = None,
    compat: Compat | None = None,
    detail: Detail = "auto",
) -> Segmentation | VolumeSegmentation:
    """`Segmenter.segment` with the packaged model, which is loaded at the first call and kept."""
    with _default_lock:
        segmenter = _default_segmenter()
    return segmenter.segment(
        image,
        boxes,
        modality,
        window=window,
        box_space=box_space,
        overlap=overlap,
        axis=axis,
        streams=streams,
        stop_when_empty=stop_when_empty,
        progress=progress,
        compat=compat,
        detail=detail,
    )


_default_lock = threading.Lock()


@cache
def _default_segmenter() -> Segmenter:
    return Segmenter()


def _load(image: ImageLike) -> LoadedImage:
    if isinstance(image, LoadedImage):
        loaded = image
    elif isinstance(image, (str, os.PathLike)):
        loaded = read_image(image)
    elif type(image).__module__.startswith("SimpleITK"):
        loaded = from_simpleitk(image)
    elif isinstance(image, np.ndarray):
        check_size("the array", image.shape[:2] if image.shape[2:] == (3,) else image.shape)
        loaded = LoadedImage(image)
    else:
        raise ImageError(f"image: expected an array, a SimpleITK image or a path, got {type(image).__name__}")
    return loaded


class _Clock:
    """Milliseconds since the last lap, summed by stage."""

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps_ms[stage] = self.laps_ms.get(stage, 0.0) + (now - self._last) * 1e3
        self._last = now
