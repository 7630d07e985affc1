"""Owns writing a file whole or not at all, and the one line a user gets when the disk says no."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kvbench.errors import KvbenchError

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; when the block ends well, what was written there becomes `target`.

    The block must have written and closed the file. When it does not end well, `target` is as before and nothing is
    left beside it. Raises KvbenchError with one line for whatever the operating system refuses.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        raise KvbenchError(f"{os_reason(error)}: cannot write {target}, which is left as it was") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(target: Path, text: str) -> Path:
    """Write UTF-8 text as one file, replacing what is there. Raises KvbenchError like `replacing`."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return target


def os_reason(error: OSError) -> str:
    """A few words for a refusal of the operating system; a full disk and a full quota read alike."""
    return "the disk is full" if error.errno in _FULL else (error.strerror or str(error))
