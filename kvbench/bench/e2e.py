"""Owns the bench of `e2e`: one case is one start of a real server, its load, and the proof that the numbers count."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from kvbench.bench import e2e_cases
from kvbench.bench.context import BenchContext, Preparation
from kvbench.bench.device import busy_notes, device_notes, require_cuda
from kvbench.bench.e2e_figures import agreement_metrics, figures, same_texts
from kvbench.bench.outcome import Outcome
from kvbench.config import Experiment
from kvbench.errors import CaseFailed, CaseSkipped, UnavailableError, UsageError
from kvbench.models.texts import SCORING, load_text
from kvbench.record.files import write_whole
from kvbench.record.gpu import CudaFacts
from kvbench.record.schema import Case
from kvbench.serving import agreement, gpu_memory, workload
from kvbench.serving.client import Client
from kvbench.serving.ports import require_free
from kvbench.serving.proof import Witnessed, faults
from kvbench.serving.server import Server
from kvbench.serving.trial import Load, Trial
from kvbench.serving.trial import run as run_trial
from kvbench.serving.workload import Shape, Workload, WorkloadName

SERVERS = "servers"  # folder of the run: a folder for every start, with log, requests and results
_CHARACTERS_A_TOKEN = 4.0  # of English, where the server has no /tokenize
_SAMPLE_CHARACTERS = 20_000


def prepare(experiment: Experiment, cuda: CudaFacts | str) -> Preparation:
    """The starts of all arms, and what each is started with. Starts nothing.

    Raises UsageError or UnavailableError where options, texts, trace, port or packages will not do.
    """
    require_cuda(experiment, cuda)
    plan = e2e_cases.cases(experiment, cuda)
    if (experiment.workload == "trace") != (experiment.trace is not None):
        raise UsageError("workload trace needs the file of its requests: --workload trace FILE; no other takes one")
    if find_spec("prometheus_client") is None:
        raise UnavailableError(
            "no package prometheus-client, which reads servers' metrics: pip install 'kvbench[metrics]'"
        )
    if experiment.server_python is not None and shutil.which(str(experiment.server_python)) is None:
        raise UsageError(f"--server-python {experiment.server_python}: no such program; give the python that has vLLM")
    if experiment.port is not None:
        require_free(experiment.port)
    if plan.cases:
        _workload(plan.cases[0], _CHARACTERS_A_TOKEN)  # refuses now a text or trace that cannot be read
    notes = [
        *device_notes(experiment, cuda, plan.cases),
        *busy_notes(),
        "each case is a server of its own, one after another: warm-up, cold pass, drain, reusing pass, probes",
        "a start that did not store and restore, or whose caches were warm, is invalid and counts for nothing",
    ]
    return Preparation(plan, notes=tuple(notes))


def run(case: Case, context: BenchContext) -> Outcome:
    """Start the server, load it, end it. Raises CaseFailed where there are no numbers to keep."""
    assert context.run_folder is not None
    assert case.serving is not None
    _require_worth(case, context)
    folder = context.run_folder / SERVERS / f"{case.arm}-{case.trial}-{case.id}"
    if folder.exists():
        shutil.rmtree(folder)  # of a start that was cut short
    folder.mkdir(parents=True)
    before_bytes = gpu_memory.used_bytes(context.device_id) if case.device == "cuda" else None
    try:
        outcome = _served(case, context, folder, before_bytes)
    except CaseFailed as failure:
        if failure.reason_code in ("server_timeout", "server_ended"):
            context.kept[_no_start_key(case)] = failure.reason
        raise
    if not gpu_memory.came_back(context.device_id, before_bytes):
        outcome.flags.append("gpu_memory_held")
    return outcome


def _served(case: Case, context: BenchContext, folder: Path, before_bytes: int | None) -> Outcome:
    assert case.serving is not None
    assert context.run_folder is not None
    plan = e2e_cases.server_plan(case, folder)
    write_whole(folder / "command.json", json.dumps([plan.command("PORT"), dict(plan.environment)], indent=1) + "\n")
    try:
        server = Server(plan, folder / "server.log", case.serving["port"])
    except UsageError as error:
        raise CaseFailed("port_in_use", str(error)) from None
    with server:
        server.wait_until_ready(case.serving["ready_timeout"])
        context.kept["a server was ready"] = True
        client = Client(plan.python, server.url, case.serving["model"], server.key, plan.environment, folder, case.seed)
        asked = _workload(case, _characters_a_token(case, context.run_folder, server))
        trial = run_trial(server, client, asked, Load(case.serving["concurrency"], case.request_rate))
        outcome = figures(case, trial)
        outcome.metrics["startup_s"] = server.startup_s
        if before_bytes is not None:
            used_bytes = gpu_memory.used_bytes(context.device_id)
            outcome.metrics["server_gpu_bytes"] = None if used_bytes is None else max(0, used_bytes - before_bytes)
    _judge(case, trial, outcome)
    _compare(case, trial, context.run_folder, outcome)
    return outcome


def _no_start_key(case: Case) -> str:
    return f"arm {case.arm} {case.codec} {case.mode} {case.bound} does not start"


def _require_worth(case: Case, context: BenchContext) -> None:
    """Raises CaseSkipped for an arm that did not start before, and for all where no server ever did."""
    earlier = context.kept.get(_no_start_key(case))
    if earlier is None and "a server was ready" not in context.kept:
        earlier = next((why for name, why in context.kept.items() if name.endswith("does not start")), None)
    if earlier is not None:
        raise CaseSkipped("not_started", "left out, as the server did not start before; --resume tries again")


def _judge(case: Case, trial: Trial, outcome: Outcome) -> None:
    assert case.arm is not None
    seen = Witnessed(
        start=trial.start,
        cold=trial.cold_counts,
        reuse=trial.reuse_counts,
        sent=tuple(sent for sent in (trial.cold, trial.reuse) if sent is not None),
        may_go_raw=case.arm == "B" and e2e_cases.may_go_raw(case),
    )
    found = faults(case.arm, seen)
    if found:
        outcome.status = "invalid"
        outcome.reason_code = found[0].reason_code
        outcome.reason = "; ".join(fault.reason for fault in found)


def _compare(case: Case, trial: Trial, run_folder: Path, outcome: Outcome) -> None:
    """Against the first start of arm A that counts; its later ones show what two equal servers differ by."""
    place = run_folder / SERVERS / f"reference-{_load_key(case)}.json"
    texts = [] if trial.reuse is None else trial.reuse.texts
    if place.exists():
        kept = json.loads(place.read_text(encoding="utf-8"))
        reference = [agreement.Answer(**one) for one in kept["answers"]]
        outcome.metrics |= agreement_metrics(agreement.compare(reference, trial.answers))
        outcome.metrics["same_texts"] = same_texts(kept["texts"], texts)
    elif case.arm == "A" and outcome.status == "ok":
        answers = [{"tokens": one.tokens, "top_logprobs": one.top_logprobs} for one in trial.answers]
        write_whole(place, json.dumps({"case": case.id, "answers": answers, "texts": texts}) + "\n")


def _load_key(case: Case) -> str:
    """The same for cases that differ by arm and start alone."""
    fields = case.model_dump(mode="json", include={"workload", "budget", "request_rate", "serving", "seed"})
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def _workload(case: Case, characters_a_token: float) -> Workload:
    assert case.serving is not None
    asked = case.serving
    if asked["trace"] is not None:
        return workload.read_trace(Path(asked["trace"]), asked["output_tokens"])
    shape = Shape(asked["documents"], asked["prefix_tokens"], asked["output_tokens"], asked["probes"], case.seed)
    name = cast("WorkloadName", case.workload)
    return workload.make(name, shape, _text(case), characters_a_token)


def _text(case: Case) -> str:
    assert case.serving is not None
    return "\n".join(load_text(name).content for name in case.serving["text"] or SCORING)


def _characters_a_token(case: Case, run_folder: Path, server: Server) -> float:
    """As the first server's tokenizer has it, kept in the run, so that all arms are asked the same."""
    place = run_folder / SERVERS / "characters_a_token.json"
    if place.exists():
        return float(json.loads(place.read_text(encoding="utf-8")))
    assert case.serving is not None
    sample = " ".join(_text(case).split())[:_SAMPLE_CHARACTERS] if case.serving["trace"] is None else ""
    answer = server.post("/tokenize", {"model": case.serving["model"], "prompt": sample}) if sample else None
    count = (answer or {}).get("count")
    found = len(sample) / count if isinstance(count, int) and count > 0 else _CHARACTERS_A_TOKEN
    write_whole(place, json.dumps(found) + "\n")
    return found
