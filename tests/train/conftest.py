from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medsam_edge_train.models import ZOO
from tests.train.tiny import tiny, tiny_no_norm, tiny_rep, write_data


@pytest.fixture(scope="module")
def tiny_zoo() -> Iterator[None]:
    """The networks of `tiny.py` have names while a module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ZOO, "tiny", tiny)
        patch.setitem(ZOO, "tiny_no_norm", tiny_no_norm)
        patch.setitem(ZOO, "tiny_rep", tiny_rep)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))
