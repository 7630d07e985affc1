"""Owns what `e2e` prints: the arms of every load side by side, and the plan of a dry run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kvbench.cli.tables import empty_table, number
from kvbench.record.schema import Case, CaseResult
from kvbench.report.served import arms_of
from kvbench.report.served_table import MEASURES, count_words, scaled

if TYPE_CHECKING:
    from rich.table import Table

_PRINTED = {"ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "requests_per_s", "good_requests_per_s", "stored_bytes"}
_PRINTED |= {"loaded_bytes", "ratio", "host_hit_rate", "same_answers"}
LEGEND = (
    "of the pass that asks for known prefixes again, means over the starts that count; MB = 1e6 bytes",
    "good: requests that kept --slo-ttft and --slo-tpot; same answers: to probes, as the first start of A gave them",
)


def served_table(results: Sequence[CaseResult]) -> tuple[Table | None, list[str]]:
    """A row an arm of every load, and notes under it; None where nothing ran."""
    arms = arms_of(results)
    if not arms:
        return None, []
    shown = [one for one in MEASURES if one[1] in _PRINTED and any(arm.middle(one[1]) is not None for arm in arms)]
    table = empty_table(["load", "arm", "starts"], [head for head, *_ in shown], [])
    for arm in arms:
        numbers = [number(scaled(arm, metric, factor)) for _, metric, factor, _ in shown]
        table.add_row(arm.load, arm.name, count_words(arm), *numbers)
    return table, list(LEGEND)


def plan_lines(cases: Sequence[Case]) -> list[str]:
    """The command, variables and load of each way in which a server would be started, once a way."""
    from kvbench.bench.e2e_cases import server_plan
    from kvbench.serving.server import KEY_VARIABLE

    lines: dict[str, None] = {}
    for case in cases:
        plan = server_plan(case, Path("RUN", "servers", f"{case.arm}-N"))
        asked = case.serving or {}
        variables = {**plan.environment, KEY_VARIABLE: "RANDOM"}
        words = " ".join(f"{name}={value}" for name, value in variables.items())
        port = asked.get("port") or "FREE_PORT"
        lines[f"arm {case.arm} {case.label.partition('(')[2].partition(')')[0]}, {case.budget}:"] = None
        lines[f"  {words} {shlex.join(plan.command(port))}"] = None
    asked = cases[0].serving or {} if cases else {}
    load = {name: asked.get(name) for name in _LOAD} if asked else {}
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in load.items() if value not in (None, []))
    workloads = dict.fromkeys(str(case.workload) for case in cases)
    rates = dict.fromkeys("as they end" if case.request_rate is None else f"{case.request_rate:g}/s" for case in cases)
    return [*lines, f"workload {', '.join(workloads)}: {told}; requests {', '.join(rates)}" if cases else ""]


_LOAD = ("trace", "text", "documents", "prefix_tokens", "output_tokens", "concurrency", "probes", "cpu_bytes")
