"""Read this first: an image and boxes in, masks out.

embed    read → intensity → geometry → encoder          once per image
decode   boxes → decoder → masks back in the image       as often as boxes change
segment  both: a picture by inference/picture.py, a volume slice by slice by inference/volume.py
"""

from __future__ import annotations

import os
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from medsam_edge.boxes import Boxes2D, Boxes3D, BoxesLike, corners_of
from medsam_edge.errors import InputError
from medsam_edge.image import LoadedImage
from medsam_edge.inference.cache import EmbeddingCache
from medsam_edge.inference.embedding import Embedding
from medsam_edge.inference.physical import in_pixels
from medsam_edge.inference.picture import picture_display, refine_picture, segment_picture
from medsam_edge.inference.predictor import Predictor
from medsam_edge.inference.prompting import prompts_in
from medsam_edge.inference.propagation import rule_of
from medsam_edge.inference.tiles import View
from medsam_edge.inference.timing import Stopwatch
from medsam_edge.inference.volume import refine_volume, segment_volume
from medsam_edge.intensity import Window
from medsam_edge.modality import Modality
from medsam_edge.networks.bundle import load_bundle, packaged_bundle
from medsam_edge.networks.model import Model
from medsam_edge.prompts import GivenPrompts
from medsam_edge.reading.read import load_image
from medsam_edge.results.clean import cleaned
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.settings import Axis, BoxFormat, BoxSpace, Clean, Compat, Detail, Options, Overlap, Progress, Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

Result = TypeVar("Result", Segmentation, VolumeSegmentation)

