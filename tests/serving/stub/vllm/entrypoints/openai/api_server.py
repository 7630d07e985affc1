"""Owns a stand-in for vLLM's server: prefix caches on "GPU" and host, their counters, and the faults of STUB_FAULTS."""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULTS = set(os.environ.get("STUB_FAULTS", "").split())
BYTES_A_TOKEN = 1000
PROCESSES = os.environ.get("STUB_PROCESSES")  # file for the ids of all processes
CHILD = """
import os, signal, sys, time
os.setsid()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
time.sleep(300)
"""


class Caches:
    def __init__(self, config):
        extra = config.get("kv_connector_extra_config", {})
        self.ours = config.get("kv_connector") == "KVBenchConnector"
        self.ratio = 2.0 if extra.get("codec") == "cuszp" and "raw" not in FAULTS else 1.0
        self.gpu, self.host, self.count = [], [], {}
        self.lock = threading.Lock()

    def add(self, name, amount):
        self.count[name] = self.count.get(name, 0) + amount

    def moved(self, way, tokens):
        moved = tokens * BYTES_A_TOKEN / self.ratio
        self.add(f"vllm:kv_offload_{way}_bytes_total", moved)
        self.add(f"vllm:kv_offload_{way}_time_total", 1e-6 * tokens)
        if self.ours:
            self.add(f'vllm:kvbench_raw_bytes_total{{direction="{way}"}}', tokens * BYTES_A_TOKEN)
            self.add(f'vllm:kvbench_moved_bytes_total{{direction="{way}"}}', moved)

    def ask(self, prompt):
        prefix, tokens = prompt.rpartition("\n\nQ:")[0] or prompt, len(prompt.split())
        with self.lock:
            self.add("vllm:prompt_tokens_total", tokens)
            self.add("vllm:prefix_cache_queries_total", tokens)
            self.add("vllm:num_preemptions_total", 1 if "preempt" in FAULTS else 0)
            if "warm" in FAULTS or any(prompt.startswith(one) for one in self.gpu):
                self.add("vllm:prefix_cache_hits_total", tokens)
            elif any(prompt.startswith(one) for one in self.host):
                self.add("vllm:external_prefix_cache_hits_total", tokens)
                self.moved("load", tokens)
            elif "idle" not in FAULTS:
                self.moved("store", tokens)
                self.host.append(prefix)
            self.gpu.append(prefix)

    def text(self):
        names = ["vllm:prefix_cache_hits_total", "vllm:external_prefix_cache_hits_total"]
        with self.lock:
            lines = [f"{name} {value}" for name, value in {**dict.fromkeys(names, 0), **self.count}.items()]
        return "\n".join(lines) + "\n"


class Handler(BaseHTTPRequestHandler):
    caches: Caches

    def answer(self, content, code=200):
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        if "silent" in FAULTS:
            time.sleep(300)
        self.answer(self.caches.text().encode() if self.path == "/metrics" else b"ok")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.path.startswith("/reset_prefix_cache"):
            self.caches.gpu.clear()
            if "reset_external=true" in self.path:
                self.caches.host.clear()
            return self.answer(b"{}")
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            return self.answer(b"{}", 401)
        if self.path == "/tokenize":
            return self.answer(json.dumps({"count": len(body["prompt"].split())}).encode())
        if "fail" in FAULTS:
            return self.answer(b"{}", 500)
        self.caches.ask(body["prompt"])
        time.sleep(0.002)
        text = "" if "empty" in FAULTS else "one two three"
        choice = {"text": text, "logprobs": {"tokens": text.split(), "top_logprobs": [{"one": -0.5}] * 3}}
        return self.answer(json.dumps({"choices": [choice]}).encode())

    def log_message(self, *words):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--kv-transfer-config", type=json.loads)
    args, _ = parser.parse_known_args()
    print("stub server: starting", flush=True)
    if "die" in FAULTS:
        sys.exit("stub server: cannot start, as told")
    if PROCESSES:
        with Path(PROCESSES).open("a") as file:
            file.write(f"{os.getpid()}\n")
        subprocess.Popen([sys.executable, "-c", CHILD, PROCESSES])
    if "stubborn" in FAULTS:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Handler.caches = Caches(args.kv_transfer_config)
    if "used" in FAULTS:
        Handler.caches.add("vllm:prefix_cache_hits_total", 640)
    ThreadingHTTPServer((args.host, args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
