"""Owns the exceptions a caller of kvbench may meet."""

from __future__ import annotations


class KvbenchError(Exception):
    """Base of every error kvbench raises on purpose; str() is one line fit for a user."""


class UsageError(KvbenchError, ValueError):
    """A value the user gave cannot be used; the text names the value and the remedy. CLI exit code 2."""


class UnavailableError(KvbenchError, RuntimeError):
    """Something this machine lacks (a GPU, an optional package); the text says what and how to get it. Exit code 3."""


class CaseSkipped(KvbenchError):  # noqa: N818  a skip is a result, not an error
    """A case that cannot apply here: recorded with status `skipped`."""

    def __init__(self, reason_code: str, reason: str) -> None:
        super().__init__(reason)
        self.reason_code = reason_code
        self.reason = reason


class CaseFailed(KvbenchError):  # noqa: N818  the name of the recorded status
    """A case that ran and did not do what was asked: recorded with status `failed`."""

    def __init__(self, reason_code: str, reason: str) -> None:
        super().__init__(reason)
        self.reason_code = reason_code
        self.reason = reason
