"""Tests of a comparison as a whole: runs of the same code, a real slow-down, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from fake_comparison import cases, results, run
from fake_run import codec_case, tensor

from kvbench.errors import UsageError
from kvbench.report.comparison.compare import compare
from kvbench.report.comparison.sides import Side
from kvbench.verdict import block_bootstrap


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


def several(first_seed, slower=None, shifts=(0.0, 0.01, -0.01), **fields):
    """Runs whose times lie apart by 1 %."""
    return [results(first_seed + number, slower, run_shift=shift, **fields) for number, shift in enumerate(shifts)]


def test_a_slowdown_of_20_percent_is_found_where_it_is(tmp_path):
    found = compare(*sides(tmp_path, several(1), several(11, {"encode_call": 1.2})))
    assert verdicts(found, codec="cuszp", phase="encode_call") == {"slower": 4}
    assert verdicts(found, codec="cuszp", phase="decode_call") == {"same": 4}
    assert verdicts(found, codec="raw") == {"same": 8}
    [row, *_] = [row for row in found.rows if row.phase == "encode_call"]
    low, high = row.contrast.interval()
    assert low < 1.2 < high


def test_a_speedup_is_found(tmp_path):
    found = compare(*sides(tmp_path, several(1), several(11, {"decode_call": 0.7})))
    assert verdicts(found, codec="cuszp", phase="decode_call") == {"faster": 4}


@pytest.mark.usefixtures("few_resamples")
def test_a_slowdown_is_mostly_found_at_one_percent_of_spread(tmp_path):
    rows = 0
    for pair in range(6):
        shifts = 0.01 * np.random.default_rng(pair).standard_normal((2, 3))
        a = several(100 * pair, shifts=shifts[0], row_shift=0.005)
        b = several(100 * pair + 50, {"encode_call": 1.2}, shifts=shifts[1], row_shift=0.005)
        found = compare(*sides(tmp_path / str(pair), a, b))
        rows += verdicts(found, codec="cuszp", phase="encode_call")["slower"]
        assert set(verdicts(found)) <= {"slower", "same", "unclear"}
        assert verdicts(found)["slower"] <= 4
    assert rows >= 18  # of 24


@pytest.mark.parametrize("slower", [None, {"encode_call": 2.0}])
def test_one_run_a_side_says_nothing_of_the_next(tmp_path, slower):
    found = compare(*sides(tmp_path, [results(1)], [results(2, slower)]))
    assert verdicts(found) == {"unclear": 16}
    assert all("one run a side" in str(row.reason) for row in found.rows)
    assert not found.spreads.of_kinds
    assert found.rows[0].contrast.ratio == pytest.approx(2 if slower else 1, rel=0.05)


def test_a_machine_that_changes_between_the_sides_is_not_taken_for_the_code(tmp_path):
    """All runs of B are 30 % slower, with samples and repeats as tight as ever: the control rows tell."""
    found = compare(*sides(tmp_path, several(1), several(11, shifts=(0.26, 0.27, 0.25))))
    assert verdicts(found) == {"unclear": 16}


def test_a_disturbance_of_one_codec_in_one_run_is_not_taken_for_the_code(tmp_path):
    """One run of B had a busy neighbour while cuszp was measured, the control rows did not."""
    b = several(11)
    for one in b[1]:
        for timed in one.phases.values() if one.case.codec == "cuszp" else ():
            timed.samples_s = [1.6 * sample for sample in timed.samples_s]
            timed.median_s = 1.6 * (timed.median_s or 0)
    found = compare(*sides(tmp_path, several(1), b))
    assert verdicts(found, codec="cuszp") == {"unclear": 8}


def test_repeated_runs_need_no_controls(tmp_path):
    alone = cases(raw=False)
    found = compare(*sides(tmp_path, several(1, of=alone), several(11, {"encode_call": 1.2}, of=alone)))
    assert verdicts(found, phase="encode_call") == {"slower": 4}
    assert verdicts(found, phase="decode_call") == {"same": 4}


@pytest.fixture
def few_resamples(monkeypatch):
    """For tests of many comparisons: what the runs differ by counts there, not the last digit of a bootstrap."""
    monkeypatch.setattr(block_bootstrap, "RESAMPLES", 99)


def wrong_of(tmp_path, pairs, runs, make):
    """How many pairs of sides of the same code are told apart; `make(seed, number of the run)` is a run."""
    wrong = 0
    for pair in range(pairs):
        made = [make(pair, number) for number in range(2 * runs)]
        found = compare(*sides(tmp_path / str(pair), made[:runs], made[runs:]))
        wrong += bool(verdicts(found).keys() - {"same", "unclear"})
    return wrong


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("runs", [1, 2, 3])
def test_the_same_code_is_not_told_apart_where_only_the_codec_s_rows_move(tmp_path, runs):
    """All rows of cuszp of a run move by 10 %, those of raw by next to nothing."""

    def make(pair, number):
        shift = float(np.random.default_rng([pair, number]).normal(0, 0.1))
        moved, still = (results(100 * pair + number, run_shift=by, of=cases((0,)), samples=12) for by in (shift, 0.0))
        return [one if one.case.codec == "cuszp" else other for one, other in zip(moved, still, strict=True)]

    assert wrong_of(tmp_path, 20, runs, make) <= 2


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("runs", [1, 3])
def test_few_pairs_of_the_same_code_show_a_difference(tmp_path, runs):
    """A machine whose runs differ by 8 % as a whole and by 4 % a row, with samples that hang together."""

    def make(pair, number):
        shift = float(np.random.default_rng([pair, number]).normal(0, 0.08))
        return results(100 * pair + number, run_shift=shift, row_shift=0.04, hanging=0.9, of=cases((0,)))

    assert wrong_of(tmp_path, 20, runs, make) <= 2


def test_a_run_given_twice_is_refused(tmp_path):
    a, b, copied = (run(tmp_path / name / "run", results(1)) for name in ("a", "b", "copied"))
    a.manifest.run_id = copied.manifest.run_id = "one"
    with pytest.raises(UsageError, match="of B is given twice, in A already"):
        compare(Side("A", [a]), Side("B", [a]))
    with pytest.raises(UsageError, match="of A is given twice, in A already"):
        compare(Side("A", [a, copied]), Side("B", [b]))


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
    told = (
        r"no case of A is a case of B; the first of A is cuszp plain.*, and the nearest of B, .*, has another "
        r"tensor, layer; to compare across that: --a tensor=layers.0.k --b tensor=layers.5.k"
    )
    with pytest.raises(UsageError, match=told):
        compare(a, b)


def test_nothing_in_common_for_several_reasons_has_no_axis_to_choose(tmp_path):
    of = [codec_case(tensor(5, "k"), "plain", 1e-3, device="cuda")]
    a, b = sides(tmp_path, [results(1, of=cases(layers=(0,)))], [results(2, of=of)])
    with pytest.raises(UsageError, match=r"has another .*device.*error_bound; compare runs that agree in that$"):
        compare(a, b)
