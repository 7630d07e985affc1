"""Owns the run folder: its manifest, and the journal of finished cases that survives a crash."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kvbench.errors import KvbenchError, UsageError
from kvbench.record.files import os_reason, write_whole
from kvbench.record.folder import JOURNAL, MANIFEST, holds_a_run, locked_journal, make_folder, not_writable, unmake
from kvbench.record.parse import NotThisKindError, is_json, parse_record
from kvbench.record.schema import CaseResult, Link, RunManifest

RESULTS = Path("results")


class RunFolder:
    """One run on disk. `create` and `resume` hold the journal open and locked; `open` only reads.

    The journal `cases.jsonl` takes one strict-JSON line a finished case, on disk before `append` returns. It is only
    ever appended to, so a crash can tear no more than its last line.
    """

    def __init__(self, path: Path, journal: int | None = None) -> None:
        self.path = path
        self._journal = journal  # file descriptor, locked; None when only reading

    @classmethod
    def create(
        cls,
        path: Path | None,
        command: str,
        argv: Sequence[str],
        *,
        experiment: Mapping[str, Any],
        seed: int = 0,
        host: Mapping[str, Any] | None = None,
        link: Link | None = None,
        notes: Sequence[str] = (),
        cases_planned: int = 0,
    ) -> RunFolder:
        """Make the folder (`path` exactly, or `results/<run id>` here), lock it, write the manifest as `running`.

        Raises UsageError when `path` holds a run, holds anything else, or cannot be written.
        """
        manifest = RunManifest(
            run_id=new_run_id(command),
            command=command,
            argv=list(argv),
            experiment=dict(experiment),
            seed=seed,
            started_at=utc_now(),
            host=dict(host or {}),
            link=link,
            notes=list(notes),
            cases_planned=cases_planned,
        )
        return cls._begun(RESULTS / manifest.run_id if path is None else path, manifest)

    @classmethod
    def _begun(cls, target: Path, manifest: RunManifest) -> RunFolder:
        """The folder at `target`, new, locked and with this manifest; or nothing at all. Raises like `create`."""
        made = make_folder(target)
        folder = cls(target)
        try:
            folder._journal = locked_journal(target, os.O_CREAT | os.O_EXCL)
            folder.write_manifest(manifest)
        except FileExistsError:
            raise UsageError(holds_a_run(target)) from None
        except BaseException as error:  # an interrupt too: half a run could be neither resumed nor started again
            folder.close()
            unmake(target, made)
            if isinstance(error, OSError):
                raise UsageError(not_writable(target, error)) from None
            raise
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run for reading: a folder, or the name of one under `results/`. Raises UsageError when it is none."""
        for candidate in (path, RESULTS / path):
            if (candidate / MANIFEST).is_file():
                return cls(candidate)
        if path.is_dir():
            raise UsageError(f"{path} is no run: it has no {MANIFEST}; give a folder that a kvbench command made")
        raise UsageError(f"no run at {path}; give a run folder such as {RESULTS}/<run id>")

    @classmethod
    def resume(cls, path: Path) -> RunFolder:
        """A run to go on with: locked, and cut back to its last whole line if a crash tore the journal.

        Raises UsageError when it is no run or cannot be written, or when another process is writing it.
        """
        found = cls.open(path).path
        try:
            journal = locked_journal(found, os.O_CREAT)
        except OSError as error:
            raise UsageError(not_writable(found, error)) from None
        folder = cls(found, journal)
        try:
            whole_bytes = folder._read_journal()[1]
        except BaseException:
            folder.close()
            raise
        os.ftruncate(journal, whole_bytes)
        return folder

    def append(self, result: CaseResult) -> None:
        """Add a finished case; it is on disk when this returns.

        Raises KvbenchError when the disk is full or fails, with every earlier line kept; ValueError when the result
        holds a number that strict JSON has not (NaN, infinities).
        """
        if self._journal is None:
            raise RuntimeError(f"{self.path} was opened for reading")
        # Not pydantic's own JSON, which would quietly make null of NaN and infinities.
        line = json.dumps(result.model_dump(), allow_nan=False, separators=(",", ":"), default=str).encode() + b"\n"
        before_bytes = os.fstat(self._journal).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._journal, rest) :]
            os.fsync(self._journal)
        except BaseException as error:
            with suppress(OSError):
                os.ftruncate(self._journal, before_bytes)
            if not isinstance(error, OSError):
                raise
            raise KvbenchError(
                f"{os_reason(error)}: cannot write {self.path / JOURNAL}; finished cases are kept; "
                f"make room and go on with --resume {shlex.quote(str(self.path))}"
            ) from error

    def results(self) -> list[CaseResult]:
        """The last result of every case, in the order in which the cases first ended. A torn last line is left out.

        Raises UsageError for a line that is damaged elsewhere, or written by a newer kvbench.
        """
        return list({result.case_id: result for result in self._read_journal()[0]}.values())

    def manifest(self) -> RunManifest:
        """Raises UsageError when the manifest cannot be read, or was written by a newer kvbench."""
        path = self.path / MANIFEST
        try:
            return parse_record(path.read_bytes(), RunManifest, str(path))
        except OSError as error:
            raise UsageError(f"{path}: {os_reason(error)}; give a run folder") from None

    def write_manifest(self, manifest: RunManifest) -> None:
        """Replace manifest.json as a whole. Raises like `append`, with the old one kept."""
        text = json.dumps(manifest.model_dump(), allow_nan=False, indent=2, ensure_ascii=False, default=str)
        write_whole(self.path / MANIFEST, text + "\n")

    def close(self) -> None:
        """Give up the lock. Reading goes on working; closing twice is fine."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_journal(self) -> tuple[list[CaseResult], int]:
        """Every whole line's result, and the bytes those lines take."""
        path = self.path / JOURNAL
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            raise UsageError(f"{path}: {os_reason(error)}; make it readable") from None
        results: list[CaseResult] = []
        whole_bytes = 0
        lines = content.splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            last = number == len(lines)
            if last and not line.endswith(b"\n"):
                break
            try:
                results.append(parse_record(line, CaseResult, f"{path} line {number}"))
            except NotThisKindError:
                # A crash of the machine, unlike one of the process, may leave a full-length last line of zeros.
                if last and not is_json(line):
                    break
                raise
            whole_bytes += len(line)
        return results, whole_bytes


def new_run_id(command: str) -> str:
    """`<UTC time>-<command>-<short id>`: sorts by time, unique without asking anyone."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{command}-{secrets.token_hex(3)}"


def utc_now() -> str:
    """Now, as every time in a record is written: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
