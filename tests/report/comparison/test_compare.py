"""Tests of a comparison as a whole: runs of the same code, a real slow-down, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from fake_comparison import cases, results, run

from kvbench.errors import UsageError
from kvbench.report.comparison.compare import compare
from kvbench.report.comparison.sides import Side


def sides(tmp_path, a, b):
    """Sides of several runs each, given as lists of results."""
    runs = {
        name: [run(tmp_path / f"{name}{number}", made) for number, made in enumerate(all_made)]
        for name, all_made in (("A", a), ("B", b))
    }
    return Side("A", runs["A"]), Side("B", runs["B"])


def verdicts(found, **wanted):
    rows = [row for row in found.rows if row.metric == "time"]
    for name, value in wanted.items():
        rows = [row for row in rows if (row.phase if name == "phase" else row.matched.case.codec) == value]
    return Counter(row.verdict for row in rows)


def test_a_slowdown_of_20_percent_is_found_where_it_is(tmp_path):
    found = compare(*sides(tmp_path, [results(1)], [results(2, slower={"encode_call": 1.2})]))
    assert verdicts(found, codec="cuszp", phase="encode_call") == {"slower": 4}
    assert not verdicts(found, codec="cuszp", phase="decode_call").keys() & {"slower", "faster"}
    assert not verdicts(found, codec="raw").keys() & {"slower", "faster"}
    [row, *_] = [row for row in found.rows if row.phase == "encode_call"]
    low, high = row.contrast.interval()
    assert low < 1.2 < high


def test_a_speedup_is_found(tmp_path):
    found = compare(*sides(tmp_path, [results(1)], [results(2, slower={"decode_call": 0.7})]))
    assert verdicts(found, codec="cuszp", phase="decode_call") == {"faster": 4}


def test_quiet_runs_of_the_same_code_are_the_same(tmp_path):
    found = compare(*sides(tmp_path, [results(1)], [results(2)]))
    assert verdicts(found) == {"same": 16}
    assert len(found.rows) == 16


def test_a_machine_that_changes_between_runs_is_not_taken_for_the_code(tmp_path):
    """All of run B is 30 % slower, with samples as tight as ever: the control rows tell."""
    found = compare(*sides(tmp_path, [results(1)], [results(2, run_shift=0.26)]))
    assert verdicts(found) == {"unclear": 16}


def test_a_disturbance_of_some_moments_is_not_taken_for_the_code(tmp_path):
    """Half of the rows of cuszp ran beside a busy neighbour, the control rows did not."""
    disturbed = results(2)
    for one in disturbed[:2]:
        for timed in one.phases.values():
            timed.samples_s = [1.6 * sample for sample in timed.samples_s]
            timed.median_s = 1.6 * (timed.median_s or 0)
    found = compare(*sides(tmp_path, [results(1)], [disturbed]))
    assert verdicts(found) == {"unclear": 16}


def test_without_controls_one_run_a_side_says_nothing_of_the_next(tmp_path):
    alone = cases(raw=False)
    found = compare(*sides(tmp_path, [results(1, of=alone)], [results(2, {"encode_call": 2.0}, of=alone)]))
    assert verdicts(found) == {"unclear": 8}
    assert all("not known" in str(row.reason) for row in found.rows)
    assert found.spreads == {"cpu": None}


def test_repeated_runs_stand_in_for_controls(tmp_path):
    alone = cases(raw=False)
    a = [results(seed, of=alone, run_shift=shift) for seed, shift in ((1, 0.0), (2, 0.01), (3, -0.01))]
    slow = [results(seed, {"encode_call": 1.2}, of=alone, run_shift=shift) for seed, shift in ((4, 0.0), (5, 0.01))]
    found = compare(*sides(tmp_path, a, [*slow, results(6, {"encode_call": 1.2}, of=alone)]))
    assert verdicts(found, phase="encode_call") == {"slower": 4}
    assert verdicts(found, phase="decode_call") == {"same": 4}


@pytest.mark.parametrize("runs", [1, 3])
def test_few_pairs_of_the_same_code_show_a_difference(tmp_path, runs):
    """A machine whose runs differ by 8 % as a whole and by 4 % a row, with samples that hang together."""
    wrong = 0
    for pair in range(20):
        shifts = 0.08 * np.random.default_rng(pair).standard_normal(2 * runs)
        made = [
            results(100 * pair + number, run_shift=float(shift), row_shift=0.04, hanging=0.9)
            for number, shift in enumerate(shifts)
        ]
        found = compare(*sides(tmp_path / str(pair), made[:runs], made[runs:]))
        wrong += bool(verdicts(found).keys() - {"same", "unclear"})
    assert wrong <= 3


def test_unlike_hardware_is_refused_unless_told(tmp_path):
    a = Side("A", [run(tmp_path / "a", results(1))])
    b = Side("B", [run(tmp_path / "b", results(2), {"cpu": "Another CPU"})])
    with pytest.raises(UsageError, match="unlike: cpu: Made-up CPU 9000 in A, Another CPU in B; --allow-unlike"):
        compare(a, b)
    found = compare(a, b, allow_unlike=True)
    assert found.notes[0].startswith("unlike: cpu")
    assert len(found.rows) == 16


def test_nothing_in_common_is_one_line(tmp_path):
    a, b = sides(tmp_path, [results(1, of=cases(layers=(0,)))], [results(2, of=cases(layers=(5,)))])
    with pytest.raises(UsageError, match="no case of A is a case of B; the first of A is cuszp plain"):
        compare(a, b)
