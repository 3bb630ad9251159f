"""`python -m medsam_edge_train STAGE`: what `medsam-edge train STAGE` does, where nothing can be installed."""

import sys

from medsam_edge.cli import guarded
from medsam_edge_train.cli import run

sys.exit(guarded(run, sys.argv[1:]))
