"""`python -m medsam_edge_train STAGE` is `medsam-edge train STAGE` without an installed command."""

import sys

from medsam_edge.cli.main import guarded
from medsam_edge_train.cli.main import run

sys.exit(guarded(run, sys.argv[1:]))
