"""Owns the cases of `e2e`: which arms start in which order, and what each server is started with."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

from kvbench.bound import Bound
from kvbench.config import Arm, Experiment
from kvbench.errors import UsageError
from kvbench.plan import Plan, SkippedCase
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case
from kvbench.serving.server import ServerPlan
from kvbench.vllm.settings import Settings, read, stock_transfer_config, transfer_config

POOL_OF_BUDGET = {"same-residency": "fixed", "capacity": "paged"}
_POOLS_OF_DOCUMENTS = 3  # that the prefixes are worth, so that they leave the GPU's cache
_DEVICES: dict[str, dict[str, int]] = {
    "cuda": {"gpu_blocks": 2048, "block_tokens": 16, "max_model_len": 8192},
    "cpu": {"gpu_blocks": 80, "block_tokens": 32, "max_model_len": 2048},
}
# A build for the CPU compiles long and counts its cache in GiB; the number of blocks is given beside.
_CPU_OPTIONS = ("--enforce-eager",)
_CPU_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1"}
_ENVIRONMENT = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1"}
_NOT_ON_CPU = {
    "S": "vLLM's own offloading needs CUDA; arm A is the same without compression",
    "F": "vLLM's fp8 KV cache needs CUDA",
}


@dataclass(frozen=True)
class _Way:
    """One arm as it is set."""

    arm: Arm
    codec: str
    mode: str | None = None
    bound: Bound | None = None
    profile: str | None = None


def cases(experiment: Experiment, cuda: CudaFacts | str) -> Plan:
    """Every start of a server: the arms there and back in each round, S and F once; those that cannot be are skipped.

    Raises UsageError where the options do not go together.
    """
    device = "cuda" if experiment.device != "cpu" and isinstance(cuda, CudaFacts) else "cpu"
    serving = _serving(experiment, device)
    kept, skipped = [], []
    for budget, rate in product(experiment.budget, experiment.request_rate or (None,)):
        started: dict[_Way, int] = {}
        for way in _order(experiment, device):
            started[way] = started.get(way, 0) + 1
            case = Case(
                command=experiment.command,
                codec=way.codec,
                mode=way.mode,
                bound=way.bound,
                profile=way.profile,
                dtype="bfloat16",
                elements=0,
                device=device,
                arm=way.arm,
                trial=started[way],
                workload=experiment.workload,
                budget=budget,
                request_rate=rate,
                serving=serving,
                seed=experiment.seed,
            )
            if device == "cpu" and way.arm in _NOT_ON_CPU:
                skipped.append(SkippedCase(case, "needs_cuda", f"arm {way.arm}: {_NOT_ON_CPU[way.arm]}"))
            else:
                _transfer_config(case)  # refuses now what the server would refuse later
                kept.append(case)
    return Plan(tuple(kept), tuple(skipped))


def server_plan(case: Case, folder: Path) -> ServerPlan:
    """What starts the server of a case, whose files go to `folder`."""
    asked = _asked(case)
    options = ["--model", str(asked["model"]), "--dtype", "bfloat16", "--seed", str(case.seed)]
    options += ["--enable-prefix-caching", "--max-model-len", str(asked["max_model_len"])]
    options += ["--max-num-seqs", str(asked["concurrency"]), "--block-size", str(asked["block_tokens"])]
    options += ["--num-gpu-blocks-override", str(asked["gpu_blocks"])]
    options += ["--kv-transfer-config", transfer_json(case)]
    options += ["--kv-cache-dtype", "fp8"] if case.arm == "F" else []
    options += _CPU_OPTIONS if case.device == "cpu" else ()
    environment = dict(_ENVIRONMENT) | (_CPU_ENVIRONMENT if case.device == "cpu" else {})
    if asked["device_id"] is not None and case.device == "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = str(asked["device_id"])
    prefix = [
        word.replace("{arm}", str(case.arm)).replace("{folder}", str(folder.absolute()))
        for word in shlex.split(asked["server_prefix"] or "")
    ]
    return ServerPlan(
        python=str(asked["server_python"]),
        options=(*options, *shlex.split(asked["server_args"] or "")),
        environment=environment,
        prefix=tuple(prefix),
    )


def transfer_json(case: Case) -> str:
    """What --kv-transfer-config is given."""
    import json

    return json.dumps(_transfer_config(case))


def may_go_raw(case: Case) -> bool:
    """Whether the plugin's cost model may send blocks of a case as they are."""
    return _settings(case).way == "auto"


def _asked(case: Case) -> dict[str, Any]:
    assert case.serving is not None
    return case.serving


