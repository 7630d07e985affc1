"""Owns SQLite files with the tables and columns that `nsys export` writes, made of events given in microseconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, rangeId INTEGER,
  category INTEGER, color INTEGER, text TEXT, globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER,
  domainId INTEGER, uint64Value INTEGER, int64Value INTEGER, doubleValue REAL, uint32Value INTEGER,
  int32Value INTEGER, floatValue REAL, jsonTextId INTEGER, jsonText TEXT);
"""
_KERNEL = """
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  contextId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER,
  demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL, mangledName INTEGER, launchType INTEGER,
  cacheConfig INTEGER, registersPerThread INTEGER NOT NULL, gridX INTEGER NOT NULL, gridY INTEGER NOT NULL,
  gridZ INTEGER NOT NULL, blockX INTEGER NOT NULL, blockY INTEGER NOT NULL, blockZ INTEGER NOT NULL,
  staticSharedMemory INTEGER NOT NULL, dynamicSharedMemory INTEGER NOT NULL, localMemoryPerThread INTEGER NOT NULL,
  localMemoryTotal INTEGER NOT NULL, gridId INTEGER NOT NULL, sharedMemoryExecuted INTEGER, graphNodeId INTEGER,
  sharedMemoryLimitConfig INTEGER);
"""
_MEMCPY = """
CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  contextId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER,
  bytes INTEGER NOT NULL, copyKind INTEGER NOT NULL, deprecatedSrcId INTEGER, srcKind INTEGER, dstKind INTEGER,
  srcDeviceId INTEGER, srcContextId INTEGER, dstDeviceId INTEGER, dstContextId INTEGER, migrationCause INTEGER,
  graphNodeId INTEGER, virtualAddress INTEGER);
"""
_MEMSET = """
CREATE TABLE CUPTI_ACTIVITY_KIND_MEMSET (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  contextId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER,
  value INTEGER NOT NULL, bytes INTEGER NOT NULL, graphNodeId INTEGER, memKind INTEGER);
"""
H2D, D2H, D2D, P2P = 1, 2, 8, 10
DOMAIN_ID = 1


class Range(NamedTuple):
    """An NVTX range; `end_us` None for one that was still open, `registered` as the nvtx package does."""

    text: str
    start_us: float
    end_us: float | None
    domain_id: int = DOMAIN_ID
    process: int = 7
    registered: bool = True


class Kernel(NamedTuple):
    name: str
    start_us: float
    end_us: float
    full_name: str = ""


class Copy(NamedTuple):
    kind: int
    copied: int
    start_us: float
    end_us: float


def write_export(
    path: Path,
    ranges: Iterable[Range] = (),
    kernels: Iterable[Kernel] = (),
    copies: Iterable[Copy] = (),
    memsets: Iterable[tuple[float, float]] = (),
    domains: Iterable[tuple[str, int, int]] = (("kvbench", DOMAIN_ID, 7),),
) -> Path:
    """Write the export. As nsys does, leave out the tables of what did not happen. A domain: name, id, process."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(_SCHEMA)
        strings = _Strings(database)
        for name, domain_id, process in domains:
            database.execute(
                "INSERT INTO NVTX_EVENTS (start, eventType, text, globalTid, domainId) VALUES (0, 75, ?, ?, ?)",
                (name, _tid(process), domain_id),
            )
        for one in ranges:
            text, text_id = (None, strings.number(one.text)) if one.registered else (one.text, None)
            database.execute(
                "INSERT INTO NVTX_EVENTS (start, end, eventType, text, textId, globalTid, domainId)"
                " VALUES (?, ?, 59, ?, ?, ?, ?)",
                (_ns(one.start_us), _ns(one.end_us), text, text_id, _tid(one.process), one.domain_id),
            )
        _gpu(database, strings, list(kernels), list(copies), list(memsets))
        database.commit()
    return path


def _gpu(
    database: sqlite3.Connection,
    strings: _Strings,
    kernels: list[Kernel],
    copies: list[Copy],
    memsets: list[tuple[float, float]],
) -> None:
    for made, statement in ((kernels, _KERNEL), (copies, _MEMCPY), (memsets, _MEMSET)):
        if made:
            database.executescript(statement)
    for kernel in kernels:
        names = (strings.number(kernel.full_name or f"void {kernel.name}<1>(int)"), strings.number(kernel.name))
        database.execute(
            f"INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, 0, 1, 7, 1, 1, ?, ?{', NULL' * 3}{', 1' * 12}"
            f"{', NULL' * 3})",
            (_ns(kernel.start_us), _ns(kernel.end_us), *names),
        )
    for copy in copies:
        database.execute(
            f"INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (?, ?, 0, 1, 7, 1, 1, ?, ?{', NULL' * 10})",
            (_ns(copy.start_us), _ns(copy.end_us), copy.copied, copy.kind),
        )
    for start_us, end_us in memsets:
        database.execute(
            "INSERT INTO CUPTI_ACTIVITY_KIND_MEMSET VALUES (?, ?, 0, 1, 7, 1, 1, 0, 64, NULL, NULL)",
            (_ns(start_us), _ns(end_us)),
        )


class _Strings:
    """The export's table of texts."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self._numbers) + 100
            self._database.execute("INSERT INTO StringIds VALUES (?, ?)", (self._numbers[text], text))
        return self._numbers[text]


def _ns(us: float | None) -> int | None:
    return None if us is None else round(us * 1000)


def _tid(process: int) -> int:
    return (1 << 48) + (process << 24) + 5
