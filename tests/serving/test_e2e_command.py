"""`kvbench e2e` against stand-ins: a whole run, what makes a start invalid, starts that fail, options, and resuming."""

from __future__ import annotations

import csv
import inspect
import json
import socket
from pathlib import Path

import pytest
from command_line import in_place
from served_stub import LINE, left_of, results, run, use_stub

from kvbench.bench import e2e as bench
from kvbench.cli.e2e import OPTIONS, TAKEN, e2e
from kvbench.cli.options import RUN_OPTIONS
from kvbench.config import E2E_FIELDS, E2E_TAKES, fields_of


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    use_stub(monkeypatch)


def test_it_takes_what_its_experiment_may_hold() -> None:
    own = inspect.signature(e2e).parameters.keys() - RUN_OPTIONS.keys()
    assert own - {"enable_compression", "disable_compression"} | {"trace", "command"} == fields_of("e2e")
    assert TAKEN | OPTIONS.keys() == own - {"workload", "enable_compression", "disable_compression"}
    assert fields_of("e2e") == E2E_TAKES | E2E_FIELDS


def test_a_run_from_line_to_page(capsys) -> None:
    assert run(LINE) == 0
    out = capsys.readouterr().out
    assert "B (cuszp plain rel 0.01) against A" in out
    assert "95 % interval" in out
    assert [(one["case"]["arm"], one["case"]["trial"]) for one in results()] == [
        ("A", 1), ("B", 1), ("B", 2), ("A", 2),
    ]  # fmt: skip
    a, b, *_ = results()
    assert a["status"] == b["status"] == "ok"
    assert a["metrics"]["ratio"] == 1
    assert b["metrics"]["ratio"] == 2
    assert b["metrics"]["loaded_bytes"] * 2 == a["metrics"]["loaded_bytes"] > 0
    assert a["metrics"]["cold_hit_rate"] == 0
    assert a["metrics"]["host_hit_rate"] == 1
    assert "same_answers" not in a["metrics"]  # it is what the others are compared with
    assert b["metrics"]["same_answers"] == b["metrics"]["same_texts"] == 1
    assert len(b["phases"]["ttft"]["samples_s"]) == 8
    with Path("run", "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == ["A", "B", "B", "A"]
    assert rows[0]["ttft_gbps"] == ""  # no bytes go with it
    page = Path("run", "report.html").read_text()
    assert "Servers side by side" in page
    assert "against A" in page


def test_warm_caches_are_told_and_count_for_nothing(monkeypatch, capsys) -> None:
    use_stub(monkeypatch, "warm")
    assert run([*LINE, "--arms", "A"]) == 0
    for one in results():
        assert (one["status"], one["reason_code"]) == ("invalid", "contaminated")
        assert one["metrics"]["cold_hit_rate"] == 1  # kept, so that it can be looked at
    assert "caches were warm in the cold pass" in capsys.readouterr().out


def test_requests_that_fail_count_for_nothing(monkeypatch) -> None:
    use_stub(monkeypatch, "fail")
    assert run([*LINE, "--arms", "A"]) == 0
    assert {one["reason_code"] for one in results()} == {"failed_requests"}
    assert "HTTP Error 500" in results()[0]["reason"]
    assert results()[0]["metrics"]["failed_requests"] == 8


def test_no_speed_up_is_told_where_an_arm_does_not_count(monkeypatch, capsys) -> None:
    use_stub(monkeypatch, "raw")
    assert run([*LINE, "--budget", "capacity"]) == 0
    out = capsys.readouterr().out
    assert "no speed-up is told, as 0 of 2 starts of B" in out
    assert "moved_raw" in out
    assert "times as long" not in out


def test_a_server_that_never_answers(monkeypatch, tmp_path: Path, capsys) -> None:
    use_stub(monkeypatch, "silent")
    monkeypatch.setenv("STUB_PROCESSES", str(tmp_path / "processes"))
    assert run([*LINE, "--ready-timeout", "3"]) == 1
    first, *others = results()
    assert (first["status"], first["reason_code"]) == ("failed", "server_timeout")
    assert not first["phases"]
    assert "server.log" in first["reason"]
    assert "stub server: starting" in first["reason"]
    assert {one["reason_code"] for one in others} == {"not_started"}  # not each waits again
    assert first["elapsed_s"] < 3 + 15
    assert not left_of(tmp_path / "processes")
    assert "stub server: starting" in capsys.readouterr().out


def test_a_server_that_ends_at_once(monkeypatch, capsys) -> None:
    use_stub(monkeypatch, "die")
    assert run(LINE) == 1
    assert results()[0]["reason_code"] == "server_ended"
    assert "cannot start, as told" in capsys.readouterr().out


def test_a_port_that_another_has_is_never_measured(capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert run([*LINE, "--port", str(port)]) == 2
    assert f"--port {port}: port in use" in capsys.readouterr().err
    assert not Path("run").exists()


def test_what_fails_is_started_again_by_resume(monkeypatch) -> None:
    use_stub(monkeypatch, "die")
    assert run([*LINE, "--arms", "A"]) == 1
    use_stub(monkeypatch)
    assert run(["e2e", "--resume", "run"]) == 0
    last = {one["case_id"]: one["status"] for one in results()}
    assert list(last.values()) == ["ok", "ok"]


def test_a_dry_run_shows_commands_variables_and_load(capsys) -> None:
    assert (
        run([*LINE, "--dry-run", "--server-prefix", "nsys profile -o {folder}/{arm}", "--request-rate", "2", "4"]) == 0
    )
    out = capsys.readouterr().out
    for words in (
        "nsys profile -o",
        "VLLM_SERVER_DEV_MODE=1",
        "-m vllm.entrypoints.openai.api_server",
        '"codec": "raw"',
        '"error_bound": 0.01',
        "8 cases to run",
        "documents 8",
        "requests 2/s, 4/s",
    ):
        assert words in out
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("options", "arms", "bound"),
    [
        ([], "ABBA", 1e-2),
        (["--enable-compression", "--compression-error-bound", "1e-3"], "BB", 1e-3),
        (["--disable-compression"], "AA", None),
    ],
)
def test_the_older_options(options: list[str], arms: str, bound: float | None) -> None:
    from kvbench import runner
    from kvbench.config import build_experiment

    seen: list[dict[str, object]] = []
    plain = runner.prepare

    def prepare(experiment):
        preparation = plain(experiment)
        seen.extend(case.model_dump() for case in preparation.plan.cases)
        return preparation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "prepare", prepare)
        assert run([*LINE, *options, "--dry-run"]) == 0
    assert "".join(str(case["arm"]) for case in seen) == arms
    bounds = [case["bound"]["value"] for case in seen if case["bound"]]
    assert set(bounds) == (set() if bound is None else {bound})
    assert build_experiment("e2e", {"model": "M"}).rounds == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--enable-compression", "--disable-compression"], "leave both out"),
        (["--enable-compression", "--arms", "A"], "keep one"),
        (["--arms", "X"], "'X' is not known"),
        (["--workload", "trace"], "--workload trace FILE"),
        (["--workload", "two-pass", "file"], "belongs to trace alone"),
        (["--workload", "trace", "absent.jsonl"], "absent.jsonl cannot be read"),
        (["--prefix-tokens", "4000"], "--prefix-tokens 4000"),
        (["--server-python", "absent-python"], "absent-python: no such program"),
        (["--server-args", "'open"], "--server-args"),
        (["--rounds", "0"], "--rounds"),
        (["--request-rate", "0"], "--request-rate"),
        (["--ready-timeout", "nan"], "--ready-timeout"),
        (["--port", "70000"], "--port"),
        (["--text", "absent.txt"], "absent.txt"),
    ],
)
def test_a_bad_value_is_one_line_and_no_folder(capsys, options: list[str], words: str) -> None:
    assert run(in_place(LINE, options)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert words in err
    assert not Path("run").exists()


def test_arms_that_need_a_gpu_are_skipped_on_the_cpu(capsys) -> None:
    assert run([*LINE, "--arms", "S", "A", "--dry-run"]) == 0
    assert "vLLM's own offloading needs CUDA" in capsys.readouterr().out


def test_another_workload_at_a_rate() -> None:
    # The stand-in's "GPU" keeps all, so nothing comes back from the host: told, not hidden.
    assert run([*LINE, "--arms", "A", "--workload", "multi-turn", "--request-rate", "200"]) == 0
    assert {(one["status"], one["reason_code"]) for one in results()} == {("invalid", "nothing_restored")}
    assert results()[0]["metrics"]["gpu_hit_rate"] == 1
    assert results()[0]["metrics"]["cold_hit_rate"] == 0


def test_a_trace_is_sent_as_it_is() -> None:
    lines = [{"prompt": "one two\n\nQ: a"}, {"prompt": "three", "output_tokens": 5}]
    Path("trace.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert run([*LINE, "--arms", "A", "--workload", "trace", "trace.jsonl"]) == 0
    sent = Path(next(Path("run", bench.SERVERS).glob("A-1-*")), "reuse.jsonl").read_text()
    assert sent.splitlines() == [
        '{"prompt": "one two\\n\\nQ: a", "output_tokens": 3}',
        '{"prompt": "three", "output_tokens": 5}',
    ]