def _settings(case: Case) -> Settings:
    given: dict[str, Any] = {
        "cpu_bytes_to_use": int(_asked(case)["cpu_bytes"]),
        "codec": case.codec,
        "pool": POOL_OF_BUDGET[str(case.budget)],
        "profile": _asked(case)["profile"] if case.arm == "B" else None,
        "mode": case.mode,
        "error_bound": None if case.bound is None else case.bound.value,
        "bound_kind": None if case.bound is None else case.bound.kind,
    }
    return read({name: value for name, value in given.items() if value is not None})


def _transfer_config(case: Case) -> dict[str, Any]:
    if case.arm == "S":
        return stock_transfer_config(int(_asked(case)["cpu_bytes"]))
    return transfer_config(_settings(case))


def _ways(experiment: Experiment, device: str) -> list[_Way]:
    arms: tuple[Arm, ...] = experiment.arms or (("S", "A", "B") if device == "cuda" else ("A", "B"))
    found = []
    for arm in sorted(arms, key=get_args(Arm).index):
        if arm == "B" and experiment.profile is not None:
            found.append(_Way(arm, "cuszp", profile=experiment.profile.name))
        elif arm == "B":
            found += [
                _Way(arm, "cuszp", mode, Bound(kind=kind, value=value))
                for mode, kind, value in product(experiment.mode, experiment.bound_kind, experiment.error_bound)
            ]
        else:
            found.append(_Way(arm, "fp8" if arm == "F" else "raw"))
    return found


def _order(experiment: Experiment, device: str) -> Iterator[_Way]:
    """A B B A in every round, so that what drifts hits both alike; S and F after the first."""
    ways = _ways(experiment, device)
    compared = [way for way in ways if way.arm in ("A", "B")]
    once = [way for way in ways if way not in compared]
    for number in range(experiment.rounds):
        yield from compared
        yield from reversed(compared)
        if number == 0:
            yield from once


def _serving(experiment: Experiment, device: str) -> dict[str, Any]:
    """What all servers and their load have in common. Raises UsageError for what cannot be."""
    if experiment.model is None:
        raise UsageError("no model: give a folder or a hub name with --model")
    usual = _DEVICES[device]
    gpu_blocks = experiment.gpu_blocks or usual["gpu_blocks"]
    pool_tokens = (gpu_blocks - 1) * usual["block_tokens"]  # vLLM keeps one block for itself
    if pool_tokens < 1:
        raise UsageError(f"--gpu-blocks {gpu_blocks}: vLLM keeps one for itself; give more")
    most_tokens = experiment.max_model_len or min(usual["max_model_len"], pool_tokens)
    if most_tokens > pool_tokens:
        raise UsageError(
            f"--max-model-len {most_tokens}: the GPU's cache has room for {pool_tokens} tokens; "
            "give less, or more with --gpu-blocks"
        )
    if experiment.workload != "trace" and experiment.prefix_tokens + experiment.output_tokens >= most_tokens:
        raise UsageError(
            f"--prefix-tokens {experiment.prefix_tokens}: prompt and answer have room for {most_tokens} tokens "
            "(--max-model-len); give fewer"
        )
    for name, value in (("prefix", experiment.server_prefix), ("args", experiment.server_args)):
        try:
            shlex.split(value or "")
        except ValueError as error:
            raise UsageError(f"--server-{name} {value!r}: {error}; close the quotes") from None
    documents = experiment.documents or math.ceil(_POOLS_OF_DOCUMENTS * pool_tokens / experiment.prefix_tokens)
    return {
        "model": experiment.model,
        "profile": None if experiment.profile is None else str(experiment.profile),
        "trace": None if experiment.trace is None else str(experiment.trace),
        "text": list(experiment.text),
        "documents": documents,
        "prefix_tokens": experiment.prefix_tokens,
        "output_tokens": experiment.output_tokens,
        "concurrency": experiment.concurrency,
        "probes": experiment.probes,
        "cpu_bytes": int(experiment.cpu_bytes),
        "gpu_blocks": gpu_blocks,
        "block_tokens": usual["block_tokens"],
        "max_model_len": most_tokens,
        "slo_ttft": experiment.slo_ttft,
        "slo_tpot": experiment.slo_tpot,
        "server_python": str(experiment.server_python or sys.executable),
        "server_prefix": experiment.server_prefix,
        "server_args": experiment.server_args,
        "ready_timeout": experiment.ready_timeout,
        "port": experiment.port,
        "device_id": experiment.device_id if "device_id" in experiment.model_fields_set else None,
    }
