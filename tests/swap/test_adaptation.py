"""Moving along a ladder of bounds: only when asked, one logged step at a time, never past its end, never to and fro."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from swap_caches import BOUND, cache, engine

from kvbench.errors import UsageError
from kvbench.swap.adaptation import Adaptation, Ladder


def test_up_under_pressure_and_down_when_there_is_room():
    adaptation = Adaptation(Ladder(patience=2, calm_patience=3))
    assert [adaptation.observe(0.99, 0) for _ in range(8)] == [False, True, False, True, False, False, False, False]
    assert adaptation.step == 2
    assert [adaptation.observe(0.1, 0) for _ in range(4)] == [False, False, True, False]
    assert [step.factor for step in adaptation.log] == [2.0, 4.0, 2.0]
    assert [step.why for step in adaptation.log] == ["pages run short"] * 2 + ["there is room again"]


def test_between_the_marks_nothing_moves():
    adaptation = Adaptation(Ladder(patience=1, calm_patience=1))
    adaptation.observe(1.0, 0)
    for pressure in [0.8, 0.9, 0.72, 0.94] * 20:
        assert not adaptation.observe(pressure, 0)


def test_a_link_that_is_behind_counts_too(caplog):
    caplog.set_level(logging.INFO, "kvbench.swap")
    adaptation = Adaptation(Ladder(patience=1, backlog_s=0.1))
    assert adaptation.observe(0.1, 0.2)
    assert adaptation.log[0].why == "the link is behind"
    assert "bounds x 2 (step 1): the link is behind, pressure 2.00" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": (2.0, 4.0)}, "start at 1"),
        ({"steps": (1.0, 1.0)}, "and grow"),
        ({"steps": ()}, "start at 1"),
        ({"low": 0.9, "high": 0.8}, "low must be below high"),
        ({"patience": 0}, "must be above 0"),
    ],
)
def test_ladders_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        Ladder(**options)


def test_an_engine_loosens_its_bounds_and_still_reads_the_older_slots():
    values = cache(blocks=64)
    before = values.clone()
    ladder = Ladder((1.0, 8.0), high=0.5, low=0.1, patience=1, calm_patience=1)
    with engine(values, path="fused", limit_slots=12, slots=64, ladder=ladder) as swap:
        for slot in range(8):
            swap.wait([swap.store([slot], [slot])])
            swap.poll()
        assert [step.factor for step in swap.steps] == [8.0]
        plans = [swap.slot(slot).plan for slot in range(8)]
        assert {1, 2} == set(plans)
        assert swap.bounds(2)[0] == pytest.approx(8 * BOUND)
        swap.wait([swap.load(np.arange(8), np.arange(40, 48))])
        error = (values[:, :, 40:48] - before[:, :, :8]).abs().amax(dim=(0, 1, 3, 4, 5))
        for slot, plan in enumerate(plans):
            assert error[slot] <= swap.bounds(plan)[0]
        assert error[plans.index(2)] > BOUND
        assert swap.metrics.value("bound_step") == 1
        swap.free(np.arange(8))
        swap.wait([swap.store([0], [0])])
        swap.poll()
        assert swap.steps[-1].why == "there is room again"


def test_it_is_off_by_default():
    with engine(cache(), path="fused", limit_slots=2) as swap:
        for slot in range(8):
            swap.wait([swap.store([slot], [slot])])
            swap.poll()
        assert swap.steps == []
        with pytest.raises(IndexError):
            swap.bounds(2)