ImageLike = Any
"""(H, W) or (H, W, 3) RGB array, SimpleITK.Image, the path of an image file, what `read_image` gave, or another image
in memory (`medsam_edge.reading.memory`); (D, H, W) where volumes are taken."""

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
        cache_dir: folder for compiled models, which makes later starts faster; None for none. Its content is trusted:
            it must be yours alone to write. One that cannot be used is warned of, and models are compiled anew.

    Raises:
        BundleError: the bundle is missing, damaged, tampered with, or cannot be compiled.
        InputError: `device` is no name, `num_threads` no whole number from 1 to 1024, `cache_bytes` no number of bytes,
            `bundle` or `cache_dir` no path, or `cache_dir` a file.
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
        if num_threads is not None and (not isinstance(num_threads, Integral) or isinstance(num_threads, bool)):
            raise InputError(f"num_threads: expected a whole number or None, got {num_threads!r}")
        if not isinstance(device, str) or not device.isprintable():
            raise InputError(f"device: expected the name of an OpenVINO device such as 'CPU', got {device!r}")
        for name, path in (("bundle", bundle), ("cache_dir", cache_dir)):
            if not isinstance(path, (str, os.PathLike, Model, type(None))):
                raise InputError(f"{name}: expected a path or None, got {path!r}")
        if cache_dir and os.path.isfile(cache_dir):  # noqa: PTH113  False for names too long
            raise InputError(f"cache_dir: expected a folder, got the file {cache_dir}")
        embeddings = EmbeddingCache(cache_bytes)
        if not isinstance(bundle, Model):
            from medsam_edge.networks import engine  # here: training machines import the package without OpenVINO

            settings = engine.EngineSettings(device, num_threads, Path(cache_dir) if cache_dir else None)
            bundle = engine.load_model(load_bundle(packaged_bundle() if bundle is None else Path(bundle)), settings)
        self.model = bundle
        self.predictor = Predictor(bundle, embeddings)

    def embed(
        self, image: ImageLike, modality: str | Modality | None = None, *, window: Window | None = None
    ) -> Embedding:
        """Run the encoder, or find the embedding of the same pixels in the cache.

        Args:
            image: (H, W) grey or (H, W, 3) RGB array of any real dtype, a SimpleITK image of one slice, a file's path,
                or another image in memory (`medsam_edge.reading.memory.TAKEN`). uint8 is taken as display-ready; other
                dtypes go through the modality's intensity rule.
            modality: one of the eleven; None takes what a DICOM file says, if anything. It chooses the intensity rule
                and the class prompt of networks that have one. Without it, such a network is prompted with the class
                that it recognises; the intensities have then followed the rule for CT, if values are those
                of CT in HU (a warning says so), else that for an unknown modality.
            window: CT (level, width) in HU, or of any other grey image in its own units; or the name of a CT window:
                soft-tissue, lung, brain, bone or liver (`medsam_edge.intensity.WINDOWS`).

        Raises:
            ImageError, FileMissingError, ModalityError, InputError: the argument at fault is named. A modality that is
                no class of a network with class prompts is a ModalityError.
        """
        loaded = load_image(image).in_full()
        modality = self._modality(modality, loaded)
        watch = Stopwatch(loaded.read_ms)
        display = picture_display(loaded, modality, window)
        watch.lap("prepare")
        embedding = self.predictor.embed(display, modality)
        watch.add(embedding.timings_ms)
        return replace(embedding, frame=loaded.frame, timings_ms=watch.timings_ms)

    def decode(
        self,
        embedding: Embedding,
        boxes: BoxesLike | None = None,
        *,
        points: Any = None,
        point_labels: Any = None,
        prior: Any = None,
        overlap: Overlap = "later",
        box_format: BoxFormat = "xyxy",
    ) -> Segmentation:
        """Segment what each box holds.

        Args:
            embedding: from this model's `embed`.
            boxes: (N, 4) x0, y0, x1, y1 in pixels of the image as given, far edges exclusive; (0, 4) gives an empty
                result. None where there are clicks alone.
            points, point_labels, prior, box_format: as for `segment`.
            overlap: who owns a pixel of several masks in the label map: `later` box or higher `score`.

        Raises:
            BoxError: a box breaks the rule of `medsam_edge.boxes.check_boxes`.
            InputError: an embedding of another model, an unknown `overlap` or `box_format`, wrong clicks or
                mask prompts (`medsam_edge.prompts.GivenPrompts.check`), or prompts that the model does not take.
            ModalityError: the embedding's modality is no class of a network with class prompts.
        """
        if embedding.model != self.model.identity:
            raise InputError("embedding: made by another model than the one that is to decode it")
        settings, geometry = Settings(overlap=overlap, box_format=box_format), embedding.geometry
        boxes = None if boxes is None else corners_of(boxes, settings.box_format)
        asked = GivenPrompts(boxes, points, point_labels, prior).check(geometry.height, geometry.width)
        self.predictor.check(asked)
        view = View(0, 0, geometry.height, geometry.width, tuple(range(len(asked.boxes))))
        decoded = self.predictor.decode(embedding, prompts_in(view, asked, geometry, rule_of(None)))
        watch = Stopwatch()
        watch.add(embedding.timings_ms)
        watch.add(decoded.timings_ms)
        modality, confidence = embedding.class_prompt
        return Segmentation(
            boxes=asked.boxes,
            scores=decoded.scores,
            masks=decoded.masks,
            shown=embedding.display,
            modality=modality,
            modality_confidence=confidence,
            timings_ms=watch.timings_ms,
            overlap=overlap,
            frame=embedding.frame,
            logits=tuple(own.seen_in(view.place) for own in decoded.logits),
            clicks=asked.clicks,
            segmenter=self,
        )

    def refine(self, result: Result, *, points: Any, point_labels: Any) -> Result:
        """Correct a result by clicks: decode again with the masks so far.

        What was not clicked on stays as it is. In a volume, a slice with clicks is decoded again, and the object is
        followed both ways from it, until a slice on which somebody clicked or on which its mask does not change.
        Nothing is encoded that the cache still has.

        Args:
            result: of `segment`, `decode` or `refine`; it is not changed.
            points: (N, K, 2) x, y, or (N, K, 3) x, y, z of a volume: pixels clicked for each object; rows may be empty.
            point_labels: (N, K): 1 on the object, 0 on the background, -1 padding.

        Returns:
            A new result, with all clicks so far.

        Raises:
            InputError: wrong clicks (`medsam_edge.prompts.GivenPrompts.check`), or a model that does not take them.
        """
        volume = isinstance(result, VolumeSegmentation)
        asked = GivenPrompts(None, points, point_labels).check_clicks(len(result), *result.shape)
        self.predictor.check(asked)
        return (refine_volume if volume else refine_picture)(self.predictor, result, asked.clicks)  # type: ignore

    @overload
    def segment(
        self, image: ImageLike, boxes: Boxes2D, modality: str | Modality | None = None, **options: Unpack[Options]
    ) -> Segmentation: ...

    @overload
    def segment(
        self, image: ImageLike, boxes: Boxes3D, modality: str | Modality | None = None, **options: Unpack[Options]
    ) -> VolumeSegmentation: ...

    @overload
    def segment(
        self,
        image: ImageLike,
        boxes: BoxesLike | None = None,
        modality: str | Modality | None = None,
        **options: Unpack[Options],
    ) -> Segmentation | VolumeSegmentation: ...

    def segment(
        self,
        image: ImageLike,
        boxes: BoxesLike | None = None,
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
        points: Any = None,
        point_labels: Any = None,
        prior: Any = None,
        follow: bool = False,
        keep_logits: bool = True,
        reduced_jpeg: bool = False,
        box_format: BoxFormat = "xyxy",
        clean: Clean = "none",
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
                volume. No boxes, [], give an empty result, and nothing is encoded. None takes the boxes that a
                challenge npz carries, in pixels whatever `box_space` says.
            modality, window, overlap: as for `embed` and `decode`.
            box_space: `physical` for boxes in mm in the coordinates of a medical file, see
                `medsam_edge.inference.physical`: (N, 6), any two opposite corners; (N, 4) for a file of two
                dimensions. The box used is the smallest along the array's axes that holds it. A result's `boxes` are
                in pixels, and so is what an error says of a box outside the image.
            axis: of a volume's array, along which slices are taken: 0 or axial, 1 or coronal, 2 or sagittal; or `all`:
                along each of them, for boxes of whole objects. A voxel is an object's if two of the three masks have
                it. This mask prompts each slice along each axis once more, if the network takes mask prompts, and the
                three vote again. The result's slices and scores are axial, and it keeps no logits. This and the next
                three are for volumes only.
            streams: threads that encode the next slices while one is decoded; 0 for none. The same bits.
            stop_when_empty: whether an object ends, in that direction, at the first slice without a mask. If not, its
                box prompts the next slice.
            progress: called with (slices done, slices in all) after each slice; returning False cancels.
                Slices on which all objects have ended are passed over. A slice counts once for each of its tiles.
            compat: `rep-medsam` for the published scripts' rules, quirks included, to compare with their figures:
                boxes as they are (also beyond the image, swapped or without area) cut to whole network pixels, the next
                slice's box from shrunken label values, and z1 the last slice, as in the challenge's files (not for
                boxes that a file carries: those are read right).
            detail: where to look for a box that is small in its image or slice. `image`: in the whole, resized to the
                network's square. `auto`: in a tile around it, embedded as well, where it would be less than 12 pixels
                of the square; no tile is enlarged. `crop`: in a tile of which it fills about a fifth, enlarged where
                need be, which is better for boxes that are exact and worse for others, and most boxes cost an
                encoding (`medsam_edge.inference.tiles`). Never a tile with `compat`.
            points: (N, K, 2) x, y, or (N, K, 3) x, y, z of a volume: pixels clicked for each object; rows may differ in
                length. With `boxes` None they are all there is: boxes of the result are NaN, and in a volume the object
                is followed from the slice of its first click.
            point_labels: (N, K): 1 on the object, 0 on the background, -1 padding.
            prior: masks to start from: (N, H, W) or a label map (H, W) whose value i is object i; of a volume
                (N, D, H, W) or (D, H, W); or a former result. bool and whole numbers are masks, floats probabilities.
            follow: boxes lie on one slice of a volume, and the whole object is found: it ends after two empty slices.
            keep_logits: whether the result keeps what the decoder gave, which `refine` goes on from; else from masks.
            reduced_jpeg: whether a large JPEG file, given by its path, is decoded at a half, a quarter or an eighth of
                its sides, the smallest that leaves 512 pixels of the longer one. It is faster; masks have the file's
                size as ever, and differ a little. `display` is decoded when it is asked for. No effect on other
                images, where any box needs a tile (the file is then decoded twice), and where the network's square
                is more than half of what is left.
            box_format: of boxes given: `xyxy` corners; `xywh` the first corner, width and height, as in COCO; `cxcywh`
                the middle, width and height. With six numbers z and depth come third and sixth.
            clean: `largest`: of each mask the largest piece, of a volume in three dimensions, with its holes filled, in
                each slice; `box`: that, and nothing outside the box. Masks that would be empty, and objects that are
                clicked on, then or by `refine`, stay as they are. Not with `compat`.

        Returns:
            `Segmentation` for (N, 4), `VolumeSegmentation` for (N, 6); of a slice in colour always `Segmentation`.

        Raises:
            CancelledError: `progress` returned False.
            InputError: an unknown `axis`, `compat`, `detail`, `box_space` or `box_format`, `streams` that is no number
                of threads, physical boxes for an image that does not know where it lies, of other dimensions, or with
                `compat`, or `reduced_jpeg` with `compat`; `axis="all"` with `compat`, or where an object is followed
                from one slice.
            What `embed` and `decode` raise.
        """
        settings = Settings(
            box_space,
            overlap,
            axis,
            streams,
            stop_when_empty,
            progress,
            compat,
            detail,
            follow,
            keep_logits,
            reduced_jpeg,
            box_format,
            clean,
        )
        loaded = load_image(image, reduced_jpeg)
        modality = self._modality(modality, loaded)
        request, volume = in_pixels(loaded, GivenPrompts(boxes, points, point_labels, prior), settings)
        result: Segmentation | VolumeSegmentation
        if volume:
            result = segment_volume(self.predictor, loaded.in_full(), request, modality, window, settings)
        else:
            result = segment_picture(self.predictor, loaded, request, modality, window, settings)
        return replace(cleaned(result, clean), segmenter=self)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise InputError(
            "segmenter: holds compiled networks, which cannot be copied or sent to another process; make one in each "
            "process, as with a pool's initializer, or call medsam_edge.segment there"
        )

    def _modality(self, given: str | Modality | None, loaded: LoadedImage) -> Modality | None:
        """As given, else as the file says; ModalityError, before anything is encoded, if it is no class prompt."""
        modality = Modality.parse(given) or loaded.modality
        if modality and self.model.classes:
            self.model.one_hot(modality)
        return modality
