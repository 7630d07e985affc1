"""Owns how a run ends: the last counts in its manifest, and what an interrupt leaves and says."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from kvbench.record.schema import RunManifest, RunStatus
from kvbench.record.store import RunFolder, utc_now


def close_run(folder: RunFolder, manifest: RunManifest, status: RunStatus) -> None:
    """Count what the journal holds into `manifest` and write it. Raises KvbenchError when the disk refuses."""
    results = folder.results()
    counts = Counter(result.status for result in results)
    manifest.status, manifest.ended_at = status, utc_now()
    manifest.cases_done = counts["ok"] + counts["invalid"]
    manifest.cases_failed, manifest.cases_invalid = counts["failed"], counts["invalid"]
    manifest.cases_skipped = counts["skipped"]
    manifest.reasons = dict(Counter(result.reason for result in results if result.reason is not None))
    folder.write_manifest(manifest)


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
