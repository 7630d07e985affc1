"""Owns the reading of a report that nsys exported to SQLite: kvbench's own ranges, and what ran on the GPU."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kvbench.errors import KvbenchError
from kvbench.measure.nvtx import DOMAIN

# ENUM_NSYS_EVENT_TYPE of the export: NvtxPushPopRange, NvtxStartEndRange, NvtxDomainCreate.
_RANGES = (59, 60)
_DOMAIN_CREATE = 75
# A globalTid is 8 bits of hardware, 8 of the machine, 24 of process and 24 of thread, see the export's documentation.
_A_PROCESS = 1 << 24
# ENUM_CUDA_MEMCPY_OPER of the export, unified memory's own kinds with the others; all further kinds are `other`.
_DIRECTIONS = {1: "h2d", 2: "d2h", 8: "d2d", 11: "h2d", 12: "d2h", 13: "d2d"}
GRAPH = "CUDA graph"  # the name of a graph that was traced as a whole


@dataclass(frozen=True)
class Trace:
    """What a report holds of one run; times in ns of the report's clock, one row an event.

    `ranges`: text, start, end. `kernels`: name (short), full_name, start, end. `copies`: direction (h2d, d2h, d2d,
    other), bytes, start, end. `memsets`: start, end. `has_gpu`: does it hold any GPU work?
    """

    ranges: pd.DataFrame
    kernels: pd.DataFrame
    copies: pd.DataFrame
    memsets: pd.DataFrame

    @property
    def has_gpu(self) -> bool:
        return not (self.kernels.empty and self.copies.empty and self.memsets.empty)


def read_trace(path: Path) -> Trace:
    """Read an export of nsys. Raises KvbenchError where it is not one, or a table lacks a column."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return _Export(database).trace()
    except (sqlite3.Error, pd.errors.DatabaseError, KeyError) as error:
        raise KvbenchError(
            f"{path} is not what nsys exports, or of a version that kvbench cannot read: {error}"
        ) from error


class _Export:
    """One open export. nsys leaves out tables that would be empty, and columns that its version does not know."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        self._tables = {str(name) for (name,) in names}
        self._strings = (
            pd.Series(dtype=object)
            if "StringIds" not in self._tables
            else self._table("StringIds").set_index("id").value
        )

    def trace(self) -> Trace:
        return Trace(self._ranges(), self._kernels(), self._copies(), self._events("CUPTI_ACTIVITY_KIND_MEMSET"))

    def _table(self, name: str) -> pd.DataFrame:
        if name not in self._tables:
            return pd.DataFrame()
        return pd.read_sql_query(f'SELECT * FROM "{name}"', self._database)  # noqa: S608  names are our own

    def _texts(self, table: pd.DataFrame) -> pd.Series[str]:
        """Of NVTX events: the text itself, or the one registered under its number."""
        texts = table["text"].astype(object) if "text" in table else pd.Series(None, index=table.index, dtype=object)
        if "textId" in table:
            texts = texts.where(texts.notna(), table["textId"].map(self._strings))
        return texts

    def _ranges(self) -> pd.DataFrame:
        """Those of kvbench's domain that ended. A domain's number is its process's own."""
        events = self._table("NVTX_EVENTS")
        if events.empty:
            return pd.DataFrame({"text": [], "start": [], "end": []})
        events["text"] = self._texts(events)
        events["process"] = events["globalTid"].astype("int64") // _A_PROCESS
        made = events[(events["eventType"] == _DOMAIN_CREATE) & (events["text"] == DOMAIN)]
        ours = pd.MultiIndex.from_frame(made[["process", "domainId"]])
        wanted = events["eventType"].isin(_RANGES) & events["end"].notna() & events["text"].notna()
        wanted &= pd.MultiIndex.from_frame(events[["process", "domainId"]]).isin(ours)
        found = events.loc[wanted, ["text", "start", "end"]].astype({"start": "int64", "end": "int64"})
        return found.sort_values("start", ignore_index=True)

    def _kernels(self) -> pd.DataFrame:
        kernels = self._table("CUPTI_ACTIVITY_KIND_KERNEL")
        graphs = self._events("CUPTI_ACTIVITY_KIND_GRAPH_TRACE").assign(name=GRAPH, full_name=GRAPH)
        if kernels.empty:
            return graphs
        named = pd.DataFrame(
            {
                "start": kernels["start"],
                "end": kernels["end"],
                "name": kernels["shortName"].map(self._strings),
                "full_name": kernels["demangledName"].map(self._strings),
            }
        )
        return named if graphs.empty else pd.concat([named, graphs], ignore_index=True)

    def _copies(self) -> pd.DataFrame:
        copies = self._table("CUPTI_ACTIVITY_KIND_MEMCPY")
        if copies.empty:
            return pd.DataFrame({"start": [], "end": [], "bytes": [], "direction": []})
        direction = copies["copyKind"].map(_DIRECTIONS).fillna("other")
        return copies[["start", "end", "bytes"]].assign(direction=direction)

    def _events(self, name: str) -> pd.DataFrame:
        table = self._table(name)
        return pd.DataFrame({"start": [], "end": []}) if table.empty else table[["start", "end"]]
