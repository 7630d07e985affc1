"""Owns the load on a server: vLLM's own bench client, run by the server's python, and what it found out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvbench.errors import CaseFailed
from kvbench.record.files import write_whole
from kvbench.serving.guarded import Guarded
from kvbench.serving.workload import Request

# vLLM's `vllm bench serve` without its script, which builds for the CPU may lack the metadata for.
_PROGRAM = """
import sys
from vllm.benchmarks.serve import add_cli_args, main
try:
    from vllm.utils.argparse_utils import FlexibleArgumentParser
except ImportError:
    from vllm.utils import FlexibleArgumentParser
parser = FlexibleArgumentParser(prog="vllm bench serve")
add_cli_args(parser)
main(parser.parse_args(sys.argv[1:]))
"""
PASS_TIMEOUT_S = 3600.0
_PERCENTILES = "50,90,99"


@dataclass(frozen=True)
class Sent:
    """What one pass of requests gave, a value a request in the order sent; failed ones are left out of all lists.

    Times are in seconds. `texts` has None for a failed request, so that passes can be compared request by request.
    """

    duration_s: float
    requests: int
    failed: int
    input_tokens: int
    output_tokens: int
    ttft_s: list[float]
    tpot_s: list[float]
    itl_s: list[float]  # of all requests together
    e2el_s: list[float]
    texts: list[str | None]
    errors: list[str]  # the first of each kind

    @property
    def empty(self) -> int:
        """Requests that were answered by nothing."""
        return sum(text == "" for text in self.texts)

    def good(self, slo_ttft_s: float, slo_tpot_s: float) -> int:
        """Requests that kept both limits."""
        return sum(
            ttft <= slo_ttft_s and tpot <= slo_tpot_s for ttft, tpot in zip(self.ttft_s, self.tpot_s, strict=True)
        )


@dataclass(frozen=True)
class Client:
    """How requests are sent to one server."""

    python: str
    url: str
    model: str
    key: str
    environment: Mapping[str, str]
    folder: Path  # for requests, results and logs
    seed: int

    def send(self, name: str, requests: Sequence[Request], concurrency: int, rate: float | None) -> Sent:
        """Send all, at most so many at once, `rate` a second or as fast as they end for None.

        Leaves NAME.jsonl, NAME.json and NAME.log in the folder. Raises CaseFailed with `client_failed`.
        """
        lines = [json.dumps({"prompt": one.prompt, "output_tokens": one.output_tokens}) for one in requests]
        data = write_whole(self.folder / f"{name}.jsonl", "\n".join(lines) + "\n")
        result = self.folder / f"{name}.json"
        options = options_of(self.model, self.url, data, result, len(requests), concurrency, rate, self.seed)
        environment = {**self.environment, "OPENAI_API_KEY": self.key}
        with Guarded([self.python, "-c", _PROGRAM, *options], environment, self.folder / f"{name}.log") as program:
            try:
                code = program.wait(PASS_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                code = -1
            if code != 0 or not result.is_file():
                what = f"did not end within {PASS_TIMEOUT_S:g} s" if code == -1 else f"ended with code {code}"
                raise CaseFailed(
                    "client_failed",
                    f"vLLM's bench client {what}; log {program.log}, its last lines: {program.last_lines()}",
                )
        return sent_from(json.loads(result.read_text(encoding="utf-8")))


def options_of(
    model: str, url: str, data: Path, result: Path, requests: int, concurrency: int, rate: float | None, seed: int
) -> list[str]:
    """The options of vLLM's bench client for one pass."""
    options = ["--backend", "openai", "--base-url", url, "--endpoint", "/v1/completions", "--model", model]
    options += ["--dataset-name", "custom", "--dataset-path", str(data), "--custom-output-len", "-1"]
    options += [
        "--ready-check-timeout-sec",
        "0",
        "--skip-chat-template",
        "--disable-shuffle",
        "--no-oversample",
        "--num-prompts",
        str(requests),
    ]
    options += ["--temperature", "0", "--ignore-eos", "--seed", str(seed), "--max-concurrency", str(concurrency)]
    options += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", _PERCENTILES]
    options += ["--save-result", "--save-detailed", "--disable-tqdm"]
    options += ["--result-dir", str(result.parent), "--result-filename", result.name]
    return options if rate is None else [*options, "--request-rate", f"{rate:g}"]


def sent_from(result: Mapping[str, Any]) -> Sent:
    """What the client's detailed result says. Raises CaseFailed where it lacks the detail."""
    try:
        errors, texts = list(result["errors"]), list(result["generated_texts"])
        done = [place for place, error in enumerate(errors) if not error]
        ttft_s = [float(result["ttfts"][place]) for place in done]
        itls = [[float(gap) for gap in result["itls"][place]] for place in done]
        tokens = [int(result["output_lens"][place]) for place in done]
        return Sent(
            duration_s=float(result["duration"]),
            requests=len(errors),
            failed=len(errors) - len(done),
            input_tokens=int(result["total_input_tokens"]),
            output_tokens=int(result["total_output_tokens"]),
            ttft_s=ttft_s,
            tpot_s=[sum(gaps) / max(1, count - 1) for gaps, count in zip(itls, tokens, strict=True)],
            itl_s=[gap for gaps in itls for gap in gaps],
            e2el_s=[first + sum(gaps) for first, gaps in zip(ttft_s, itls, strict=True)],
            texts=[None if error else str(text) for error, text in zip(errors, texts, strict=True)],
            errors=list(dict.fromkeys(str(error).strip().splitlines()[-1] for error in errors if str(error).strip()))[
                :3
            ],
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CaseFailed("client_failed", f"vLLM's bench client gave no detailed result ({error})") from None
