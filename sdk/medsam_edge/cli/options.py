"""The options of `medsam-edge segment`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from medsam_edge.intensity import WINDOWS
from medsam_edge.modality import Modality
from medsam_edge.settings import AXES, BoxSpace, Compat, Detail, Overlap

EPILOG = """\
examples:
  medsam-edge segment image.png --box 30,40,120,160 --modality US -o mask.png --overlay overlay.png
  medsam-edge segment ct.nii.gz --box 30,40,12,120,160,31 --modality CT --window lung -o mask.nii.gz
  medsam-edge segment images --boxes boxes -o masks --overlay overlays   # boxes/NAME.json for images/NAME.png
  medsam-edge segment challenge -o segs --compat rep-medsam              # npz with their own boxes

Boxes are in pixels: pixel j covers j to j+1, far edges are exclusive. A folder that holds a DICOM series and no other
file is one image. In a folder, images with an existing label map are skipped. Exit codes: 0 done, 1 the work failed,
even for a single image of a folder, 2 wrong usage, bad input, or an output that cannot be written.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `segment` to its parser."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "image",
        type=Path,
        help="png jpg tif bmp dcm, nii nrrd mha (also volumes), challenge npz, a DICOM series, or a folder of these",
    )
    add = parser.add_argument_group("prompts").add_argument
    add(
        "--box",
        action="append",
        default=[],
        metavar="x0,y0,x1,y1",
        help="pixels; x0,y0,z0,x1,y1,z1 in a volume; repeat",
    )
    add(
        "--boxes",
        type=Path,
        metavar="FILE",
        help=".json ([[x0,y0,x1,y1], …]) or .csv (x0,y0,x1,y1); for a folder, the folder of NAME.json or NAME.csv; "
        "default: the boxes of a challenge npz",
    )
    add("--box-space", choices=get_args(BoxSpace), help="unit of --box and --boxes, not of npz boxes; default: pixel")
    names = ", ".join(modality.value for modality in Modality)
    add("--modality", metavar="NAME", help=f"{names}; default: from the file or its challenge name, else recognised")
    add("--window", metavar="LEVEL,WIDTH", help=f"CT window in HU, or {', '.join(WINDOWS)}; default 40,400")

    add = parser.add_argument_group("output").add_argument
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="label map: png tif npz nii nrrd mha, dcm (DICOM SEG of DICOM images); a folder for a folder",
    )
    add(
        "--overlay",
        type=Path,
        metavar="PATH",
        help="also draw the masks, for a volume on its middle slices: a png; a folder for a folder",
    )
    add("--format", metavar="SUFFIX", help="format of a folder's label maps; default: the image's, png for pictures")
    add("--overwrite", action="store_true", help="also segment a folder's images whose label maps exist")
    add("--overlap", choices=get_args(Overlap), default="later", help="owner of a shared pixel; default: later")
    add(
        "--detail",
        choices=get_args(Detail),
        default="auto",
        help="where a small box is segmented: image: in the whole image; auto: in a tile around it if the whole image "
        "shows too little of it; crop: enlarged in a tile around it, slower, better for exact boxes; default: auto",
    )
    add(
        "--reduced-jpeg",
        action="store_true",
        help="decode a large jpg at a fraction of its size, which is faster, unless a box needs a tile; for one image",
    )
    add("--json", action="store_true", help="print JSON; for a folder one line per image, then the totals")

    add = parser.add_argument_group("volumes").add_argument
    add("--axis", choices=AXES, default="axial", help="axis of a volume's slices; default: axial")
    add("--streams", type=int, default=1, metavar="N", help="threads that encode slices ahead; default: 1")
    add("--stop-when-empty", action="store_true", help="end an object at its first slice without a mask")
    add(
        "--compat",
        choices=get_args(Compat),
        help="exactly the published scripts' rules; z1 of a box is then its last slice, as in challenge files",
    )
