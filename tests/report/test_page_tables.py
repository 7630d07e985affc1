"""Tests of the page's tables: which columns and filters they have, and what their cells sort by."""

from __future__ import annotations

import numpy as np
import pytest
from fake_run import codec_case, finished, make_run, phase, result, sweep_results, tensor

from kvbench.report import draw
from kvbench.report import time_table as time_table_module
from kvbench.report.against_speed import front
from kvbench.report.case_table import case_table
from kvbench.report.page_table import Cell, make_table, number_cell, text_cell
from kvbench.report.pair_table import pair_table
from kvbench.report.runs import read_runs
from kvbench.report.scored_table import scored_table
from kvbench.report.setting_table import setting_table
from kvbench.report.time_table import time_table


def column(table, head):
    return [row[table.heads.index(head)] for row in table.rows]


def test_columns_without_values_go_and_those_that_never_vary_are_said_once():
    what = {"name": lambda n: text_cell(f"n{n}"), "same": lambda n: text_cell("x"), "none": lambda n: text_cell(None)}
    numbers = {"value": lambda n: number_cell(None if n == 2 else n), "fixed": lambda n: number_cell(7)}
    table = make_table([1, 2, 30], what, numbers, str, {"odd": lambda n: str(n % 2), "one": lambda n: "1"}, 2)
    assert table.common == (("same", "x"),)
    assert table.heads == ("name", "value", "fixed")
    assert table.rows[1] == (Cell("n2"), Cell(""), Cell("7", 7.0))
    assert table.numeric == (False, True, True)
    assert table.left_out == 1
    assert [choice.name for choice in table.filters] == ["odd"]
    assert table.row_filters(1) == [("odd", "0")]


def test_cases_have_a_column_for_every_metric_nobody_foresaw(monkeypatch):
    from kvbench.record import schema

    monkeypatch.setitem(schema.METRIC_UNITS, "left_over_bytes", "byte")
    monkeypatch.setitem(schema.METRIC_UNITS, "some_copy_gbps", "GB/s")
    one, other = (finished(codec_case(tensor(layer, "k"))) for layer in (0, 1))
    one.metrics |= {"left_over_bytes": 1024, "some_copy_gbps": 2500.0}
    table = case_table([one, other])
    assert column(table, "left over bytes") == [Cell("1024", 1024.0), Cell("")]
    assert column(table, "some copy GB/s") == [Cell("2500", 2500.0), Cell("")]


def test_size_kl_and_speed_stand_side_by_side_for_cases_and_for_settings(tmp_path):
    results = [_scored(text, kl) for text, kl in (("prose", 1e-3), ("manual", 3e-3))]
    heads = ["ratio", "bits a value", "KL nat", "KL, 95 % interval", "encode GB/s", "decode GB/s"]
    cases = case_table(results)
    assert [head for head in cases.heads if head in heads] == heads
    assert [cell.text for cell in column(cases, "KL nat")] == ["0.001", "0.003"]
    assert column(cases, "KL, 95 % interval")[0].text == "0.0005 to 0.002"
    runs = read_runs([make_run(tmp_path / "run", results, command="quality", link=None)])
    scored = scored_table(runs)
    assert list(scored.heads[-6:]) == heads
    assert column(scored, "KL nat")[0].number == pytest.approx(2e-3)
    assert all(column(scored, head)[0].number > 0 for head in ("encode GB/s", "decode GB/s"))
    assert not setting_table(runs).rows  # nothing here crosses a link


def _scored(text, kl):
    one = finished(codec_case(tensor(0, "k", source=text), command="quality"))
    one.metrics |= {"kl_mean": kl, "kl_mean_ci_low": kl / 2, "kl_mean_ci_high": 2 * kl}
    return one


def test_cases_filter_by_status_codec_and_mode():
    table = case_table(sweep_results(bounds=(1e-2,)))
    choices = {choice.name: set(choice.values) for choice in table.filters}
    assert choices == {
        "status": {"ok", "failed", "invalid", "skipped"},
        "codec": {"cuszp", "raw"},
        "mode": {"plain", "fixed", "outlier", ""},
    }


def test_times_have_a_row_for_every_phase_whatever_its_name(monkeypatch):
    rng = np.random.default_rng(0)
    phases = {"encode_call": phase(2e-5, 1000, rng), "strange": phase(1e-3, 1000, rng, flags=["throttled"])}
    results = [result(codec_case(tensor(0, "k")), phases=phases), result(codec_case(tensor(0, "v")))]
    table = time_table(results)
    assert [cell.text for cell in column(table, "phase")] == ["encode_call", "strange"]
    assert [cell.text for cell in column(table, "flags")] == ["", "throttled"]
    median = column(table, "median \N{GREEK SMALL LETTER MU}s")[0]
    assert median == Cell(f"{phases['encode_call'].median_s * 1e6:.4g}", phases["encode_call"].median_s)
    monkeypatch.setattr(time_table_module, "MOST_ROWS", 1)
    assert (len(time_table(results).rows), time_table(results).left_out) == (1, 1)


def test_settings_tell_verdict_and_interval(tmp_path):
    cases = [codec_case(tensor(0, "k"), "plain", 1e-2), codec_case(tensor(0, "k"), None)]
    table = setting_table(read_runs([make_run(tmp_path / "run", map(finished, cases))]))
    assert [cell.text for cell in column(table, "pays")] == ["no", "never"]
    even, interval = column(table, "break-even GB/s")[0], column(table, "break-even, 95 % interval")[0]
    assert interval.number < even.number
    assert " to " in interval.text
    assert column(table, "break-even GB/s")[1].text == ""


def test_the_front_keeps_what_nothing_beats():
    spots = [(1.0, 9.0), (2.0, 5.0), (2.0, 4.0), (3.0, 5.0), (4.0, 1.0), (4.0, 1.0), (1.0, 8.0)]
    assert front(spots) == [0, 3, 4, 5]
    assert front([]) == []


def test_pairs_of_an_ab_run_have_a_table_and_other_runs_none(tmp_path):
    plain, outlier = codec_case(tensor(0, "k")), codec_case(tensor(0, "k"), "outlier")
    sides = [finished(plain.against(outlier, "a")), finished(outlier.against(plain, "b"))]
    quick = sides[0].phases["encode_call"]
    sides[1].phases["encode_call"] = quick.model_copy(
        update={"samples_s": [2 * seconds for seconds in quick.samples_s]}
        | {name: 2 * getattr(quick, name) for name in ("median_s", "ci_low_s", "ci_high_s")}
    )
    folder = make_run(tmp_path / "ab", sides)
    table = pair_table(read_runs([folder]))
    heads = dict(zip(table.heads, zip(*table.rows, strict=True), strict=True))
    assert [cell.text for cell in heads["phase"]] == ["encode_call", "decode_call"]
    assert heads["B / A"][0].number == pytest.approx(2.0)
    assert heads["verdict"][0].text == "slower"
    assert ("A", "cuszp plain rel 1e-2") in table.common
    assert ("B", "cuszp outlier rel 1e-2") in table.common
    draw(folder)
    assert ">A against B</h2>" in (folder.path / "report.html").read_text()
    alone = make_run(tmp_path / "alone", [finished(plain)])
    assert pair_table(read_runs([alone])).rows == ()
    draw(alone)
    assert "A against B" not in (alone.path / "report.html").read_text()
