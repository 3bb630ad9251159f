from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; of a module, because its event loop keeps others out of the thread."""
    from playwright.sync_api import expect

    from tests.sdk.server.page.hand import PATIENCE, browsing, chromium

    if chromium() is None:
        pytest.skip("there is no Chromium")
    expect.set_options(timeout=1000 * PATIENCE)
    with browsing() as found:
        yield found
