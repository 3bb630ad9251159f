from __future__ import annotations

from collections import Counter

import pytest

from medsam_edge.modality import Modality
from medsam_edge_train.data.sampling import BalancedSampler, Steps, case_shares
from tests.train.data.images import UNEVEN_CASES, named_case


@pytest.mark.parametrize(
    ("exponent", "shares"),
    [
        (0.0, (1 / 4, 1 / 2, 1 / 4)),
        (1.0, (0.9, 0.09, 0.01)),
        (0.5, (9.5394 / 12.5394 * 9.4868 / 10.4868, 3 / 12.5394, 9.5394 / 12.5394 / 10.4868)),
    ],
)
def test_shares_of_modalities_and_of_the_data_sets_in_each(exponent: float, shares: tuple[float, ...]) -> None:
    """CT has 91 cases, of which one set has one; US has 9."""
    draws = list(BalancedSampler(UNEVEN_CASES, 6000, exponent, 0))
    counts = Counter((UNEVEN_CASES[index].modality, UNEVEN_CASES[index].dataset) for _, _, index in draws)
    for dataset, share in zip(
        dict.fromkeys((case.modality, case.dataset) for case in UNEVEN_CASES), shares, strict=True
    ):
        assert counts[dataset] / 6000 == pytest.approx(share, abs=0.02)
    first = Counter(index for _, _, index in draws if index < 90)
    assert len(first) == 90  # within a data set, every case is drawn
    assert max(first.values()) < 3 * sum(first.values()) / 90


def test_many_data_sets_do_not_raise_the_share_of_their_modality() -> None:
    patients = [named_case(Modality.MR, index)._replace(dataset=f"p{index // 5}") for index in range(300)]
    cases = [*patients, *(named_case(Modality.US, index) for index in range(300))]
    assert case_shares(cases, 0.2)[300:].sum() == pytest.approx(0.5)


def test_shares_of_data_sets_whatever_their_modality() -> None:
    cases = [*UNEVEN_CASES, named_case(Modality.CT, 1)._replace(dataset="third")]  # CT has three data sets, US one
    shares = case_shares(cases, 0.0, "dataset")
    assert [shares[:90].sum(), shares[90:99].sum(), shares[99], shares[100]] == pytest.approx([0.25] * 4)
    sampler = BalancedSampler(cases, 400, 0.0, 0, by="dataset")
    assert Counter(index >= 99 for _, _, index in sampler)[True] == pytest.approx(200, abs=40)


def test_draws_carry_epoch_and_position() -> None:
    sampler = BalancedSampler(UNEVEN_CASES, 50, 0.5, 0)
    assert len(sampler) == len(list(sampler)) == 50
    assert [draw[:2] for draw in sampler] == [(0, position) for position in range(50)]
    sampler.set_epoch(4)
    assert {draw[0] for draw in sampler} == {4}
    assert all(type(value) is int for draw in sampler for value in draw)


def test_an_epoch_repeats_and_epochs_differ() -> None:
    def cases_of(seed: int, epoch: int) -> list[int]:
        sampler = BalancedSampler(UNEVEN_CASES, 50, 0.5, seed)
        sampler.set_epoch(epoch)
        first = [index for _, _, index in sampler]
        assert first == [index for _, _, index in sampler]
        return first

    assert cases_of(0, 3) == cases_of(0, 3)
    assert cases_of(0, 3) != cases_of(0, 4)
    assert cases_of(0, 3) != cases_of(1, 3)


def test_length_zero_draws_every_case_once() -> None:
    sampler = BalancedSampler(UNEVEN_CASES, 0, 0.5, 0)
    assert len(sampler) == len(UNEVEN_CASES)
    first = [index for _, _, index in sampler]
    sampler.set_epoch(1)
    second = [index for _, _, index in sampler]
    assert sorted(first) == sorted(second) == list(range(len(UNEVEN_CASES)))
    assert first != second


def test_steps_split_each_batch_among_the_processes() -> None:
    sampler = BalancedSampler(UNEVEN_CASES, 11, 0.5, 0)
    alone = list(Steps(sampler, 4))
    assert [[position for _, position, _ in step] for step in alone] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]  # full batches only
    left, right = (list(Steps(sampler, 4, rank, 2)) for rank in (0, 1))
    assert [a + b for a, b in zip(left, right, strict=True)] == alone
    assert list(Steps(sampler, 4, start=1)) == alone[1:]
