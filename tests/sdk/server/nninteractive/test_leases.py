from __future__ import annotations

import pytest

from medsam_edge.segmenter import Segmenter
from medsam_edge.server.errors import Busy, LeaseLost
from tests.sdk.fake import fake_model

pytest.importorskip("nnInteractive.inference.remote", reason="needs the extra nninteractive")

from medsam_edge.server.nninteractive.leases import LeaseRules, Leases
from medsam_edge.server.nninteractive.session import ViewerSession


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases(clock: Clock) -> Leases:
    segmenter = Segmenter(fake_model())
    return Leases(lambda: ViewerSession(segmenter), LeaseRules(1, idle_seconds=100, silent_seconds=10), clock)


def test_a_silent_client_loses_its_session(leases: Leases, clock: Clock) -> None:
    lease = leases.claim()
    with pytest.raises(Busy):
        leases.claim()
    clock.now = 9
    assert leases.find(lease.key, acts=False) is lease
    clock.now = 20
    with pytest.raises(LeaseLost):
        leases.find(lease.key)
    leases.claim()


def test_heartbeats_do_not_stand_for_work(leases: Leases, clock: Clock) -> None:
    lease = leases.claim()
    for clock.now in range(0, 101, 5):
        leases.find(lease.key, acts=False)
    assert leases.remaining(lease) == 0
    clock.now = 101
    with pytest.raises(LeaseLost):
        leases.find(lease.key, acts=False)


def test_looking_does_not_prolong(leases: Leases, clock: Clock) -> None:
    lease = leases.claim()
    clock.now = 8
    leases.find(lease.key, acts=False, seen=False)
    clock.now = 11
    with pytest.raises(LeaseLost):
        leases.find(lease.key)
