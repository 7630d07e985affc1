"""Owns a stand-in for vLLM's bench client: posts each prompt once, in turn, and saves what the real one saves."""

import json
import os
import time
import urllib.request
from pathlib import Path


def add_cli_args(parser):
    for name in ("base-url", "endpoint", "model", "dataset-path", "result-dir", "result-filename", "request-rate"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--num-prompts", type=int)
    for name in ("backend", "dataset-name", "custom-output-len", "ready-check-timeout-sec", "temperature", "seed"):
        parser.add_argument(f"--{name}")
    for name in ("max-concurrency", "percentile-metrics", "metric-percentiles"):
        parser.add_argument(f"--{name}")
    for name in ("skip-chat-template", "disable-shuffle", "no-oversample", "ignore-eos", "save-result"):
        parser.add_argument(f"--{name}", action="store_true")
    for name in ("save-detailed", "disable-tqdm"):
        parser.add_argument(f"--{name}", action="store_true")


def main(args):
    assert args.save_detailed
    requests = [json.loads(line) for line in Path(args.dataset_path).read_text().splitlines()]
    assert len(requests) == args.num_prompts
    texts, errors, ttfts, itls, lens = [], [], [], [], []
    began = time.monotonic()
    for request in requests:
        body = {"model": args.model, "prompt": request["prompt"], "max_tokens": request["output_tokens"]}
        call = urllib.request.Request(
            args.base_url + args.endpoint,
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"},
        )
        start = time.monotonic()
        try:
            with urllib.request.urlopen(call) as response:
                text, error = json.load(response)["choices"][0]["text"], ""
        except OSError as problem:
            text, error = "", f"Traceback\n{problem}"
        texts.append(text)
        errors.append(error)
        ttfts.append(0.0 if error else time.monotonic() - start)
        itls.append([0.001] * (request["output_tokens"] - 1))
        lens.append(request["output_tokens"])
    found = {
        "duration": time.monotonic() - began,
        "total_input_tokens": sum(len(request["prompt"].split()) for request in requests),
        "total_output_tokens": sum(lens),
        "ttfts": ttfts,
        "itls": itls,
        "output_lens": lens,
        "generated_texts": texts,
        "errors": errors,
    }
    Path(args.result_dir, args.result_filename).write_text(json.dumps(found))
