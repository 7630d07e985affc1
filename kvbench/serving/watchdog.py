"""Owns the end of a process tree: a guard that starts a program and ends all of it when its own stdin closes.

Run as `python -m kvbench.serving.watchdog LOG -- PROGRAM ARGS...`. Whatever ends the process that holds the other end
of the pipe closes it, kill -9 too. Until then a line `N` on the pipe sets the seconds that the program is given to end
by itself once the pipe closes.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

# From the pipe's end: an interrupt, so that a profiler writes; a request to end; then force. 15 s together at most.
DEFAULT_GRACE_S = 8.0
TERMINATE_S = 3.0
KILL_S = 2.0
_LOOK_EVERY_S = 0.1
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2): orphans of the tree become children of this process
_SIGNALLED = 128  # exit code of a shell for a program that a signal ended


def main(arguments: Sequence[str]) -> int:
    """Start, watch and end the program; its exit code, 128 + N after signal N."""
    log_path, separator, *command = arguments
    assert separator == "--"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what ends the measuring process ends the pipe
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
    with Path(log_path).open("ab") as log:
        try:
            program = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_usual_signals,
            )
        except OSError as error:
            log.write(f"{command[0]}: {error.strerror}\n".encode())
            return _SIGNALLED - 1
    grace_s = _watch(program)
    _end(program, grace_s)
    code = program.wait()
    return code if code >= 0 else _SIGNALLED - code


def _usual_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _watch(program: subprocess.Popen[bytes]) -> float:
    """Until the pipe closes or the program ends; gives the seconds it may take to end."""
    grace_s, said = DEFAULT_GRACE_S, b""
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while program.poll() is None:
            if not selector.select(_LOOK_EVERY_S):
                continue
            more = os.read(sys.stdin.fileno(), 4096)
            if not more:
                break
            said += more
    with suppress(ValueError, IndexError):
        grace_s = float(said.split()[-1])
    return grace_s


def _end(program: subprocess.Popen[bytes], grace_s: float) -> None:
    """Nothing of the tree is left after this, whatever sessions its members have made."""
    if program.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            program.wait(grace_s)  # what it leaves behind is not waited for
    for number, within_s in ((signal.SIGTERM, TERMINATE_S), (signal.SIGKILL, KILL_S)):
        for process in _left():
            with suppress(psutil.Error):
                process.send_signal(number)
        if _gone(program, within_s):
            return


def _left() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]


def _gone(program: subprocess.Popen[bytes], within_s: float) -> bool:
    until_s = time.monotonic() + within_s
    while True:
        program.poll()
        with suppress(psutil.Error):
            if not _left():
                return True
        if time.monotonic() > until_s:
            return False
        time.sleep(_LOOK_EVERY_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
