"""Owns a program under the watchdog as the measuring process sees it: its start, its tree, its log, its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from kvbench.serving import watchdog

LOG_LINES = 12  # shown of a log where a program failed
_TAIL_BYTES = 1 << 20
_ERROR = re.compile(r"\b\w*(Error|Exception): ")
_FORCE_S = watchdog.TERMINATE_S + watchdog.KILL_S + 5


class Guarded:
    """A program in a session of its own. Its whole tree ends with `stop`, with the context, or with this process."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        grace_s: float = watchdog.DEFAULT_GRACE_S,
    ) -> None:
        """Start `command` with these variables added; what it writes goes to the end of `log`.

        It may take `grace_s` to end after an interrupt. A command that cannot be started ends at once, and the log
        says why.
        """
        self.log = log
        self._grace_s = grace_s
        log.touch()
        guard = [sys.executable, "-P", "-m", "kvbench.serving.watchdog", str(log), "--", *command]
        # A session of its own: an interrupt at the terminal reaches the measuring process alone, which ends the rest.
        self._guard = subprocess.Popen(  # noqa: S603
            guard, env={**os.environ, **environment}, stdin=subprocess.PIPE, start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + N after signal N."""
        return self._guard.poll()

    def wait(self, timeout_s: float) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired where it still runs after `timeout_s`."""
        return self._guard.wait(timeout_s)

    def tree(self) -> list[psutil.Process]:
        """Its processes, the guard left out."""
        with suppress(psutil.Error):
            return psutil.Process(self._guard.pid).children(recursive=True)
        return []

    def stop(self) -> None:
        """End it and all it started; nothing where it has ended."""
        pipe = self._guard.stdin
        assert pipe is not None
        if not pipe.closed:
            with suppress(OSError):
                pipe.write(f"{self._grace_s}\n".encode())
                pipe.flush()
            with suppress(OSError):
                pipe.close()
        left = self.tree()
        try:
            self._guard.wait(self._grace_s + _FORCE_S)
        except subprocess.TimeoutExpired:
            for process in [*left, *self.tree()]:
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            self._guard.kill()
            self._guard.wait()

    def last_lines(self) -> str:
        """The end of its log in one line, parted by ` | `; before it the first error, which is often the cause."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines[:-LOG_LINES] if _ERROR.search(line) and "WARNING" not in line]
        first = errors[:1]
        return " | ".join([*first, *lines[-LOG_LINES:]]) or "(empty)"
