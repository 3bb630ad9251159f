"""`python -m medsam_edge_train STAGE`: what `medsam-edge train STAGE` does, where nothing can be installed."""

import sys

from medsam_edge.cli.main import guarded
from medsam_edge_train.cli.main import run

sys.exit(guarded(run, sys.argv[1:]))
