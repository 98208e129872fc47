"""The calculation behind decision 17: three ways of making the same requests."""

from __future__ import annotations

import pytest

from benchmarks.joining import STEPS, Costs, Request, alone, busiest, gathered, joined, requests

# Four at once cost as much as two one after the other; joining is free.
HALF = Costs(steps=(1.0, 1.25, 1.5, 2.0), decoding=0.0, joining=(0.0,) * 4)


def test_who_comes_alone_is_made_alone_by_all_of_them() -> None:
    asked = [Request(0.0, 0), Request(1_000.0, 0)]
    for way in (alone, gathered, joined):
        assert way(asked, HALF) == [STEPS, STEPS]


def test_who_comes_in_the_middle_waits_for_the_batch_or_joins_it() -> None:
    asked = [Request(0.0, 0), Request(10.0, 0)]
    assert alone(asked, HALF) == [20.0, 30.0]
    assert gathered(asked, HALF) == [20.0, 30.0]
    # Ten steps alone, ten of both at 1.25, and the second's other ten alone.
    assert joined(asked, HALF) == [22.5, 22.5]


def test_nobody_joins_past_one_of_another_kind_that_waits_longer() -> None:
    asked = [Request(0.0, 0), Request(1.0, 1), Request(2.0, 0)]
    assert joined(asked, HALF) == [20.0, 39.0, 58.0]
    assert gathered(asked, HALF) == [20.0, 39.0, 58.0]
    # When a batch begins, those that agree with the first go with it.
    together = [Request(0.0, 1), *asked[:1], Request(0.5, 1), Request(0.6, 0)]
    assert sorted(gathered(together, HALF)) == sorted([20.0, 45.0, 44.4, 64.5])


def test_when_everybody_asks_at_once_batches_make_twice_as_many() -> None:
    assert busiest(HALF, gathered) == pytest.approx(2 * busiest(HALF, alone))
    assert busiest(HALF, joined) == pytest.approx(busiest(HALF, gathered))
    assert busiest(HALF, gathered) == pytest.approx(HALF.best)
    dear = Costs(steps=HALF.steps, decoding=0.0, joining=(0.5,) * 4)
    assert busiest(dear, joined) == pytest.approx(HALF.best * 2 / 2.5)


def test_all_requests_are_made_and_are_the_same_for_the_same_seed() -> None:
    asked = requests(0.05, 200, kinds=3, seed=7)
    assert asked == requests(0.05, 200, kinds=3, seed=7)
    for way in (alone, gathered, joined):
        took = way(asked, HALF)
        assert len(took) == 200
        assert min(took) >= STEPS
