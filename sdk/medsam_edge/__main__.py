import sys

from medsam_edge.cli.main import main

sys.exit(main())
