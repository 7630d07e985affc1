"""Owns how finished cases become the rows of a printed table: which are put together, and what a row says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kvbench.record.schema import CaseResult
from kvbench.record.table import phase_gbps
from kvbench.report.totals import total

# Up to so many cases each has a row of its own; beyond, layers with equal settings share one.
MOST_SINGLE_ROWS = 24
NO_TRANSFORM = "none"
SHORT_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class Row:
    """Cases with equal settings that differ in their tensor only."""

    settings: dict[str, str | None]
    results: tuple[CaseResult, ...]

    @property
    def break_even_gbps(self) -> float | None:
        """Link speed below which compressing all cases, one after another, out and back is quicker than not."""
        whole = total(self.results)
        found = None if whole is None else whole.break_even_gbps()
        return None if found is None else found.value

    @property
    def raw_bytes(self) -> int:
        return sum(result.case.raw_bytes for result in self.results)

    @property
    def compressed_bytes(self) -> float | None:
        stored = [result.metrics.get("compressed_bytes") for result in self.results]
        return None if None in stored else sum(one for one in stored if one is not None)

    @property
    def ratio(self) -> float | None:
        return self.raw_bytes / self.compressed_bytes if self.compressed_bytes else None

    @property
    def bits_per_value(self) -> float | None:
        elements = sum(result.case.elements for result in self.results)
        return None if self.compressed_bytes is None or not elements else 8 * self.compressed_bytes / elements

    def gbps(self, phase: str) -> float | None:
        """Uncompressed bytes through a phase in GB/s (1e9 bytes); None where one case's time is not known."""
        timed = [result.phases.get(phase) for result in self.results]
        seconds = [one.median_s for one in timed if one is not None and phase_gbps(one) is not None and one.median_s]
        return self.raw_bytes / sum(seconds) / 1e9 if seconds and len(seconds) == len(timed) else None

    @property
    def worst_error_over_bound(self) -> float | None:
        quotients = []
        for result in self.results:
            errors = (result.metrics.get(name) for name in ("coded_max_abs_error", "max_abs_error"))
            error = next((value for value in errors if value is not None), None)
            bound = result.metrics.get("effective_error_bound")
            if error is not None and bound:
                quotients.append(error / bound)
        return max(quotients, default=None)

    @property
    def exact(self) -> int:
        """How many came back without any error, which has no PSNR."""
        return sum(result.metrics.get("max_abs_error") == 0 for result in self.results)

    @property
    def mean_psnr_db(self) -> float | None:
        """The mean over those that are not exact; None where one of them has no PSNR, or all are exact."""
        known = [value for result in self.results if (value := result.metrics.get("psnr_db")) is not None]
        return sum(known) / len(known) if known and len(known) + self.exact == len(self.results) else None


def settings(result: CaseResult) -> dict[str, str | None]:
    """What a user chose for a case, and the tensor it saw, as short texts."""
    case = result.case
    tensor = case.tensor
    params = {k: v for k, v in case.codec_params.items() if k not in {"mode", "bound_policy"}}
    codec = case.codec + "".join(f" {name}={value}" for name, value in params.items())
    chosen: dict[str, str | None] = {
        "codec": codec,
        "mode": case.mode,
        "bound kind": None if case.bound is None else case.bound.kind,
        "bound": None if case.bound is None else f"{case.bound.value:g}",
        "policy": case.codec_params.get("bound_policy"),
        "transforms": case.before_codec or NO_TRANSFORM,
    }
    if case.profile is not None:  # which may say something else of every tensor
        chosen = {"codec": f"profile {case.profile}"}
    return {
        "source": None if tensor is None else tensor.source.rpartition("/")[2],
        **chosen,
        "dtype": SHORT_DTYPES[case.dtype],
        "layout": case.layout,
        "elements": str(case.elements),
        "kv": None if tensor is None else tensor.kv,
        "layer": None if tensor is None or tensor.layer is None else str(tensor.layer),
        "tensor": None if tensor is None else tensor.tensor,
        "device": case.device,
        "threads": None if case.threads is None else str(case.threads or "all"),
    }


def rows_of(results: Sequence[CaseResult]) -> list[Row]:
    """One row a case, or one for all tensors with equal settings when there are many cases."""
    together: tuple[str, ...] = ("layer", "tensor") if len(results) > MOST_SINGLE_ROWS else ()
    return grouped(results, leaving_out=together)


def grouped(results: Sequence[CaseResult], leaving_out: Sequence[str]) -> list[Row]:
    """Rows of the cases that agree in every setting but those named, in the order of their first case."""
    groups: dict[tuple[str | None, ...], list[CaseResult]] = {}
    for result in results:
        key = tuple(value for name, value in settings(result).items() if name not in leaving_out)
        groups.setdefault(key, []).append(result)
    return [Row(_common(members), tuple(members)) for members in groups.values()]


def _common(results: Sequence[CaseResult]) -> dict[str, str | None]:
    first, *others = [settings(result) for result in results]
    return {name: value for name, value in first.items() if all(other[name] == value for other in others)}


def varying(rows: Sequence[Row]) -> list[str]:
    """The settings that tell the rows apart; the tensor's name only where K or V and the layer do not."""
    names = rows[0].settings if rows else {}
    found = [name for name in names if len({row.settings.get(name) for row in rows} - {None}) > 1]
    without_name = [name for name in found if name != "tensor"]
    told_apart = len({tuple(row.settings.get(name) for name in without_name) for row in rows}) == len(rows)
    return without_name if told_apart else found


def constant(rows: Sequence[Row]) -> Mapping[str, str]:
    """The settings that all rows share; that nothing was transformed goes without saying."""
    names = rows[0].settings if rows else {}
    values = {name: {row.settings.get(name) for row in rows} - {None} for name in names}
    shared = {name: str(next(iter(found))) for name, found in values.items() if len(found) == 1}
    return {name: value for name, value in shared.items() if (name, value) != ("transforms", NO_TRANSFORM)}
