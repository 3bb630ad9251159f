"""A process that runs one variant on one case, once: what a first mask costs, and the memory it takes.

Reads a request (`fresh.Request` as JSON) from standard input and prints what it measured. It imports nothing before the
clock runs, and only what its own variant needs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medsam_edge_benchmarks.latency.variants import Variant

CLOCK_STARTED = time.perf_counter()


def main() -> None:
    request: dict[str, Any] = json.load(sys.stdin)
    begun = CLOCK_STARTED
    build = _ours if request["checkpoint"] is None else _published
    import numpy as np

    from medsam_edge.modality import Modality
    from medsam_edge_benchmarks.latency.cases.drawn import DrawnCase

    variant, imported = build(request)
    loaded = time.perf_counter()
    boxes = np.asarray(request["boxes"], dtype=np.float32)
    run = variant.run(DrawnCase(Modality(request["modality"]), Path(request["file"]), boxes), Path(request["output"]))
    seconds = {"import": imported - begun, "load": loaded - imported, "first mask": run.total}
    print(json.dumps({"seconds": seconds, "scaled_from": run.scaled_from, "peak_mb": peak_mb()}))


def _ours(request: dict[str, Any]) -> tuple[Variant, float]:
    """The runtime, loaded, and when its imports were done."""
    import openvino  # noqa: F401  what loading would import otherwise

    from medsam_edge_benchmarks.latency.runs.ours import Ours

    imported = time.perf_counter()
    bundle, cache = (Path(request[key]) if request[key] else None for key in ("bundle", "cache_dir"))
    return Ours(bundle, request["threads"], cache), imported


def _published(request: dict[str, Any]) -> tuple[Variant, float]:
    """A network of a checkpoint, fused where its name says so, and when its imports were done."""
    from medsam_edge_benchmarks.latency.published.baselines import Baseline, fused
    from medsam_edge_train import checkpoint

    imported = time.perf_counter()
    network, _ = checkpoint.load(Path(request["checkpoint"]))
    if request["fuse"]:
        network = fused(network)
    return Baseline(network, request["threads"], request["baseline_slices"], request["baseline_boxes"]), imported


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
