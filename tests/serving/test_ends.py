"""Whatever ends kvbench, nothing that it started is left: interrupts, SIGTERM, kill -9, and programs that resist."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from served_stub import LINE, environment, left_of, wait_for

from kvbench.serving.guarded import Guarded

WITHIN_S = 15.0
# A program, deaf to requests or writing a report on an interrupt, and its child, deaf in a session of its own.
PROGRAM = """
import os, signal, subprocess, sys, time
file, deaf = sys.argv[1], sys.argv[2] == "deaf"
child = "import os,signal,sys,time; os.setsid(); [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; " \
    "open(sys.argv[1], 'a').write(f'{os.getpid()}\\\\n'); time.sleep(300)"
subprocess.Popen([sys.executable, "-S", "-c", child, file])
def write(*_):
    time.sleep(0.5)
    open(file + ".report", "w").write("written")
    sys.exit(0)
signal.signal(signal.SIGINT, signal.SIG_IGN if deaf else write)
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(file, "a").write(f"{os.getpid()}\\n")
print("started", flush=True)
time.sleep(300)
"""
HOLDER = """
import sys, time
from pathlib import Path
from kvbench.serving.guarded import Guarded
program, file, kind = sys.argv[1:]
guarded = Guarded([sys.executable, "-S", "-c", program, file, kind], {}, Path(file + ".log"), 1.0)
time.sleep(300)
"""


def _two(file: Path) -> bool:
    return file.exists() and len(file.read_text().split()) == 2


def test_the_end_of_a_context_ends_what_resists(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    with Guarded([sys.executable, "-S", "-c", PROGRAM, str(file), "deaf"], {}, tmp_path / "log", 0.2) as guarded:
        assert wait_for(lambda: _two(file), 20)
        assert len(guarded.tree()) == 2
        assert guarded.exit_code is None
    assert not left_of(file)
    assert guarded.exit_code == 128 + signal.SIGKILL
    assert guarded.last_lines() == "started"


@pytest.mark.parametrize("kind", ["deaf", "writes"])
def test_kill_9_of_the_holder_ends_all_and_lets_a_report_be_written(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "ids"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, PROGRAM, str(file), kind])
    assert wait_for(lambda: _two(file), 20)
    holder.kill()
    holder.wait()
    assert wait_for(lambda: not left_of(file), WITHIN_S)
    assert Path(f"{file}.report").exists() == (kind == "writes")


def test_a_program_that_cannot_start_says_so(tmp_path: Path) -> None:
    with Guarded(["/absent/program"], {}, tmp_path / "log") as guarded:
        assert guarded.wait(20) == 127
        assert guarded.last_lines() == "/absent/program: No such file or directory"


def test_the_first_error_of_a_long_log_is_told(tmp_path: Path) -> None:
    program = "print('ValueError: the cause'); [print('line', n) for n in range(30)]"
    with Guarded([sys.executable, "-S", "-c", program], {}, tmp_path / "log") as guarded:
        guarded.wait(20)
        lines = guarded.last_lines().split(" | ")
    assert lines[0] == "ValueError: the cause"
    assert lines[-1] == "line 29"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_end_of_kvbench_leaves_a_process(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "ids"
    program = subprocess.Popen(
        [sys.executable, "-m", "kvbench", *LINE],
        cwd=tmp_path,
        env={**environment("silent", file), "KVBENCH_DEBUG": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_for(lambda: _two(file), 120)
        started = psutil.Process(program.pid).children(recursive=True)
        os.kill(program.pid, number)
        assert wait_for(lambda: not left_of(file), WITHIN_S)
        program.wait(60)
    finally:
        program.kill()
    _, alive = psutil.wait_procs(started, 5)
    assert not alive
    if number != signal.SIGKILL:
        assert program.returncode == 130
        assert '"status": "interrupted"' in (tmp_path / "run" / "manifest.json").read_text()
