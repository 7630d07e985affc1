"""Owns one trial of a server: warm-up, cold pass, drain, reusing pass and probes, with metrics read around each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from kvbench.serving import agreement
from kvbench.serving.agreement import Answer
from kvbench.serving.client import Client, Sent
from kvbench.serving.scrape import Counts, Reading, between, read, since_start
from kvbench.serving.server import Server
from kvbench.serving.workload import Workload

DRAIN_TIMEOUT_S = 60.0
_FLAT_READINGS = 3
_LOOK_EVERY_S = 0.3


@dataclass(frozen=True)
class Load:
    """How the passes are sent."""

    concurrency: int
    rate: float | None  # of the reusing pass, a second; None: the next request starts when one ends


@dataclass
class Trial:
    """What was seen; a pass that there was none of is None."""

    start: Counts = field(default_factory=Counts)
    cold: Sent | None = None
    cold_counts: Counts | None = None
    reuse: Sent | None = None
    reuse_counts: Counts | None = None
    last: Reading = field(default_factory=lambda: Reading({}))
    answers: list[Answer] = field(default_factory=list)
    host_bytes: int = 0
    flags: list[str] = field(default_factory=list)


def run(server: Server, client: Client, workload: Workload, load: Load) -> Trial:
    """All passes on a server that is ready and has answered nothing yet. Raises CaseFailed."""
    trial = Trial(start=since_start(_read(server)))
    if workload.warm_up:
        _warm_up(server, client, workload, load, trial)
    before = _read(server)
    if workload.cold:
        trial.cold = client.send("cold", workload.cold, load.concurrency, None)
        before, trial.cold_counts = _after(server, before)
        if workload.reset:
            _reset(server, trial, external=False)
    trial.reuse = client.send("reuse", workload.reuse, load.concurrency, load.rate)
    trial.last, trial.reuse_counts = _after(server, before)
    trial.host_bytes = server.host_bytes()
    if workload.probes:
        _reset(server, trial, external=False)
        trial.answers = agreement.ask(server, client.model, workload.probes, client.seed)
    server.require_alive()
    return trial


def _warm_up(server: Server, client: Client, workload: Workload, load: Load, trial: Trial) -> None:
    """Store and restore once, as the first of both is slow; then forget all."""
    client.send("warm-up-store", workload.warm_up, load.concurrency, None)
    drained(server)
    _reset(server, trial, external=False)
    client.send("warm-up-restore", workload.warm_up, load.concurrency, None)
    drained(server)
    _reset(server, trial, external=True)


def _reset(server: Server, trial: Trial, *, external: bool) -> None:
    if not server.reset_caches(external=external) and "caches_not_reset" not in trial.flags:
        trial.flags.append("caches_not_reset")


def _after(server: Server, before: Reading) -> tuple[Reading, Counts]:
    server.require_alive()
    after = drained(server)
    return after, between(before, after)


def drained(server: Server) -> Reading:
    """The metrics once no more bytes are stored."""
    until_s = time.monotonic() + DRAIN_TIMEOUT_S
    reading, flat = _read(server), 1
    while flat < _FLAT_READINGS and time.monotonic() < until_s:
        time.sleep(_LOOK_EVERY_S)
        last, reading = reading, _read(server)
        flat = flat + 1 if since_start(last).stored_bytes == since_start(reading).stored_bytes else 1
    return reading


def _read(server: Server) -> Reading:
    return read(server.metrics())
