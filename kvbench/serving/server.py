"""Owns one vLLM server from its start to its end: own port and key, own health, its log, and calls to its API."""

from __future__ import annotations

import http.client
import json
import secrets
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from kvbench.errors import CaseFailed
from kvbench.serving import watchdog
from kvbench.serving.guarded import Guarded
from kvbench.serving.ports import HOST, free_port, listens, require_free

SERVER_MODULE = "vllm.entrypoints.openai.api_server"
KEY_VARIABLE = "VLLM_API_KEY"
PROFILER_GRACE_S = 90.0  # a profiler around the server writes its report after an interrupt
CALL_TIMEOUT_S = 120.0
_LOOK_EVERY_S = 0.2
_HEALTH_TIMEOUT_S = 2.0
_NO_ANSWER = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class ServerPlan:
    """What starts a server: words before its python, that python, its options, and variables beside this process's."""

    python: str
    options: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def command(self, port: int | str) -> list[str]:
        """The command line of a server on `port` of loopback."""
        program = [*self.prefix, self.python, "-m", SERVER_MODULE]
        return [*program, "--host", HOST, "--port", str(port), *self.options]


class Server:
    """A running server; its whole tree ends with the context."""

    def __init__(self, plan: ServerPlan, log: Path, port: int | None) -> None:
        """Start it on `port`, a free one for None. Raises UsageError where the port is in use."""
        if port is not None:
            require_free(port)
        self.port = port or free_port()
        self.key = secrets.token_hex(16)
        self.startup_s = 0.0
        grace_s = PROFILER_GRACE_S if plan.prefix else watchdog.DEFAULT_GRACE_S
        environment = {**plan.environment, KEY_VARIABLE: self.key}
        self._started_s = time.monotonic()
        self._process = Guarded(plan.command(self.port), environment, log, grace_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def wait_until_ready(self, timeout_s: float) -> None:
        """Until it answers itself; what another process answers on its port does not count.

        Raises CaseFailed with `server_timeout` or `server_ended`, the log's path and its last lines.
        """
        while time.monotonic() - self._started_s < timeout_s:
            if self._process.exit_code is not None:
                raise self.failure("server_ended", f"the server ended with code {self._process.exit_code}")
            # The listener is looked at last: nobody can take the port over while our own process listens.
            if self._answers() and listens(self._process.tree(), self.port):
                self.startup_s = time.monotonic() - self._started_s
                return
            time.sleep(_LOOK_EVERY_S)
        raise self.failure("server_timeout", f"the server was not ready within {timeout_s:g} s (--ready-timeout)")

    def require_alive(self) -> None:
        """Raises CaseFailed with `server_ended` where it has ended."""
        if self._process.exit_code is not None:
            raise self.failure("server_ended", f"the server ended with code {self._process.exit_code}")

    def failure(self, reason_code: str, what: str) -> CaseFailed:
        """What went wrong, with the place and the end of the log."""
        return CaseFailed(reason_code, f"{what}; log {self._process.log}, its last lines: {self._process.last_lines()}")

    def host_bytes(self) -> int:
        """Memory of its processes, shared pages divided among those that map them; 0 where it cannot be read."""
        total = 0
        for process in self._process.tree():
            with suppress(psutil.Error):
                total += int(process.memory_full_info().pss)
        return total

    def process_ids(self) -> list[int]:
        """Of its processes."""
        return [process.pid for process in self._process.tree()]

    def metrics(self) -> str:
        """What /metrics says. Raises CaseFailed where it cannot be read."""
        try:
            return self._call("/metrics", None).decode()
        except _NO_ANSWER as error:
            raise self.failure("no_metrics", f"/metrics cannot be read: {error}") from None

    def reset_caches(self, *, external: bool) -> bool:
        """Empty the prefix cache, the offloaded part too where `external`; False where the server cannot do that."""
        path = f"/reset_prefix_cache?reset_external={'true' if external else 'false'}"
        with suppress(*_NO_ANSWER):
            self._call(path, {})
            return True
        return False

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The JSON that a call is answered with; None where the server has no such call or refuses it."""
        with suppress(*_NO_ANSWER, ValueError):
            answer: dict[str, Any] = json.loads(self._call(path, body))
            return answer
        return None

    def _call(self, path: str, body: Mapping[str, Any] | None) -> bytes:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310  our own loopback address
        with _direct.open(request, timeout=CALL_TIMEOUT_S) as response:
            content: bytes = response.read()
            return content

    def _answers(self) -> bool:
        try:
            with _direct.open(f"{self.url}/health", timeout=_HEALTH_TIMEOUT_S) as response:
                return int(response.status) == 200
        except _NO_ANSWER:
            return False


# Without a proxy, whatever the environment says.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
