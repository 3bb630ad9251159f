"""The networks; `zoo.py` names them."""

from medsam_edge_train.models.layers import fuse
from medsam_edge_train.models.medsam import MedSAM
from medsam_edge_train.models.zoo import TEACHER, ZOO, build, lite_medsam, rep_medsam, rep_medsam_s

__all__ = ["TEACHER", "ZOO", "MedSAM", "build", "fuse", "lite_medsam", "rep_medsam", "rep_medsam_s"]
