"""Tests of what is matched with what, of numbers without a clock, and of cells that are no results."""

from __future__ import annotations

import pytest
from fake_comparison import cases, results, run
from fake_run import codec_case, result, tensor

from kvbench.errors import UsageError
from kvbench.report.comparison.columns import COLUMNS, comparison_rows
from kvbench.report.comparison.compare import compare
from kvbench.report.comparison.machines import differing, unlike
from kvbench.report.comparison.pairing import match
from kvbench.report.comparison.sides import Run, Side, parse_chosen


@pytest.fixture
def made(tmp_path):
    def make(name: str, results_of_it, host=None) -> Run:
        return run(tmp_path / name, results_of_it, host)

    return make


def compared(made, a, b):
    return compare(Side("A", [made("a", a)]), Side("B", [made("b", b)])).rows


def several(made, name, first_seed, slower=None, of=None):
    """Three runs a few per mille apart."""
    shifts = (0.0, 0.004, -0.004)
    return [
        made(f"{name}{number}", results(first_seed + number, slower, run_shift=shift, of=of))
        for number, shift in enumerate(shifts)
    ]


def changed(one, **fields):
    return one.model_copy(update=fields)


# Which case belongs to which.


def test_cases_match_by_their_axes_whatever_the_command(made):
    a, b = results(1), [changed(one, case=one.case.model_copy(update={"command": "compress"})) for one in results(2)]
    found = match(Side("A", [made("a", a)]), Side("B", [made("b", b)]))
    assert len(found) == 8
    assert all(one.a and one.b for one in found)


def test_across_codecs_an_axis_one_of_them_lacks_fits_all(made):
    spec = tensor(0, "k")
    of = [codec_case(spec, "plain", 1e-2), codec_case(spec, "plain", 1e-3), codec_case(spec, None)]
    one = made("a", results(1, of=of))
    found = match(
        Side("A", [one], parse_chosen("--a", ["codec=cuszp"])), Side("B", [one], parse_chosen("--b", ["codec=raw"]))
    )
    assert [(pair.a.case.bound.value, pair.b.case.codec) for pair in found] == [(1e-2, "raw"), (1e-3, "raw")]


def test_across_modes(made):
    spec = tensor(0, "k")
    one = made("a", results(1, of=[codec_case(spec, mode, 1e-2) for mode in ("plain", "outlier")]))
    a, b = (Side(name, [one], {"mode": frozenset({mode})}) for name, mode in (("A", "plain"), ("B", "outlier")))
    [pair] = match(a, b)
    assert (pair.a.case.mode, pair.b.case.mode) == ("plain", "outlier")


def test_no_right_pairing_is_refused(made):
    spec = tensor(0, "k")
    one = made("a", results(1, of=[codec_case(spec, mode, 1e-2) for mode in ("plain", "outlier")]))
    both = {"mode": frozenset({"plain", "outlier"})}
    with pytest.raises(UsageError, match="fits 2 cases of B"):
        match(Side("A", [one], both), Side("B", [one], both))


@pytest.mark.parametrize(
    ("words", "problem"),
    [(["codec"], "give axis=value"), (["colour=red"], "no axis 'colour'"), (["codec="], "give axis=value")],
)
def test_bad_choices(words, problem):
    with pytest.raises(UsageError, match=problem):
        parse_chosen("--a", words)


def test_a_choice_that_leaves_nothing_is_refused(made):
    one = made("a", results(1))
    with pytest.raises(UsageError, match="--a codec=zfp: no case of"):
        compare(Side("A", [one], {"codec": frozenset({"zfp"})}), Side("B", [made("b", results(2))]))


def test_numbers_are_chosen_by_value(made):
    chosen = parse_chosen("--a", ["error_bound=1e-2"])
    side = Side("A", [made("a", results(1))], chosen)
    assert len(side.results(side.runs[0])) == 4


# What is no time.


def test_bytes_that_changed_are_seen(made):
    b = results(2)
    b[0].metrics["compressed_bytes"] = 1001
    rows = [row for row in compared(made, results(1), b) if row.verdict == "changed"]
    assert [(row.metric, row.a_value, row.b_value) for row in rows] == [("compressed_bytes", 1000, 1001)]


