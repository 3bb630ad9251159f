"""A widget on which a person draws boxes; the boxes go into `segment`.

anywidget carries it to the notebook; `widget.js` is what runs there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import numpy.typing as npt
import traitlets

from medsam_edge.boxes import is_volume
from medsam_edge.image import Frame
from medsam_edge.inference.picture import picture_display
from medsam_edge.inference.volume import volume_display
from medsam_edge.intensity import Window
from medsam_edge.modality import Modality
from medsam_edge.reading.read import load_image
from medsam_edge.settings import Axis, Settings
from medsam_edge.writing.picture import as_png

HERE = Path(__file__).parent


class BoxDrawing(anywidget.AnyWidget):
    """What `draw` gives: show it, draw, then read `boxes`.

    Attributes:
        image: as given to `draw`, for `segment(drawing.image, drawing.boxes)`.
    """

    _esm = HERE / "widget.js"
    _css = HERE / "widget.css"

    rows = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)  # as `boxes` has them
    slice = traitlets.Int().tag(sync=True)  # the one that is shown; 0 of a picture
    slices = traitlets.Int().tag(sync=True)  # how many there are
    picture = traitlets.Bytes().tag(sync=True)  # PNG of the slice
    aspect = traitlets.Float().tag(sync=True)  # height of a pixel over its width
    sides = traitlets.List(traitlets.Int()).tag(sync=True)  # of a volume: which of x, y, z columns, rows and slices are

    def __init__(self, image: Any, planes: npt.NDArray[np.uint8], aspect: float, sides: tuple[int, ...]) -> None:
        self.image, self._planes = image, planes
        middle = len(planes) // 2
        super().__init__(
            rows=[], slice=middle, slices=len(planes), picture=as_png(planes[middle]), aspect=aspect, sides=list(sides)
        )
        self.observe(self._show, names="slice")

    @property
    def boxes(self) -> npt.NDArray[np.float32]:
        """(N, 4) float32 x0, y0, x1, y1, or (N, 6) x0, y0, z0, x1, y1, z1, in pixels, far edges exclusive.

        A box in a volume is on the slice on which it was drawn: `segment(…, follow=True)` finds the whole object.
        No box drawn gives N = 0.
        """
        return np.array(self.rows, dtype=np.float32).reshape(-1, 6 if self.sides else 4)

    def _show(self, change: Any) -> None:
        self.picture = as_png(self._planes[min(max(change["new"], 0), len(self._planes) - 1)])


def draw(
    image: Any, *, modality: Modality | str | None = None, window: Window | None = None, axis: Axis = 0
) -> BoxDrawing:
    """Show an image in a notebook and take boxes from it.

    Args:
        image: as `segment` takes it. An array whose last side is 3 is a colour picture.
        modality: as `segment` takes it; it decides how values become grey.
        window: CT window or (level, width), for the eyes.
        axis: of a volume, along which the slices lie: as `segment` takes it.

    Raises:
        MedsamEdgeError: what `segment` raises for the image, the modality, the window or the axis.
    """
    array_axis = Settings(axis=axis).array_axis
    loaded = load_image(image)
    known = Modality.parse(modality) or loaded.modality
    if not is_volume(loaded, []):
        return BoxDrawing(image, picture_display(loaded, known, window)[None], _aspect(loaded.frame, 0, 1), ())
    through = 2 - array_axis
    columns, rows = (side for side in range(3) if side != through)
    planes = np.moveaxis(volume_display(loaded.pixels, known, window), array_axis, 0)
    return BoxDrawing(image, planes, _aspect(loaded.frame, columns, rows), (columns, rows, through))


def _aspect(frame: Frame | None, columns: int, rows: int) -> float:
    """1 where the file says nothing."""
    if frame is None or len(frame.spacing_mm) <= max(columns, rows):
        return 1.0
    return frame.spacing_mm[rows] / frame.spacing_mm[columns]
