"""Owns the two sides of a comparison: the runs of each, and which of their cases it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvbench.errors import UsageError
from kvbench.record.axes import AXES, axis_values
from kvbench.record.closing import require_whole
from kvbench.record.schema import CaseResult, RunManifest
from kvbench.record.store import RunFolder

CHOOSABLE = [name for name in AXES if name not in {"run", "case", "codec_params", "shape", "elements", "raw_bytes"}]


@dataclass(frozen=True)
class Run:
    """One run as it was recorded."""

    path: Path
    manifest: RunManifest
    results: Sequence[CaseResult]

    @classmethod
    def read(cls, path: Path) -> Run:
        """Raises UsageError for what is no run, holds no case, or lacks some that it once held."""
        folder = RunFolder.open(path)
        require_whole(folder)
        results = folder.results()
        if not results:
            raise UsageError(f"run {folder.path} holds no finished case; compare one that does")
        return cls(folder.path, folder.manifest(), results)


@dataclass(frozen=True)
class Side:
    """Runs of the same code under the same conditions; `chosen` maps an axis to the values wanted of it, as text."""

    name: str  # A or B
    runs: Sequence[Run]
    chosen: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def results(self, run: Run) -> list[CaseResult]:
        """The cases of one of the side's runs that were chosen."""
        return [result for result in run.results if self._takes(result)]

    def require_results(self) -> None:
        """Raises UsageError where the choice leaves nothing."""
        if not any(self.results(run) for run in self.runs):
            asked = " ".join(f"{axis}={'|'.join(sorted(values))}" for axis, values in self.chosen.items())
            raise UsageError(
                f"--{self.name.lower()} {asked}: no case of {', '.join(str(run.path) for run in self.runs)} is like "
                "that; `axis=value` takes the values of summary.csv"
            )

    def _takes(self, result: CaseResult) -> bool:
        values = axis_values(result, "")
        return all(_text(values[axis]) in wanted for axis, wanted in self.chosen.items())


def require_distinct(a: Side, b: Side) -> None:
    """Raises UsageError where a run is given twice, by folder or by id: it would pass for a repeat of itself."""
    seen: dict[str, str] = {}
    for side in (a, b):
        for run in side.runs:
            for name in (f"folder {run.path.resolve()}", f"id {run.manifest.run_id}"):
                if name in seen:
                    raise UsageError(
                        f"run {run.path} of {side.name} is given twice, in {seen[name]} already: a run is no repeat of "
                        "itself; give runs measured one after another, and compare codecs within one run with --ab"
                    )
                seen[name] = side.name


def parse_chosen(option: str, words: Iterable[str]) -> dict[str, frozenset[str]]:
    """`axis=value` words as a map; an axis given twice takes either value. Raises UsageError naming the bad word."""
    chosen: dict[str, frozenset[str]] = {}
    for word in words:
        axis, equals, value = word.partition("=")
        if not equals or not value:
            raise UsageError(f"{option} {word}: give axis=value, such as codec=cuszp")
        if axis not in CHOOSABLE:
            raise UsageError(f"{option} {word}: no axis {axis!r}; use one of {', '.join(CHOOSABLE)}")
        chosen[axis] = chosen.get(axis, frozenset()) | {_same_number(value)}
    return chosen


def _text(value: object) -> str:
    return "" if value is None else _same_number(str(value))


def _same_number(text: str) -> str:
    """1e-2 and 0.01 are one value."""
    try:
        return repr(float(text))
    except ValueError:
        return text
