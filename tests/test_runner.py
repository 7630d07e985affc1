"""Checks the run: one result a case whatever happens, resuming, interruption, a full disk, and what is left on disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kvbench import runner
from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.outcome import Outcome
from kvbench.config import Experiment, build_experiment
from kvbench.errors import CaseFailed, CaseSkipped, KvbenchError, UsageError
from kvbench.plan import Plan, SkippedCase
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case, CaseResult, Link, PhaseSamples, RunManifest
from kvbench.record.store import RunFolder
from kvbench.runner import Progress

LINK = Link(out_gbps=25.0, in_gbps=25.0, origin="assumed")
Act = Callable[[], Outcome]


def case(elements: int) -> Case:
    return Case(command="sweep", codec="raw", elements=elements, device="cpu")


class FakeBench:
    """A measured command whose cases do what the test says, by their number of elements; by default they are ok."""

    def __init__(self, cases: int = 3, skipped: tuple[SkippedCase, ...] = ()) -> None:
        self.plan = Plan(tuple(case(elements) for elements in range(1, cases + 1)), skipped)
        self.acts: dict[int, Act] = {}
        self.ran: list[int] = []
        self.contexts: list[BenchContext] = []

    def prepare(self, experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
        return Preparation(self.plan, LINK, ("a note",))

    def run(self, case: Case, context: BenchContext) -> Outcome:
        self.ran.append(case.elements)
        self.contexts.append(context)
        return self.acts.get(case.elements, good)()


def good() -> Outcome:
    phase = PhaseSamples(samples_s=[0.1], work_bytes=4, median_s=0.1)
    return Outcome(phases={"encode_call": phase}, metrics={"ratio": 2.0, "rmse": 0.0})


def raises(error: BaseException) -> Act:
    def act() -> Outcome:
        raise error

    return act


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> FakeBench:
    made = FakeBench()
    monkeypatch.setitem(runner.BENCHES, "sweep", made)
    monkeypatch.setattr(runner.report, "draw", lambda folder: [])
    monkeypatch.setattr(runner, "host_facts", lambda: {"cuda": "unavailable", "cuda_reason": "no driver"})
    return made


EXPERIMENT = build_experiment("sweep", {"seed": 5, "iterations": 7, "time_limit": 0.5, "precision": 0.01})


def start(path: Path, on_progress: runner.OnProgress | None = None) -> RunManifest:
    preparation = runner.prepare(EXPERIMENT)
    with runner.create(EXPERIMENT, preparation, path=path, argv=["kvbench", "sweep"]) as folder:
        return runner.run(EXPERIMENT, preparation, folder, on_progress)


def go_on(path: Path, on_progress: runner.OnProgress | None = None) -> RunManifest:
    experiment, folder = runner.reopen(path)
    with folder:
        return runner.run(experiment, runner.prepare(experiment), folder, on_progress)


def results(path: Path) -> dict[int, CaseResult]:
    return {result.case.elements: result for result in RunFolder.open(path).results()}


def test_every_case_ends_as_one_result(bench: FakeBench, tmp_path: Path) -> None:
    manifest = start(tmp_path / "run")
    assert bench.ran == [1, 2, 3]
    found = results(tmp_path / "run")
    assert {elements: result.status for elements, result in found.items()} == dict.fromkeys([1, 2, 3], "ok")
    assert found[2].case_id == case(2).id
    assert found[2].metrics["ratio"] == 2.0
    assert manifest == RunFolder.open(tmp_path / "run").manifest()
    assert (manifest.status, manifest.cases_planned, manifest.cases_done) == ("finished", 3, 3)
    assert (manifest.cases_failed, manifest.cases_invalid, manifest.cases_skipped) == (0, 0, 0)
    assert manifest.ended_at is not None
    assert manifest.notes == ["a note"]
    assert manifest.link == LINK
    assert manifest.seed == 5
    assert manifest.argv == ["kvbench", "sweep"]
    assert manifest.host["cuda"] == "unavailable"
    assert Experiment.model_validate(manifest.experiment) == EXPERIMENT
    assert {"summary.csv", "summary.json", "measurements.parquet"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    assert not (tmp_path / "run" / "errors.log").exists()


def test_the_rule_and_the_link_reach_the_cases(bench: FakeBench, tmp_path: Path) -> None:
    start(tmp_path / "run")
    shared = bench.contexts[0]
    assert all(context is shared for context in bench.contexts)
    assert (shared.rule.iterations, shared.rule.time_limit_s, shared.rule.relative_half_width) == (7, 0.5, 0.01)
    assert shared.link == LINK


def test_every_case_has_a_range_that_a_profiler_shows(
    bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges: list[str] = []

    @contextmanager
    def recorded(text: str) -> Iterator[None]:
        ranges.append(text)
        yield

    monkeypatch.setattr(runner, "marked", recorded)
    start(tmp_path / "run")
    assert ranges == [f"{case(elements).id} {case(elements).label}" for elements in (1, 2, 3)]


def test_the_manifest_is_there_before_the_first_case(bench: FakeBench, tmp_path: Path) -> None:
    seen: list[str] = []

    def look() -> Outcome:
        seen.append(json.loads((tmp_path / "run" / "manifest.json").read_text())["status"])
        return good()

    bench.acts[1] = look
    start(tmp_path / "run")
    assert seen == ["running"]


def test_preparing_writes_nothing(bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner.prepare(EXPERIMENT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "reason_code", "reason"),
    [
        (CaseSkipped("no_layout", "it is flat"), "skipped", "no_layout", "it is flat"),
        (CaseFailed("decode_mismatch", "two\nanswers"), "failed", "decode_mismatch", "two\nanswers"),
        (ValueError("bad\n  value"), "failed", "error", "ValueError: bad value"),
        (UsageError("the file has changed"), "failed", "error", "the file has changed"),
        (MemoryError(), "failed", "out_of_memory", "MemoryError: no message"),
        (RuntimeError("[enforce fail] can't allocate memory"), "failed", "out_of_memory", None),
        (OSError(errno.EIO, "Input/output error"), "failed", "error", None),
    ],
)
def test_a_failing_case_does_not_stop_the_others(
    bench: FakeBench, tmp_path: Path, error: Exception, status: str, reason_code: str, reason: str | None
) -> None:
    bench.acts[2] = raises(error)
    manifest = start(tmp_path / "run")
    assert bench.ran == [1, 2, 3]
    found = results(tmp_path / "run")
    assert [found[elements].status for elements in (1, 2, 3)] == ["ok", status, "ok"]
    assert found[2].reason_code == reason_code
    assert reason is None or found[2].reason == reason
    assert manifest.status == "finished"
    assert manifest.cases_done == 2
    assert manifest.cases_failed + manifest.cases_skipped == 1
    assert manifest.reasons == {found[2].reason: 1}
    # Only what nobody foresaw leaves a traceback.
    log = tmp_path / "run" / "errors.log"
    foreseen = isinstance(error, KvbenchError)
    assert log.exists() != foreseen
    if not foreseen:
        assert case(2).id in log.read_text()
        assert "Traceback" in log.read_text()


def test_a_lack_of_memory_gives_the_last_tensor_back(bench: FakeBench, tmp_path: Path) -> None:
    def fails() -> Outcome:
        bench.contexts[-1]._view = torch.zeros(1)  # type: ignore[assignment]
        raise MemoryError

    bench.acts[1] = fails
    seen: list[object] = []

    def look() -> Outcome:
        seen.append(bench.contexts[-1]._view)
        return good()

    bench.acts[2] = look
    start(tmp_path / "run")
    assert seen == [None]


def test_numbers_that_cannot_be_recorded_fail_their_case_alone(bench: FakeBench, tmp_path: Path) -> None:
    bench.acts[1] = lambda: Outcome(metrics={"ratio": float("nan")})
    start(tmp_path / "run")
    found = results(tmp_path / "run")
    assert (found[1].status, found[1].metrics) == ("failed", {})
    assert found[1].reason is not None
    assert "undefined is None" in found[1].reason
    assert found[3].status == "ok"


def test_verdicts_keep_their_numbers_and_are_counted(bench: FakeBench, tmp_path: Path) -> None:
    bench.acts[1] = lambda: replace(good(), status="failed", reason_code="bound_broken", reason="9 values")
    bench.acts[2] = lambda: replace(good(), status="invalid", reason_code="bound_exceeded", reason="9 values")
    manifest = start(tmp_path / "run")
    found = results(tmp_path / "run")
    assert found[1].metrics["ratio"] == found[2].metrics["ratio"] == 2.0
    assert (manifest.cases_failed, manifest.cases_invalid, manifest.cases_done) == (1, 1, 2)
    assert manifest.reasons == {"9 values": 2}


def test_planned_skips_are_results_too(bench: FakeBench, tmp_path: Path) -> None:
    bench.plan = replace(bench.plan, skipped=(SkippedCase(case(99), "codec_unavailable", "not here"),))
    manifest = start(tmp_path / "run")
    found = results(tmp_path / "run")
    assert (found[99].status, found[99].reason_code, found[99].reason) == ("skipped", "codec_unavailable", "not here")
    assert (manifest.cases_planned, manifest.cases_skipped) == (4, 1)
    go_on(tmp_path / "run")
    lines = (tmp_path / "run" / "cases.jsonl").read_text().splitlines()
    assert len(lines) == 4


def test_progress_is_told_before_and_after_each_case(bench: FakeBench, tmp_path: Path) -> None:
    bench.plan = replace(bench.plan, skipped=(SkippedCase(case(99), "codec_unavailable", "not here"),))
    told: list[Progress] = []
    start(tmp_path / "run", told.append)
    assert [(now.done, now.total, now.case.elements, now.result is None) for now in told] == [
        (1, 4, 1, True),
        (2, 4, 1, False),
        (2, 4, 2, True),
        (3, 4, 2, False),
        (3, 4, 3, True),
        (4, 4, 3, False),
    ]


def test_ctrl_c_keeps_finished_cases_and_says_how_to_go_on(bench: FakeBench, tmp_path: Path) -> None:
    bench.acts[2] = raises(KeyboardInterrupt())
    path = tmp_path / "a run"
    with pytest.raises(KeyboardInterrupt, match="1 of 3 cases are kept") as stop:
        start(path)
    assert f"kvbench sweep --resume '{path}'" in str(stop.value)  # as a shell takes it
    assert list(results(path)) == [1]
    manifest = RunFolder.open(path).manifest()
    assert (manifest.status, manifest.cases_done) == ("interrupted", 1)

    del bench.acts[2]
    bench.ran.clear()
    manifest = go_on(path)
    assert bench.ran == [2, 3]
    assert sorted(results(path)) == [1, 2, 3]
    assert (manifest.status, manifest.cases_done, manifest.cases_planned) == ("finished", 3, 3)
    assert manifest.notes[0] == "a note"
    assert "1 cases were done" in manifest.notes[-1]


def test_resuming_tries_failed_cases_again_and_leaves_verdicts_alone(bench: FakeBench, tmp_path: Path) -> None:
    path = tmp_path / "run"
    bench.acts[1] = raises(ValueError("once"))
    bench.acts[2] = lambda: replace(good(), status="invalid", reason_code="bound_exceeded", reason="9 values")
    assert start(path).cases_failed == 1
    bench.acts.clear()
    bench.ran.clear()
    told: list[Progress] = []
    manifest = go_on(path, told.append)
    assert bench.ran == [1]
    assert [(now.done, now.total) for now in told] == [(2, 3), (3, 3)]
    assert (manifest.cases_failed, manifest.cases_done, manifest.cases_invalid) == (0, 3, 1)
    assert manifest.reasons == {"9 values": 1}
    assert "1 failed ones are tried again" in manifest.notes[-1]
    assert results(path)[1].status == "ok"


def test_a_finished_run_resumes_to_nothing(bench: FakeBench, tmp_path: Path) -> None:
    start(tmp_path / "run")
    bench.ran.clear()
    assert go_on(tmp_path / "run").status == "finished"
    assert bench.ran == []


def test_a_run_of_another_kind_of_experiment_cannot_be_resumed(bench: FakeBench, tmp_path: Path) -> None:
    start(tmp_path / "run")
    manifest_path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    manifest["experiment"]["threads"] = "several"
    manifest_path.write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"run/manifest\.json: threads: 'several' is not a whole number"):
        runner.reopen(tmp_path / "run")
    # The lock is given back.
    RunFolder.resume(tmp_path / "run").close()


def test_a_full_disk_inside_a_case_ends_the_run(bench: FakeBench, tmp_path: Path) -> None:
    path = tmp_path / "run"
    bench.acts[2] = raises(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(KvbenchError, match=f"the disk is full.*--resume {path}") as error:
        start(path)
    assert "\n" not in str(error.value)
    assert bench.ran == [1, 2]
    assert list(results(path)) == [1]
    assert RunFolder.open(path).manifest().status == "failed"


def test_a_full_disk_under_the_journal_ends_the_run(
    bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = RunFolder.append

    def full(self: RunFolder, result: CaseResult) -> None:
        if result.case.elements == 2:
            raise KvbenchError("the disk is full: cannot write cases.jsonl")
        append(self, result)

    monkeypatch.setattr(RunFolder, "append", full)
    with pytest.raises(KvbenchError, match="the disk is full"):
        start(tmp_path / "run")
    assert bench.ran == [1, 2]
    assert RunFolder.open(tmp_path / "run").manifest().status == "failed"


def test_a_full_disk_under_the_tables_says_that_the_cases_are_kept(
    bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    really_replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.suffix == ".csv":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(KvbenchError, match=r"disk is full: .*cases are kept; make room .*: kvbench report ") as told:
        start(path)
    assert str(told.value).endswith(str(path))
    manifest = RunFolder.open(path).manifest()
    assert (manifest.status, manifest.cases_done) == ("finished", len(RunFolder.open(path).results()))


def test_a_log_that_cannot_be_written_stops_nothing(bench: FakeBench, tmp_path: Path) -> None:
    path = tmp_path / "run"

    def fails() -> Outcome:
        (path / "errors.log").mkdir()
        raise ValueError("bad")

    bench.acts[1] = fails
    assert start(path).cases_done == 2


def test_a_failure_to_draw_is_a_note_and_not_a_loss(
    bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(folder: RunFolder) -> list[Path]:
        assert folder.manifest().status == "finished"
        assert (folder.path / "summary.csv").exists()
        raise ValueError("no fonts")

    monkeypatch.setattr(runner.report, "draw", draw)
    path = tmp_path / "run"
    manifest = start(path)
    assert manifest.status == "finished"
    assert manifest.notes[-1] == f"not drawn (ValueError: no fonts); `kvbench report {path}` tries again"
    assert RunFolder.open(path).manifest() == manifest
    assert "no fonts" in (path / "errors.log").read_text()


def test_ctrl_c_while_drawing_loses_nothing(bench: FakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(folder: RunFolder) -> list[Path]:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.report, "draw", draw)
    with pytest.raises(KeyboardInterrupt, match=f"kvbench report {tmp_path / 'run'}"):
        start(tmp_path / "run")
    assert RunFolder.open(tmp_path / "run").manifest().status == "finished"


def test_a_folder_that_holds_a_run_is_refused(bench: FakeBench, tmp_path: Path) -> None:
    start(tmp_path / "run")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "run").iterdir())
    with pytest.raises(UsageError, match="already holds a run"):
        start(tmp_path / "run")
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "run").iterdir()) == before


def test_every_command_of_an_experiment_has_a_bench() -> None:
    commands = Experiment.model_json_schema()["properties"]["command"]["enum"]
    assert set(runner.BENCHES) == set(commands)


def test_a_real_sweep_from_end_to_end(tmp_path: Path) -> None:
    experiment = build_experiment(
        "sweep", {"source": "gaussian", "tensor_size": 2048, "error_bound": [1e-1, 1e-2], "iterations": 2}
    )
    preparation = runner.prepare(experiment)
    with runner.create(experiment, preparation, path=tmp_path / "run", argv=["kvbench"]) as folder:
        manifest = runner.run(experiment, preparation, folder)
    assert (manifest.status, manifest.cases_done, manifest.cases_failed) == ("finished", 4, 0)
    assert manifest.notes == list(preparation.notes)  # nothing went wrong on the way
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"manifest.json", "cases.jsonl", "summary.csv", "measurements.parquet", "report.html", "plots"} <= written
