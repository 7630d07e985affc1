"""Owns the profiler as a process: a time limit on the whole, and an end that lets reports be written first."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from kvbench.measure.capture import RUN_FILE

# The measured process closes its run and ends its servers; then the profiler writes its report; then all is ended.
GRACE_S = 60.0
LAST_GRACE_S = 5.0


@dataclass(frozen=True)
class Ended:
    """How a profiler ended: its exit code, negative for a signal, and whether the time limit was why."""

    code: int
    timed_out: bool


def run_limited(
    command: Sequence[str], measured: Sequence[str], environment: Mapping[str, str], limit_s: float
) -> Ended:
    """Run `command`, a profiler around the command `measured`, with these variables added; stop it after `limit_s`.

    RUN_FILE must be among the variables. An interrupt stops it too and goes on up. Nothing it started is left behind.
    """
    # In a session of its own: an interrupt at the terminal reaches this process alone, which passes it on in order.
    process = subprocess.Popen(command, env={**os.environ, **environment}, start_new_session=True)  # noqa: S603
    mark = environment[RUN_FILE]
    try:
        return Ended(process.wait(limit_s), timed_out=False)
    except subprocess.TimeoutExpired:
        _stop(process, mark, measured)
        return Ended(process.wait(), timed_out=True)
    except BaseException:
        _stop(process, mark, measured)
        raise
    finally:
        for left in _marked(mark):
            with suppress(psutil.Error):
                left.kill()


def _stop(process: subprocess.Popen[bytes], mark: str, measured: Sequence[str]) -> None:
    """Ask the measured process to end, then the profiler; end by force what is still there."""
    for found in _marked(mark):
        with suppress(psutil.Error):
            if found.cmdline()[1:] == list(measured[1:]):
                found.send_signal(signal.SIGINT)
    if _ends(process, GRACE_S):
        return
    process.send_signal(signal.SIGINT)
    if _ends(process, GRACE_S):
        return
    process.terminate()
    if not _ends(process, LAST_GRACE_S):
        process.kill()


def _ends(process: subprocess.Popen[bytes], within_s: float) -> bool:
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _marked(mark: str) -> list[psutil.Process]:
    """Every process that inherited the variable RUN_FILE of this profile."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(RUN_FILE) == mark:
                found.append(process)
    return found
