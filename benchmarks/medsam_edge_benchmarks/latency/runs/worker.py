"""A process that runs one variant on one case, once: what a first mask costs, and the memory it takes.

Reads a request (`fresh.Request` as JSON) from standard input and prints what it measured. It imports nothing before the
clock runs, and only what its own variant needs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

CLOCK_STARTED = time.perf_counter()


def main() -> None:
    request = json.load(sys.stdin)
    import numpy as np

    from medsam_edge.modality import Modality
    from medsam_edge_benchmarks.latency.cases.cases import DrawnCase

    if request["checkpoint"] is None:
        import openvino  # noqa: F401  what loading would import otherwise

        from medsam_edge_benchmarks.latency.variants import Ours

        imported = time.perf_counter()
        bundle, cache = (Path(request[key]) if request[key] else None for key in ("bundle", "cache_dir"))
        segment = Ours(bundle, request["threads"], cache).run
    else:
        from medsam_edge_benchmarks.latency.published.baselines import load_baseline

        imported = time.perf_counter()
        settings = (request[key] for key in ("fuse", "threads", "baseline_slices", "baseline_boxes"))
        segment = load_baseline(Path(request["checkpoint"]), *settings).run
    loaded = time.perf_counter()
    boxes = np.asarray(request["boxes"], dtype=np.float32)
    run = segment(DrawnCase(Modality(request["modality"]), Path(request["file"]), boxes), Path(request["output"]))
    seconds = {"import": imported - CLOCK_STARTED, "load": loaded - imported, "first mask": run.total}
    print(json.dumps({"seconds": seconds, "scaled_from": run.scaled_from, "peak_mb": peak_mb()}))


def peak_mb() -> float | None:
    """The largest resident memory of this process so far; None where the system does not say (only Linux does).

    Not `getrusage`: a child inherits the peak of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


if __name__ == "__main__":
    main()
