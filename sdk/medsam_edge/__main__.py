"""Run the command as `python -m medsam_edge`."""

import sys

from medsam_edge.cli.main import main

sys.exit(main())
