"""Tests of the gate: its conditions, what it counts, and what of A it misses in B."""

from __future__ import annotations

import pytest
from fake_comparison import results, run

from kvbench.errors import UsageError
from kvbench.report.comparison.compare import compare
from kvbench.report.comparison.gate import (
    Condition,
    lost_in_b,
    offending,
    parse_conditions,
    parse_margin,
    require_repeats,
)
from kvbench.report.comparison.sides import Run, Side


@pytest.fixture
def made(tmp_path):
    def make(name: str, results_of_it, host=None) -> Run:
        return run(tmp_path / name, results_of_it, host)

    return make


def changed(one, **fields):
    return one.model_copy(update=fields)


def test_conditions():
    assert parse_conditions(["slower:10%,changed", "missing"]) == [
        Condition("slower", 0.1),
        Condition("changed"),
        Condition("missing"),
    ]
    assert parse_margin("--margin", "2.5 %") == 0.025
    for bad in ("slow", "slower:", "slower:x", "changed:5%", ""):
        with pytest.raises(UsageError, match="--fail-on"):
            parse_conditions([bad])
    for bad in ("0", "-5%", "nan", "inf", "5e9"):
        with pytest.raises(UsageError, match="above 0"):
            parse_margin("--margin", bad)


def test_a_condition_judges_by_its_own_margin(made):
    a = [made(f"a{number}", results(number)) for number in range(3)]
    b = [made(f"b{number}", results(10 + number, {"encode_call": 1.2})) for number in range(3)]
    rows = compare(Side("A", a), Side("B", b)).rows
    assert offending(rows, parse_conditions(["slower", "slower:10%", "slower:25%", "faster", "missing"])) == [
        (Condition("slower"), 4),
        (Condition("slower", 0.1), 4),
    ]


SLOWER = parse_conditions(["slower"])


def three(made, name, seed, change=None):
    """Three runs; `change` is done to the results of the second."""
    all_results = [results(seed + number) for number in range(3)]
    if change is not None:
        change(all_results[1])
    return [made(f"{name}{number}", one) for number, one in enumerate(all_results)]


def fails(of_run):
    of_run[0] = changed(of_run[0], status="failed", reason_code="bound_broken")


def loses_a_phase(of_run):
    del of_run[0].phases["decode_call"]


def times_nothing(of_run):
    of_run[0].phases["decode_call"].median_s = None


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (fails, "1 cases were ok in A and failed, are invalid or are missing in B"),
        (list.pop, "1 cases were ok in A and failed, are invalid or are missing in B"),
        (loses_a_phase, "1 phases were timed in A and not in B"),
        (times_nothing, "1 phases were timed in A and not in B"),
    ],
)
def test_a_gate_on_times_does_not_pass_for_want_of_a_time(made, change, phrase):
    whole, broken = three(made, "a", 1), three(made, "b", 11, change)
    assert lost_in_b(compare(Side("A", whole), Side("B", broken)), SLOWER) == [phrase]
    assert lost_in_b(compare(Side("A", whole), Side("B", broken)), parse_conditions(["changed"])) == []
    assert lost_in_b(compare(Side("A", broken), Side("B", whole)), SLOWER) == []


def test_a_gate_on_times_wants_runs_that_ended(made):
    a, b = three(made, "a", 1), three(made, "b", 11)
    b[0].manifest.status = "interrupted"
    found = compare(Side("A", a), Side("B", b))
    assert lost_in_b(found, SLOWER) == ["1 runs of B did not finish"]
    a[0].manifest.status, b[0].manifest.status = "failed", "finished"
    assert lost_in_b(compare(Side("A", a), Side("B", b)), SLOWER) == []


def test_a_condition_that_no_row_could_meet_is_refused(made):
    a, b = Side("A", [made("a", results(1))]), Side("B", [made("b", results(2))])
    with pytest.raises(UsageError, match="--fail-on slower:10%: one run a side cannot tell"):
        require_repeats(parse_conditions(["unclear", "slower:10%"]), a, b)
    require_repeats(parse_conditions(["unclear", "changed"]), a, b)
