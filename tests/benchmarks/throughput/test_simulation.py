"""The simulation, where it can be worked out by hand, and the closed form beside it."""

from __future__ import annotations

import pytest

from medsam_edge_benchmarks.throughput.simulation import Site, simulate

SURE = Site(nodes=1, workers=1, image_s=2.0, image_bytes=100, store_bytes_s=100, spread=0.0)


def test_one_worker_reads_and_computes_in_turns() -> None:
    outcome = simulate(SURE, 10)
    assert outcome.seconds == pytest.approx(30.0)
    assert (outcome.redone, outcome.losses) == (0, 0)
    assert outcome.store_busy == pytest.approx(1 / 3)
    assert SURE.rate == pytest.approx(1 / 3)
    assert SURE.limit == "processors"


def test_the_store_serves_one_after_the_other() -> None:
    """Four workers want the store every three seconds; it serves an image a second."""
    many = Site(nodes=2, workers=2, image_s=2.0, image_bytes=100, store_bytes_s=100, spread=0.0)
    outcome = simulate(many, 40)
    assert outcome.seconds == pytest.approx(40 + 2.0)  # the last image is computed after the last reading
    assert many.rate == pytest.approx(1.0)
    assert many.limit == "store"


def test_no_images_take_no_time() -> None:
    assert simulate(SURE, 0).seconds == 0.0


@pytest.mark.parametrize(
    "site",
    [
        Site(nodes=4, workers=8, image_s=0.1, image_bytes=1e5, store_bytes_s=1e9),
        Site(nodes=64, workers=16, image_s=0.1, image_bytes=1e6, store_bytes_s=1e9),
        Site(nodes=8, workers=4, image_s=1.0, image_bytes=1e5, store_bytes_s=1e9, lost_per_h=20.0, away_s=60.0),
    ],
)
def test_the_closed_form_is_near_the_simulation(site: Site) -> None:
    images = 20_000
    assert simulate(site, images).seconds == pytest.approx(images / site.rate, rel=0.05)


def test_lost_machines_cost_what_they_had_begun_and_no_image() -> None:
    site = Site(nodes=4, workers=3, image_s=10.0, image_bytes=1, store_bytes_s=1e9, lost_per_h=30.0, away_s=60.0)
    outcome = simulate(site, 2000)
    assert outcome.losses > 10
    assert 0 < outcome.redone <= 3 * outcome.losses
    assert outcome.seconds > simulate(Site(4, 3, 10.0, 1, 1e9), 2000).seconds
    assert outcome == simulate(site, 2000)
    assert outcome != simulate(site, 2000, seed=1)
