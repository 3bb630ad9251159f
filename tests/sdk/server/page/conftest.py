from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.sdk.server.page.hand import Hand
from tests.sdk.server.running import TOKEN


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Hand]]:
    """Open the page in a session of its own; at the end nothing may have failed in it."""
    contexts, hands = [], []

    def visited(url: str, token: str = TOKEN, **options: Any) -> Hand:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 720}, **options})
        contexts.append(context)
        hand = Hand(context.new_page())
        hands.append(hand)
        hand.page.goto(f"{url}/#token={token}" if token else url)
        return hand

    yield visited
    complaints = [complaint for hand in hands for complaint in hand.complaints]
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def hand(visit: Callable[..., Hand], url: str, listening: None) -> Hand:
    return visit(url)
