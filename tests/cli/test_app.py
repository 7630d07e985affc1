"""Tests the program around the commands: discovery, help, exit codes and one-line errors."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer

from kvbench.cli import app
from kvbench.errors import KvbenchError, UnavailableError, UsageError


def program(*args: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m kvbench ARGS` (or Python `code`) in a process of its own, without colours."""
    import os

    command = [sys.executable, "-c", code, *args] if code else [sys.executable, "-m", "kvbench", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})


HEAVY = ("torch", "matplotlib", "pandas", "scipy", "numpy", "pyarrow", "transformers")
LIST_HEAVY = f"""
import sys
from kvbench.cli.app import run
code = run(sys.argv[1:])
print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules])
sys.exit(code)
"""


@pytest.mark.parametrize("args", [["--help"], ["sweep", "--help"], ["--version"], ["sweep", "--error-bound", "0"]])
def test_help_and_refusals_import_nothing_heavy(args: list[str]) -> None:
    done = program(*args, code=LIST_HEAVY, MPLBACKEND="TkAgg")
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_help_lists_every_command_with_its_summary() -> None:
    done = program("--help")
    assert done.returncode == 0
    for name in ("baseline", "capture", "codecs", "compress", "decompress", "env", "report", "sweep"):
        [line] = [line for line in done.stdout.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 2
        assert "cannot be used" not in line


def test_no_arguments_is_help() -> None:
    assert program().stdout == program("--help").stdout


def test_version() -> None:
    done = program("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("kvbench 0.")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["swep"], ["no command 'swep'", "sweep"]),
        (["--colour"], ["--colour"]),
        (["sweep", "--colour", "red"], ["--colour"]),
        (["sweep", "stray"], ["stray"]),
        (["sweep", "--error-bound"], ["--error-bound needs a value"]),
        (["sweep", "--error-bound", "-1"], ["--error-bound", "-1 is not a finite number above 0"]),
        (["sweep", "--error-bound", "1e-3", "nan"], ["nan is not a finite number above 0"]),
        (["sweep", "--seed", "--dry-run"], ["--seed needs a value"]),
        (["baseline", "--mode", "plain"], ["--mode"]),
    ],
)
def test_bad_command_lines(args: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(args) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("kvbench: error: ")
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("bad value 7"), 2),
        (UnavailableError("no GPU"), 3),
        (KvbenchError("the disk is full"), 1),
        (RuntimeError("boom\nover two lines"), 1),
        (OSError(28, "No space left on device", "x.json"), 1),
        (KeyboardInterrupt(), 130),
        (typer.Exit(5), 5),
    ],
)
def test_every_error_is_one_line_and_a_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(app, "entry_points", lambda group: [FakeEntry(fail)])
    assert app.run(["fail"]) == code
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == (0 if isinstance(error, typer.Exit) else 1)
    assert isinstance(error, typer.Exit) or len(printed) > len("kvbench: error: ")
    assert "Traceback" not in printed


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(app, "entry_points", lambda group: [FakeEntry(fail)])
    monkeypatch.setenv("KVBENCH_DEBUG", "1")
    assert app.run(["fail"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_command_that_cannot_be_imported_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = EntryPoint("broken", "kvbench_no_such_module:command", app.COMMAND_GROUP)
    working = EntryPoint("sweep", "kvbench.cli.sweep:sweep", app.COMMAND_GROUP)
    monkeypatch.setattr(app, "entry_points", lambda group: [broken, working])
    assert app.run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert "cannot be used here: no module kvbench_no_such_module" in listed
    assert "Measure every combination" in listed
    assert app.run(["broken"]) == 3
    assert "command 'broken' cannot be used here: No module named" in capsys.readouterr().err


def test_a_reader_that_goes_away_early_is_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m kvbench --help | true", shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""


class FakeEntry:
    """An entry point whose object is at hand."""

    name = "fail"

    def __init__(self, function: object) -> None:
        self.function = function

    def load(self) -> object:
        return self.function


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_ends_nothing(tmp_path: Path, closed: str) -> None:
    number = {"stdout": 1, "stderr": 2}[closed]
    words = "compress --tensor-size 64 --tensor *.k --iterations 1 --output run"
    code = f"""
import os, subprocess, sys
words = {words!r}.split()
done = subprocess.run([sys.executable, "-m", "kvbench", *words], preexec_fn=lambda: os.close({number}))
sys.exit(done.returncode)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"status": "finished"' in (tmp_path / "run" / "manifest.json").read_text(encoding="utf-8")


def test_a_character_that_the_terminal_lacks_ends_nothing() -> None:
    done = program("codecs", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cuszp" in done.stdout
