"""A process that is killed while it writes label maps."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsam_edge.writing.labels import write_labels

WRITTEN = ("labels.png", "labels.npz", "labels.nii.gz", "labels.mha")


def contents() -> list[npt.NDArray[np.uint16]]:
    return [np.random.default_rng(seed).integers(0, 900, (64, 64)).astype(np.uint16) for seed in range(2)]


def write_and_be_killed(folder: Path, times: int) -> None:
    """Fork children that write both contents in turns until they are killed."""
    rng = np.random.default_rng(4)
    for _ in range(times):
        child = os.fork()
        if not child:
            while True:
                for labels in contents():
                    for name in WRITTEN:
                        write_labels(folder / name, labels, None)
        time.sleep(rng.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
