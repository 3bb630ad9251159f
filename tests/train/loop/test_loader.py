from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest

from medsam_edge.errors import ImageError, InputError
from medsam_edge_train.data.cases import find_cases
from medsam_edge_train.loop.loader import step_loader, validation_cases
from medsam_edge_train.stages.fit import fit
from tests.train.loop.start import LOCK, Start
from tests.train.tiny import tiny_config

pytestmark = pytest.mark.usefixtures("tiny_zoo")


def test_each_process_needs_a_validation_image(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    config = tiny_config(data, tmp_path / "run", batch_size=8, images_per_epoch=8, val_per_modality=1)
    with pytest.raises(InputError, match="data: expected a validation image for each of 8 processes, got 2"):
        validation_cases(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for process in ("0", "1"):
        monkeypatch.setenv("RANK", process)
        shares += validation_cases(config)
    assert len({case.key for case in shares}) == len(shares) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_gives_an_error_of_one_line(data: Path, tmp_path: Path, workers: int) -> None:
    for split in ("train", "val"):
        shutil.copytree(data / split, tmp_path / split)
    for image in tmp_path.glob("train/*/*/images/*.png"):
        image.write_bytes(b"no png")
    with pytest.raises(ImageError) as caught:
        fit(tiny_config(tmp_path, tmp_path / "run", workers=workers))
    assert re.fullmatch(r"data: cannot read \S+\.png", str(caught.value))


def test_workers_start_with_no_lock_held_and_leave_interrupts_to_the_main_process(data: Path, tmp_path: Path) -> None:
    """A forked one would have the lock as it is here, and no thread that frees it."""
    config = tiny_config(data, tmp_path / "run", batch_size=1, images_per_epoch=1, workers=1)
    with LOCK:
        loader = step_loader(config, Start(), find_cases(data / "train"), list)
        assert list(loader) == [[(True, False)]]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
