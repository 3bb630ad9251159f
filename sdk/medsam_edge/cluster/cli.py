"""`medsam-edge cluster segment`."""

from __future__ import annotations

import json
import sys
from typing import Any

from medsam_edge.cli.folder import OUTCOMES
from medsam_edge.cli.output import show_error, table
from medsam_edge.cluster.run import new_parser, segment_rows
from medsam_edge.errors import InputError


def run(argv: list[str]) -> int:
    """Parse and segment; 0 when all images are done, 1 when some failed. Raises what is wrong with all of it."""
    if argv[:1] != ["segment"]:
        raise InputError(f"medsam-edge cluster: expected segment, got {' '.join(argv[:1]) or 'nothing'}")
    options = new_parser("medsam-edge cluster segment").parse_args(argv[1:])
    seen = 0

    def watch(report: dict[str, Any], total: int) -> None:
        nonlocal seen
        seen += 1
        if "error" in report:
            show_error(f"{report['image']}: {report['error']}")
        elif "skipped" not in report:
            print(f"{seen} of {total}: {report['image']}", file=sys.stderr, flush=True)
        if options.json:
            print(json.dumps(report), flush=True)

    summary = segment_rows(options, watch)
    counts = {name: getattr(summary, name) for name in OUTCOMES}
    if options.json:
        print(json.dumps(counts | {"seconds": round(summary.seconds, 3), "table": str(summary.table)}), flush=True)
    else:
        print(table([(*OUTCOMES, "seconds"), (*map(str, counts.values()), f"{summary.seconds:.1f}")]))
        print(summary.table)
    return 1 if summary.failed else 0
