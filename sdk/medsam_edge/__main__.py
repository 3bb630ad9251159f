import sys

from medsam_edge.cli import main

sys.exit(main())
