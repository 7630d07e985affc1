"""Owns `kvbench e2e`: real vLLM servers with and without compressed offloading, under the same load."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from kvbench.cli.model_options import ModelOption
from kvbench.cli.options import FIELD_OPTIONS, Asked, experiment_options
from kvbench.errors import UsageError

TAKEN = {"mode", "error_bound", "bound_kind", "profile", "device", "device_id", "seed"}


def _one(*flags: str, metavar: str, text: str) -> Any:
    return Annotated[str | None, typer.Option(*flags, metavar=metavar, help=text)]


def _many(*flags: str, metavar: str, text: str) -> Any:
    return Annotated[list[str] | None, typer.Option(*flags, metavar=f"{metavar}...", help=text)]


# By field of Experiment; beside them --workload, which gives two fields, and the two that choose arms.
OPTIONS: dict[str, Any] = {
    "model": Annotated[str | None, ModelOption],
    "error_bound": _many(
        "--error-bound",
        "--compression-error-bound",
        metavar="X",
        text="Error bounds of arm B, in the unit of --bound-kind [default: 1e-2]",
    ),
    "arms": _many(
        "--arms",
        metavar="ARM",
        text="S: vLLM's own offloading; A: kvbench's, raw; B: compressed; F: vLLM's fp8 cache "
        "[default: S A B; CPU: A B]",
    ),
    "text": _many(
        "--text", metavar="NAME|FILE", text="Texts that prompts are made from [default: two registered ones]"
    ),
    "request_rate": _many(
        "--request-rate", metavar="X", text="Requests a second, open loop [default: the next one when one ends]"
    ),
    "budget": _many(
        "--budget",
        metavar="HOW",
        text="same-residency: blocks count at raw size, so the same ones stay; capacity: in real bytes, so more fit "
        "[default: same-residency]",
    ),
    "rounds": _one("--rounds", metavar="N", text="Times that the servers start in order A B B A [default: 3]"),
    "cpu_bytes": _one("--cpu-bytes", metavar="N", text="Host memory for blocks, in bytes [default: 2e9]"),
    "gpu_blocks": _one("--gpu-blocks", metavar="N", text="Blocks of the GPU's cache [default: 2048; CPU: 80]"),
    "documents": _one("--documents", metavar="N", text="Prefixes [default: three times what the GPU's cache holds]"),
    "prefix_tokens": _one("--prefix-tokens", metavar="N", text="Tokens of a prefix, about [default: 1024]"),
    "output_tokens": _one("--output-tokens", metavar="N", text="Tokens of every answer [default: 16]"),
    "concurrency": _one("--concurrency", metavar="N", text="Requests at once, at most [default: 4]"),
    "probes": _one("--probes", metavar="N", text="Prompts whose answers are compared between arms [default: 8]"),
    "max_model_len": _one(
        "--max-model-len", metavar="N", text="Tokens of prompt and answer, at most [default: 8192; CPU: 2048]"
    ),
    "slo_ttft": _one(
        "--slo-ttft", metavar="SECONDS", text="To the first token of a good request, at most [default: 1]"
    ),
    "slo_tpot": _one("--slo-tpot", metavar="SECONDS", text="A token after it, at most [default: 0.1]"),
    "server_python": _one("--server-python", metavar="PATH", text="The python that has vLLM [default: kvbench's own]"),
    "server_prefix": _one(
        "--server-prefix",
        metavar="WORDS",
        text="Words before each server's command, such as 'nsys profile -o {folder}/{arm}'",
    ),
    "server_args": _one("--server-args", metavar="WORDS", text="Further options of each server, in one text."),
    "ready_timeout": _one("--ready-timeout", metavar="SECONDS", text="Until a server has to answer [default: 600]"),
    "port": _one("--port", metavar="N", text="Port on loopback [default: a free one]"),
}
Workload = Annotated[
    list[str] | None,
    typer.Option(
        "--workload",
        metavar="NAME [FILE]",
        help="two-pass, multi-turn, shared-prefix, or trace FILE with JSON lines of requests [default: two-pass]",
    ),
]
Enable = Annotated[bool, typer.Option("--enable-compression", help="Arm B alone.")]
Disable = Annotated[bool, typer.Option("--disable-compression", help="Arm A alone.")]


@experiment_options(without=frozenset(FIELD_OPTIONS) - TAKEN, instead=OPTIONS)
def e2e(
    asked: Asked,
    workload: Workload = None,
    enable_compression: Enable = False,
    disable_compression: Disable = False,
) -> None:
    """Start vLLM servers one after another, without and with compression, and compare what the same load meets.

    Each start is warmed up, asked for new prefixes, drained, and asked for the same prefixes again. A start that
    cannot prove from vLLM's own metrics that it stored and restored counts for nothing.
    """
    from kvbench.cli.console import show
    from kvbench.cli.experiment import run_experiment
    from kvbench.cli.served_table import plan_lines

    chosen = _arms(asked.fields.get("arms"), enable_compression, disable_compression)
    preparation = run_experiment("e2e", replace(asked, fields={**asked.fields, **chosen, **_workload(workload)}))
    if asked.dry_run:
        show(*plan_lines(preparation.plan.cases))


def _arms(arms: list[str] | None, enable: bool, disable: bool) -> dict[str, Any]:
    chosen = [name for name, given in (("--enable-compression", enable), ("--disable-compression", disable)) if given]
    if arms is not None and chosen:
        raise UsageError(f"{chosen[0]} and --arms {' '.join(arms)} both choose the arms; keep one")
    if len(chosen) == 2:
        raise UsageError(f"{chosen[0]} and {chosen[1]}: leave both out to run with and without compression")
    return {"arms": ["B" if enable else "A"]} if chosen else {}


def _workload(words: list[str] | None) -> dict[str, Any]:
    if words is None:
        return {}
    if len(words) > (2 if words[0] == "trace" else 1):
        raise UsageError(f"--workload {' '.join(words)}: give one workload; a file belongs to trace alone")
    return {"workload": words[0]} | ({"trace": words[1]} if len(words) == 2 else {})
