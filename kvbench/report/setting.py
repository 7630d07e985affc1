"""Owns a setting: one way to compress over all its tensors together, and whether it pays over a link."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from kvbench.bound import Bound
from kvbench.record.schema import CaseResult, Link, RunManifest
from kvbench.record.trust import Doubt, doubt
from kvbench.report.scored import bound_words
from kvbench.report.series import line_labels, sizes_vary
from kvbench.report.totals import Total, spread, total


@dataclass(frozen=True)
class Setting:
    """One way to compress, over all its tensors together."""

    label: str
    bound: Bound | None
    tensors: int
    of_tensors: int  # that any setting of the run was tried on: of the same source, and size where sizes vary
    total: Total
    nrmse: float | None  # arithmetic mean over those of the tensors that have one
    nrmse_tensors: int
    doubts: tuple[Doubt, ...]  # about the times of its calls; with any, they decide nothing

    @property
    def whole(self) -> bool:
        return self.tensors == self.of_tensors

    def __str__(self) -> str:
        words = self.label if self.bound is None else f"{self.label} at {bound_words(self.bound)}"
        return f"{words}{self.share}"

    @property
    def share(self) -> str:
        """`, 1 of 2 tensors`; nothing for all of them."""
        return "" if self.whole else f", {self.tensors} of {self.of_tensors} tensors"


def settings(manifest: RunManifest, results: Sequence[CaseResult]) -> list[Setting]:
    """Every setting whose cases all ended well and were timed, in the order of the run.

    A case that was timed in turn with several rivals counts once, as it was beside the first of them.
    """
    ran = [result for result in results if result.status != "skipped"]
    labels = line_labels(manifest, ran)
    groups: dict[tuple[str, Bound | None], list[CaseResult]] = defaultdict(list)
    tried: dict[tuple[str, int | None], set[str]] = defaultdict(set)
    for result in ran:
        # A profile has bounds of its own for every tensor, and is one setting all the same.
        bound = None if result.case.profile is not None else result.case.bound
        groups[labels[result.case_id], bound].append(result)
        tried[_family(manifest, result)].add(_tensor(result))
    found = []
    for (label, bound), members in groups.items():
        once = _once(members)
        sums = total(once)
        if sums is not None and all(member.status == "ok" for member in members):
            of_tensors = len(set().union(*(tried[_family(manifest, member)] for member in once)))
            found.append(_setting(label, bound, once, sums, of_tensors))
    return found


def pays(setting: Setting, link: Link) -> Literal["yes", "no", "unclear"]:
    """Is it quicker than sending raw over this link, whatever end of their intervals the times lie at?

    Unclear too where a time of its calls may decide nothing, for `doubts`.
    """
    if setting.doubts:
        return "unclear"
    raw, speed = setting.total.raw_gbps(link), setting.total.effective_gbps(link)
    if speed.low > raw:
        return "yes"
    return "unclear" if speed.high > raw else "no"


def doubt_words(doubts: Iterable[Doubt]) -> str:
    """`of too few samples and with the GPU's clock held down`, each once."""
    return " and ".join(dict.fromkeys(one.words for one in doubts))


def _setting(label: str, bound: Bound | None, once: Sequence[CaseResult], sums: Total, of_tensors: int) -> Setting:
    errors = [value for result in once if (value := result.metrics.get("nrmse")) is not None]
    mean = spread(errors)
    calls = [result.phases[name] for result in once for name in ("encode_call", "decode_call")]
    return Setting(
        label=label,
        bound=bound,
        tensors=len(set(map(_tensor, once))),
        of_tensors=of_tensors,
        total=sums,
        nrmse=None if mean is None else mean.value,
        nrmse_tensors=len(errors),
        doubts=tuple(dict.fromkeys(found for timed in calls if (found := doubt(timed)) is not None)),
    )


def _once(results: Sequence[CaseResult]) -> list[CaseResult]:
    first: dict[str, CaseResult] = {}
    for result in results:
        first.setdefault(result.case.model_copy(update={"rival": None}).id, result)
    return list(first.values())


def _tensor(result: CaseResult) -> str:
    return "" if result.case.tensor is None else result.case.tensor.model_dump_json()


def _family(manifest: RunManifest, result: CaseResult) -> tuple[str, int | None]:
    """What tensors of one setting share: their source, and their size where the run asked for several."""
    source = "" if result.case.tensor is None else result.case.tensor.source
    return source, result.case.elements if sizes_vary(manifest) else None
