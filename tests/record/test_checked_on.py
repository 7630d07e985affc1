"""Every verdict on a bound says whether it is about the values before or after the cast to a 16-bit dtype."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_run import codec_case, finished, make_run, tensor

from kvbench.cli.tables import case_table as console_table
from kvbench.record.checked_on import cast_lines, checked_on, side_words
from kvbench.record.schema import CaseResult
from kvbench.record.table import summary_rows
from kvbench.report import draw
from kvbench.report.case_table import case_table as page_table

SENTENCE = (
    "The bound is checked on the float32 values before the cast to bfloat16: 0 of 98304 values break it. "
    "After the cast 12 are beyond it, which fails no case."
)


def one(dtype: str = "bfloat16", bound: float | None = 1e-3, **metrics: Any) -> CaseResult:
    mode = None if bound is None else "plain"
    found = finished(codec_case(tensor(0, "k"), mode, bound, dtype=dtype))
    return found.model_copy(update={"metrics": found.metrics | metrics})


@pytest.mark.parametrize(
    ("result", "side"),
    [
        (one(), "before_cast"),
        (one("float16"), "before_cast"),
        (one("float32", violations_after_cast=None), "float32"),
        (one(coded_max_abs_error=0.1), "coded"),
        (one(bound=None), None),
    ],
    ids=["bfloat16", "float16", "float32", "transformed", "no bound"],
)
def test_the_summary_says_what_a_verdict_is_about(result: CaseResult, side: str | None) -> None:
    assert checked_on(result) == side
    assert summary_rows([result], "run")[0]["checked_on"] == side


def test_a_broken_bound_is_told_with_its_side() -> None:
    assert side_words("bfloat16", coded=False) == "checked on the float32 values, before the cast to bfloat16"
    assert side_words("float32", coded=False) == "checked on the float32 values"
    assert "that the codec saw" in side_words("bfloat16", coded=True)


def test_both_sides_are_counted_in_a_sentence() -> None:
    assert cast_lines([one(), one(bound=None), one("float32")]) == [SENTENCE]
    assert cast_lines([one("float32"), one(bound=None)]) == []
    assert "with transforms, on those that the codec saw" in cast_lines([one(coded_max_abs_error=0.1)])[0]
    other = finished(codec_case(tensor(0, "k"), "plain", 1e-3, policy="compatible"))
    other.metrics["violations"] = 5
    words = "0 of 98304 values break it under strict, 5 of 98304 values break it under compatible."
    assert words in cast_lines([one(), other])[0]
    assert "to bfloat16 or float16: 7 of 196608" in cast_lines([one(violations=7), one("float16")])[0]


def test_the_console_says_it_under_its_table() -> None:
    _, notes = console_table([one(), one(bound=None)])
    assert SENTENCE in notes
    assert any(note.startswith("error/bound: largest error of a float32 value, before any cast") for note in notes)


def test_the_page_says_it_in_its_answer_and_in_its_table(tmp_path: Path) -> None:
    results = [one(), one(bound=None)]
    folder = make_run(tmp_path / "run", results)
    draw(folder)
    assert SENTENCE in (folder.path / "report.html").read_text()
    table = page_table(results)
    sides, after = (table.heads.index(head) for head in ("bound checked on", "violations after cast"))
    assert [row[sides].text for row in table.rows] == ["float32 before the cast", ""]
    assert [row[after].text for row in table.rows] == ["12", ""]
