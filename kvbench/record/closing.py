"""Owns how a run ends: the last counts in its manifest, whether they still hold, and what is said of a bad end."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kvbench.errors import KvbenchError, UsageError
from kvbench.record.files import os_reason
from kvbench.record.folder import JOURNAL
from kvbench.record.schema import CaseResult, RunManifest, RunStatus
from kvbench.record.store import RunFolder, utc_now


def close_run(folder: RunFolder, manifest: RunManifest, status: RunStatus) -> None:
    """Count what the journal holds into `manifest` and write it. Raises KvbenchError when the disk refuses."""
    results = folder.results()
    manifest.status, manifest.ended_at = status, utc_now()
    _count(manifest, results)
    manifest.reasons = dict(Counter(result.reason for result in results if result.reason is not None))
    folder.write_manifest(manifest)


def require_whole(folder: RunFolder) -> None:
    """Raise UsageError where the journal lacks cases that the manifest of an ended run has counted.

    A run that is going on, or was killed, has old counts or none and passes.
    """
    manifest = folder.manifest()
    if manifest.status == "running":
        return
    recorded = _by_end(manifest)
    found = manifest.model_copy()
    _count(found, folder.results())
    kept = sum(min(count, _by_end(found)[end]) for end, count in recorded.items())
    if kept < sum(recorded.values()):
        raise UsageError(
            f"{folder.path / JOURNAL} holds {kept} of {sum(recorded.values())} recorded cases; restore it, or measure "
            f"the others again with: kvbench {manifest.command} --resume {shlex.quote(str(folder.path))}"
        )


def _count(manifest: RunManifest, results: Sequence[CaseResult]) -> None:
    counts = Counter(result.status for result in results)
    manifest.cases_done = counts["ok"] + counts["invalid"]
    manifest.cases_failed, manifest.cases_invalid = counts["failed"], counts["invalid"]
    manifest.cases_skipped = counts["skipped"]


def _by_end(manifest: RunManifest) -> dict[str, int]:
    """How many cases ended in each way, every case in one of them."""
    return {
        "ok": manifest.cases_done - manifest.cases_invalid,
        "invalid": manifest.cases_invalid,
        "failed": manifest.cases_failed,
        "skipped": manifest.cases_skipped,
    }


@contextmanager
def remade_later(folder: RunFolder) -> Iterator[None]:
    """Say of a refusal of the disk, while tables and page are made, that no case is lost and how to go on.

    Raises KvbenchError; what the operating system has no part in passes as it is.
    """
    try:
        yield
    except (KvbenchError, OSError) as error:
        if not (isinstance(error, OSError) or isinstance(error.__cause__, OSError)):
            raise
        problem = os_reason(error) if isinstance(error, OSError) else str(error)
        raise KvbenchError(
            f"{problem}; all finished cases are kept; make room or give access, then go on with: "
            f"kvbench report {shlex.quote(str(folder.path))}"
        ) from error


@contextmanager
def resumable(folder: RunFolder) -> Iterator[None]:
    """Close the run as `interrupted` on Ctrl-C, which goes on up with a text that says how to resume.

    A finished run stays finished. An interrupt that has a text was dealt with further in, and passes.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if str(interrupt):
            raise
        manifest, path = folder.manifest(), shlex.quote(str(folder.path))
        if manifest.status == "finished":
            raise KeyboardInterrupt(
                f"interrupted after the last case; all are kept; draw with: kvbench report {path}"
            ) from None
        close_run(folder, manifest, "interrupted")
        raise KeyboardInterrupt(
            f"interrupted; {manifest.cases_done} of {manifest.cases_planned} cases are kept; "
            f"go on with: kvbench {manifest.command} --resume {path}"
        ) from None
