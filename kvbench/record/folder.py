"""Owns the making of a run's folder: its files' names, the lock on its journal, and what is said where that fails."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kvbench.errors import UsageError
from kvbench.record.files import os_reason

MANIFEST = "manifest.json"
JOURNAL = "cases.jsonl"


def run_around(path: Path) -> Path | None:
    """The run folder that `path` would lie in, however deep; None where it lies in none."""
    inside = path.parent.resolve()
    holders = (
        folder for folder in (inside, *inside.parents) if (folder / MANIFEST).exists() or (folder / JOURNAL).exists()
    )
    return next(holders, None)


def make_folder(target: Path) -> list[Path]:
    """Make `target`, which may exist if it is empty; give back the folders made, innermost first.

    Raises UsageError when it holds a run or anything else, or cannot be written.
    """
    missing = [folder for folder in (target, *target.parents) if not folder.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        inside = next(iter(sorted(target.iterdir())), None)
    except FileExistsError:
        raise UsageError(f"output {target} is a file; give a new folder, or a name ending in .json or .csv") from None
    except OSError as error:
        raise UsageError(not_writable(target, error)) from None
    if (target / MANIFEST).exists() or (target / JOURNAL).exists():
        raise UsageError(holds_a_run(target))
    if inside is not None:
        raise UsageError(f"output folder {target} is not empty (it holds {inside.name}); give a new or an empty one")
    return missing


def unmake(target: Path, made: Sequence[Path]) -> None:
    """Take away a run that has only begun, and the folders that `make_folder` made; what cannot go stays."""
    with suppress(OSError):
        for name in (MANIFEST, JOURNAL):
            (target / name).unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()


def locked_journal(folder: Path, flags: int) -> int:
    """The journal's file descriptor, opened to append with these flags too, and locked.

    Raises UsageError where another process holds it, OSError where it cannot be opened.
    """
    journal = os.open(folder / JOURNAL, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o666)
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(journal)
        raise UsageError(f"run {folder} is being written by another process; wait until that one ends") from None
    except OSError as error:
        # Some network file systems have no locks; there the user's care must do.
        if error.errno not in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}:
            os.close(journal)
            raise
    return journal


def holds_a_run(folder: Path) -> str:
    """What to say of a folder that is wanted for a new run and holds one."""
    resume = f"--resume {shlex.quote(str(folder))}"
    return f"output folder {folder} already holds a run; give another, or finish that run with {resume}"


def not_writable(folder: Path, error: OSError) -> str:
    """What to say of a folder that the system refuses."""
    return f"output folder {folder} cannot be written: {os_reason(error)}; give another with --output"