def test_a_sum_in_another_order_is_no_change_and_speeds_are_none(made):
    b = results(2)
    b[0].metrics |= {"rmse": 0.25 * (1 + 1e-12), "effective_gbps": 7.0}
    assert not [row for row in compared(made, results(1), b) if row.verdict == "changed"]
    b[1].metrics["rmse"] = 0.25 * (1 + 1e-6)
    assert [row.metric for row in compared_again(made, b) if row.verdict == "changed"] == ["rmse"]


def compared_again(made, b):
    return compare(Side("A", [made("a2", results(1))]), Side("B", [made("b2", b)])).rows


def test_a_case_that_fails_now_is_changed_and_no_result(made):
    b = results(2)
    b[0] = changed(b[0], status="failed", reason_code="bound_broken")
    rows = [row for row in compared(made, results(1), b) if row.matched.case.id == b[0].case.id]
    assert [(row.metric, row.verdict, row.reason) for row in rows] == [
        (None, "unclear", "not comparable: failed in B (bound_broken)"),
        ("status", "changed", None),
    ]


def test_cells_without_a_time_are_not_comparable(made):
    b = results(2)
    encode, decode = b[0].phases["encode_call"], b[0].phases["decode_call"]
    encode.median_s, encode.flags = None, ["unresolved"]
    decode.clock = "cuda_event"
    b[1].phases["encode_call"].flags = ["throttled"]
    b[1].phases["encode_call"].chunk_bytes = 1
    b[1].phases["decode_call"].samples_s = [1e-4]
    rows = [row for row in compared(made, results(1), b) if row.matched.case.id in {b[0].case.id, b[1].case.id}]
    assert [(row.verdict, row.reason) for row in rows] == [
        ("unclear", "not comparable: no time in B (unresolved)"),
        ("unclear", "not comparable: clock cuda_event and host"),
        ("unclear", "not comparable: throttled in B"),
        ("unclear", "a run has only one sample; 6 are the least, take more with --iterations"),
    ]


def test_rows_of_one_run_only_are_listed(made):
    b = results(2)
    gone = b.pop(0)
    del b[0].phases["decode_call"]
    b.append(result(codec_case(tensor(7, "v")), phases=gone.phases))
    rows = [row for row in compared(made, results(1), b) if row.verdict in {"missing", "added"}]
    assert [(row.verdict, row.phase, row.matched.case.tensor.layer) for row in rows] == [
        ("missing", None, 0),
        ("missing", "decode_call", 0),
        ("added", None, 7),
    ]


# What differs between the machines.


def test_what_makes_runs_unlike_and_what_is_only_said(made):
    gpu = {"name": "Made-up GPU", "driver": "600.1", "sm_clock_max_mhz": 1980, "sm_clock_mhz": 345}
    a = Side("A", [made("a", results(1), {"gpus": [gpu]})])
    changes = {"driver": "601.0", "sm_clock_mhz": 1980}
    host = {"gpus": [gpu | changes], "packages": {"numpy": "2.4.7", "torch": "2.13.0"}}
    b = Side("B", [made("b", results(2), host)])
    assert unlike(a, b) == ["GPU 0 driver: 600.1 in A, 601.0 in B"]
    assert differing(a, b) == [
        "package numpy: 2.4.6 in A, 2.4.7 in B",
        "GPU 0 sm_clock_mhz: 345 in A, 1980 in B",
    ]
    assert unlike(a, Side("B", [made("c", results(2))]))[0] == "GPUs: 1 in A, 0 in B"


def test_runs_of_one_side_must_be_alike_too(made):
    a = Side("A", [made("a", results(1)), made("a2", results(3), {"cpu": "Another CPU"})])
    assert unlike(a, Side("B", [made("b", results(2))])) == [
        "cpu: Another CPU or Made-up CPU 9000 in A, Made-up CPU 9000 in B"
    ]


# The table.


def test_the_table_for_machines_has_all_columns(made):
    a, b = several(made, "a", 1), several(made, "b", 11, of=cases((0, 5)))
    found = compare(Side("A", a), Side("B", b))
    rows = comparison_rows(found)
    assert all(list(row) == COLUMNS for row in rows)
    assert {row["verdict"] for row in rows} == {"same", "missing", "added"}
    timed = rows[0]
    assert timed["a_value"] == pytest.approx(2e-4, rel=0.05)
    assert timed["ratio_ci_low"] < timed["ratio"] < timed["ratio_ci_high"]
    assert (timed["a_runs"], timed["codec"], timed["differing"]) == (["a0", "a1", "a2"], "cuszp", {})
