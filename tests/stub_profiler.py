"""Owns stand-ins for nsys and ncu: small programs on PATH that behave as a test says."""

from __future__ import annotations

import sys
from pathlib import Path

# What a stub's body may use: `args`, `option(name)`, `measured()` (runs the command it was given), `run_of(path)` (says
# that the measured process made this run folder).
_HEAD = """#!{python}
import os, signal, subprocess, sys, time
from pathlib import Path
args = sys.argv[1:]
def option(name):
    return next((a.partition("=")[2] for a in args if a.startswith(name + "=")), None)
def measured():
    return subprocess.run(args[args.index({python!r}):]).returncode
def run_of(path):
    Path(os.environ["KVBENCH_PROFILED_RUN"]).write_text(str(path))
if "--version" in args:
    print("NVIDIA Nsight 2031.2.3.4-stub")
    sys.exit(0)
"""


def make_stub(folder: Path, name: str, body: str) -> Path:
    """A program `name` in `folder` that says version 2031.2.3.4 and else runs `body`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(_HEAD.format(python=sys.executable) + body, encoding="utf-8")
    path.chmod(0o755)
    return path
