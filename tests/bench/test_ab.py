"""Checks A/B runs: which cases are pairs, that both are timed in turn, and what is recorded of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_bench import CALL_S, context
from pydantic import ValidationError

from kvbench import runner
from kvbench.bench import ab, compress
from kvbench.bench.context import Preparation
from kvbench.cli.comparison_table import pair_parts
from kvbench.config import Experiment, build_experiment
from kvbench.errors import CaseFailed, UsageError
from kvbench.record.pairs import PAIR_COLUMNS, paired_phases, pairs
from kvbench.record.schema import Case
from kvbench.record.table import summary_rows
from kvbench.report.comparison.pairs import paired_rows

NO_GPU = "no NVIDIA driver"
ITSELF = ({"name": "cuszp"}, {"name": "cuszp", "params": {"mode": "plain"}})


@pytest.fixture(autouse=True)
def _one_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("values.npy", np.random.default_rng(0).standard_normal(4096).astype(np.float32))


def experiment(**fields: object) -> Experiment:
    given = {"input": "values.npy", "codec": ("cuszp", "raw"), "iterations": 6, "ab": True}
    return build_experiment("compress", given | fields)


def prepared(**fields: object) -> Preparation:
    return ab.prepare(experiment(**fields), NO_GPU)


def test_every_setting_of_one_stands_beside_the_other() -> None:
    cases = prepared(error_bound=(1e-1, 1e-2), mode=("plain", "outlier")).plan.cases
    assert len(cases) == 8
    for a, b in zip(cases[::2], cases[1::2], strict=True):
        assert (a.codec, b.codec) == ("cuszp", "raw")
        assert a.rival is not None
        assert b.rival is not None
        assert (a.rival.side, b.rival.side) == ("a", "b")
        assert a.rival_case() == b
        assert b.rival_case() == a
    assert len({case.id for case in cases}) == 8


def test_axes_both_have_are_equal_and_named_parameters_free() -> None:
    both = ({"name": "cuszp", "params": {"mode": "plain"}}, {"name": "cuszp", "params": {"mode": "outlier"}})
    cases = prepared(codec=both, error_bound=(1e-1, 1e-2)).plan.cases
    assert [(case.mode, case.bound and case.bound.value) for case in cases] == [
        ("plain", 1e-1),
        ("outlier", 1e-1),
        ("plain", 1e-2),
        ("outlier", 1e-2),
    ]


def test_codecs_of_two_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = compress.prepare

    def raw_on_a_gpu(asked: Experiment, cuda: str) -> Preparation:
        found = prepare(asked, cuda)
        device = "cuda" if asked.codec[0].name == "raw" else "cpu"
        cases = tuple(case.model_copy(update={"device": device}) for case in found.plan.cases)
        return replace(found, plan=replace(found.plan, cases=cases))

    monkeypatch.setattr(compress, "prepare", raw_on_a_gpu)
    with pytest.raises(UsageError, match="cuszp runs on cpu and raw on cuda here"):
        prepared()


def test_notes_say_which_is_which_and_nothing_twice() -> None:
    notes = prepared().notes
    assert "A/B: cuszp (A) and raw (B) are timed in turn; ratios are B / A" in notes
    assert len(notes) == len(set(notes))


@pytest.mark.parametrize("codecs", [("cuszp",), ("raw", "cuszp", "zfp")])
def test_two_codecs_are_needed(codecs: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="ab compares two codecs"):
        experiment(codec=codecs)


@pytest.mark.parametrize("command", ["baseline", "quality"])
def test_other_commands_refuse_it(command: str) -> None:
    with pytest.raises((UsageError, ValidationError), match=f"`kvbench {command}` does not use ab"):
        build_experiment(command, {"ab": True})  # type: ignore[arg-type]


def test_both_outcomes_come_from_one_go() -> None:
    first, second = prepared().plan.cases
    outcome = ab.run(first, context())
    [(rival, beside)] = outcome.beside
    assert rival == second
    assert set(outcome.phases) > set(beside.phases) == {"encode_call", "decode_call"}
    for phase in beside.phases:
        samples = [one.phases[phase].samples_s for one in (outcome, beside)]
        assert [len(one) for one in samples] == [2, 2]
        assert samples[0] == [CALL_S] * 2
    assert beside.metrics["ratio"] == 1
    assert (outcome.metrics["ratio"] or 0) > 1
    other = ab.run(second, context())
    assert [case for case, _ in other.beside] == [first]


def test_what_fails_in_its_check_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = compress.finish

    def fails_for_raw(ready, *rest):  # type: ignore[no-untyped-def]
        if ready.case.codec == "raw":
            raise CaseFailed("decode_mismatch", "it disagrees with itself")
        return finish(ready, *rest)

    monkeypatch.setattr(compress, "finish", fails_for_raw)
    outcome = ab.run(prepared().plan.cases[0], context())
    [(_, beside)] = outcome.beside
    assert (outcome.status, beside.status, beside.reason_code) == ("ok", "failed", "decode_mismatch")


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> runner.RunFolder:
    monkeypatch.setattr("kvbench.report.draw", lambda folder: [])
    asked = experiment(codec=ITSELF, threads=1)
    preparation = runner.prepare(asked)
    with runner.create(asked, preparation, path=tmp_path / "run", argv=[]) as folder:
        runner.run(asked, preparation, folder)
    return folder


def test_a_run_records_pairs_and_verdicts(recorded: runner.RunFolder) -> None:
    manifest, results = recorded.manifest(), recorded.results()
    assert (manifest.cases_planned, manifest.cases_done) == (2, 2)
    [(a, b)] = pairs(results)
    assert (a.case.rival_case(), [len(one.phases["encode_call"].samples_s) for one in (a, b)]) == (b.case, [6, 6])
    found = paired_phases(results)
    assert {one.phase for one in found} == set(a.phases) & set(b.phases)
    rows = json.loads((recorded.path / "summary.json").read_text())
    assert rows[0]["ab_side"] == "a"
    assert rows[0]["encode_call_ab_verdict"] is None
    assert rows[1]["encode_call_ab_verdict"] in {"faster", "slower", "same", "unclear"}
    assert rows[1]["encode_call_ab_ci_low"] < rows[1]["encode_call_ab_ratio"] < rows[1]["encode_call_ab_ci_high"]
    assert [row.verdict for row in paired_rows(results)] == [one.judged.verdict for one in found]


def test_the_legend_is_that_of_pairs(recorded: runner.RunFolder) -> None:
    printed = [part for part in pair_parts(recorded.results()) if isinstance(part, str)]
    assert any("median of the pairs' ratios" in line for line in printed)
    assert not any("ratio of the median times" in line for line in printed)


def test_resuming_after_half_a_pair_measures_both_again(
    recorded: runner.RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = recorded.path / "cases.jsonl"
    [line_a, _] = journal.read_text().splitlines(keepends=True)
    journal.write_text(line_a)
    asked, folder = runner.reopen(recorded.path)
    with folder:
        runner.run(asked, runner.prepare(asked), folder)
    a, b = folder.results()
    assert (len(journal.read_text().splitlines()), folder.manifest().cases_done) == (3, 2)
    assert a.started_at == b.started_at


def test_pairs_that_cannot_be_judged_say_why(recorded: runner.RunFolder) -> None:
    a, b = recorded.results()
    b.phases["encode_call"].samples_s.pop()
    b.phases["decode_call"].flags.append("throttled")
    found = {one.phase: one.judged for one in paired_phases([a, b])}
    assert found["encode_call"].reason == "not comparable: the samples are no pairs"
    assert found["decode_call"].reason == "not comparable: throttled in B"
    [row] = [row for row in summary_rows([a, b], "run") if row["ab_side"] == "b"]
    assert [row[f"encode_call_{name}"] for name in PAIR_COLUMNS[:4]] == [None] * 4
    a.phases["decode_call"].cache, b.phases["decode_call"].cache = "cold", "warm"
    b.phases["decode_call"].flags.remove("throttled")
    found = {one.phase: one.judged for one in paired_phases([a, b])}
    assert found["decode_call"].reason == "not comparable: cache cold and warm"
    failed = b.model_copy(update={"status": "failed", "reason_code": "bound_broken"})
    assert {one.judged.reason for one in paired_phases([a, failed])} == {"not comparable: failed in B (bound_broken)"}
    assert paired_phases([a]) == []


def test_a_case_without_a_rival_has_none() -> None:
    case = Case(command="compress", codec="raw", elements=1, device="cpu")
    with pytest.raises(ValueError, match="has no rival"):
        case.rival_case()
