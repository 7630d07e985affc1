"""Owns the facts about the machine and the software that made a run."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from kvbench.record.gpu import CudaFacts, GpuFacts, cuda_facts, cuda_unavailable, gpus

__all__ = ["CudaFacts", "GpuFacts", "cuda_facts", "cuda_unavailable", "gpus", "host_facts"]

# Variables that change timings.
_ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX", "LD_PRELOAD")
_CPU_FEATURES = ("sse4_2", "avx2", "avx512f", "avx512bw", "avx512vbmi", "avx512_bf16", "neon", "asimd", "sve")


def host_facts() -> dict[str, Any]:
    """Facts for a manifest, ready for JSON; None where the machine does not tell, and why under `unknown`.

    Imports torch, to say whether CUDA can be used. Never raises.
    """
    unknown: dict[str, str] = {}

    def probe(name: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:  # noqa: BLE001  facts must never stop a run
            unknown[name] = f"{type(error).__name__}: {error}"
            return None

    reason = cuda_unavailable()
    facts: dict[str, Any] = {
        "name": probe("name", platform.node),
        "os": probe("os", _os_name),
        "kernel": probe("kernel", platform.release),
        "architecture": probe("architecture", platform.machine),
        "cpu": probe("cpu", _cpu_model),
        "cpu_features": probe("cpu_features", _cpu_features),
        "cpu_governor": probe("cpu_governor", lambda: _line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "cores_physical": probe("cores_physical", _physical_cores),
        "cores_logical": os.cpu_count(),
        "cores_usable": probe("cores_usable", _usable_cores),
        "cpu_quota": probe("cpu_quota", _cpu_quota),
        "memory_bytes": probe("memory_bytes", _memory_bytes),
        "memory_limit_bytes": probe("memory_limit_bytes", _memory_limit_bytes),
        "numa_nodes": probe("numa_nodes", _numa_nodes),
        "load_1min": probe("load_1min", lambda: round(os.getloadavg()[0], 2)),
        "python": probe("python", lambda: f"{platform.python_implementation()} {platform.python_version()}"),
        "kvbench": probe("kvbench", kvbench_version),
        "packages": probe("packages", _packages),
        "cuda": "available" if reason is None else "unavailable",
        "cuda_reason": reason,
        "gpus": [gpu.model_dump(mode="json") for gpu in gpus()],
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    }
    return {**facts, "unknown": unknown}


BUILD_FACTS = Path(__file__).resolve().parents[1] / "_ext" / "build.json"  # made by cmake in a git checkout


def kvbench_version() -> dict[str, Any]:
    """Version, git commit and whether the checkout had changes.

    The commit comes from the variable KVBENCH_COMMIT, else from the checkout kvbench runs from, else from what the
    build wrote down of the checkout it was made in, else from what pip recorded of an installation from a git address;
    None when none of them tells.
    """
    root = Path(__file__).resolve().parents[2]
    commit, dirty = os.environ.get("KVBENCH_COMMIT") or None, None
    if commit is None and (root / ".git").exists() and (root / "pyproject.toml").is_file():
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
        dirty = None if commit is None or changes is None else bool(changes)
    elif commit is None and BUILD_FACTS.is_file():
        built = json.loads(BUILD_FACTS.read_text(encoding="utf-8"))
        commit, dirty = built["commit"], built["dirty"]
    elif commit is None:
        recorded = metadata.distribution("kvbench").read_text("direct_url.json") or ""
        found = re.search(r'"commit_id":\s*"([0-9a-f]+)"', recorded)
        commit = found.group(1) if found else None
    return {"version": metadata.version("kvbench"), "commit": commit, "dirty": dirty}


def _git(root: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(  # noqa: S603  a fixed program with fixed arguments
        [git, "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _packages() -> dict[str, str]:
    """Installed versions of everything kvbench can use, by its own list of requirements."""
    wanted = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in metadata.requires("kvbench") or []]
    versions = {}
    for name in sorted(set(wanted), key=str.lower):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _cpuinfo(field: str) -> str | None:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return None
    found = re.search(rf"^{field}\s*:\s*(.+)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return found.group(1).strip() if found else None


def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpu_features() -> list[str]:
    words = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()
    return [name for name in _CPU_FEATURES if name in words]


def _physical_cores() -> int | None:
    import psutil

    return psutil.cpu_count(logical=False)


def _usable_cores() -> int:
    """Cores this process may run on, which taskset or a container can make fewer."""
    return len(os.sched_getaffinity(0))


def _cpu_quota() -> float | None:
    """Cores' worth of time the control group grants; None for no limit."""
    words = (_line("/sys/fs/cgroup/cpu.max") or "max").split()
    return None if words[0] == "max" else int(words[0]) / int(words[1])


def _memory_bytes() -> int:
    import psutil

    return psutil.virtual_memory().total


def _memory_limit_bytes() -> int | None:
    text = _line("/sys/fs/cgroup/memory.max")
    return int(text) if text is not None and text.isdigit() else None


def _numa_nodes() -> list[dict[str, Any]]:
    nodes = []
    for path in sorted(Path("/sys/devices/system/node").glob("node[0-9]*"), key=lambda node: int(node.name[4:])):
        found = re.search(r"MemTotal:\s*(\d+) kB", (path / "meminfo").read_text(encoding="utf-8"))
        nodes.append(
            {
                "node": int(path.name[4:]),
                "cpus": _line(str(path / "cpulist")),
                "memory_bytes": int(found.group(1)) * 1024 if found else None,
            }
        )
    return nodes


def _line(path: str) -> str | None:
    """The text of a one-line file of the kernel, or None where this kernel has none."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
