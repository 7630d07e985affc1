"""Tests of the host's facts: honest about what is not there, and never an error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvbench.record import gpu, host
from kvbench.record.gpu import CudaFacts, cuda_facts, cuda_unavailable, throttle_words
from kvbench.record.host import host_facts, kvbench_version


@pytest.fixture
def no_driver(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu.ctypes, "CDLL", missing)


def test_facts_are_strict_json_and_say_what_matters():
    facts = json.loads(json.dumps(host_facts(), allow_nan=False))
    assert facts["cores_usable"] >= 1
    assert facts["memory_bytes"] > 1e8
    assert facts["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert facts["kvbench"]["version"]
    assert facts["cuda"] in {"available", "unavailable"}
    assert (facts["cuda_reason"] is None) == (facts["cuda"] == "available")


def test_without_a_driver_cuda_is_unavailable_and_why(no_driver):
    facts = host_facts()
    assert facts["cuda"] == "unavailable"
    assert "no NVIDIA driver (libcuda.so.1 is not found)" in facts["cuda_reason"]
    assert cuda_facts() == facts["cuda_reason"]


def test_torch_without_cuda_is_a_reason_of_its_own(monkeypatch):
    import torch

    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert cuda_unavailable() == f"torch {torch.__version__} is built without CUDA"


def test_what_torch_warns_of_is_part_of_the_reason(monkeypatch):
    import warnings

    import torch

    def warn_and_refuse():
        warnings.warn("CUDA initialization:\n driver too old", stacklevel=1)
        return False

    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", warn_and_refuse)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    reason = "torch finds no usable GPU; CUDA initialization: driver too old; CUDA_VISIBLE_DEVICES is ''"
    assert cuda_unavailable() == reason


def test_a_usable_gpu_is_described_and_a_missing_number_told(monkeypatch):
    import torch

    device = SimpleNamespace(
        name="Card", major=9, minor=0, total_memory=80, L2_cache_size=50, multi_processor_count=132, uuid="u"
    )
    monkeypatch.setattr(gpu, "cuda_unavailable", lambda: None)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: device)
    facts = cuda_facts(0)
    assert isinstance(facts, CudaFacts)
    assert (facts.name, facts.compute_capability, facts.l2_bytes, facts.cuda_torch) == ("Card", "9.0", 50, "13.0")
    assert cuda_facts(3) == "there is no GPU 3; this machine shows 1, numbered from 0"


def test_throttle_bits_have_words():
    assert throttle_words(0) == ()
    assert throttle_words(0x4 | 0x40) == ("sw_power_cap", "hw_thermal_slowdown")
    assert throttle_words(0x1 | 0x8000) == ("gpu_idle", "0x8000")


def test_a_probe_that_breaks_is_recorded_and_stops_nothing(monkeypatch):
    def broken():
        raise RuntimeError("no such thing")

    monkeypatch.setattr(host, "_memory_bytes", broken)
    facts = host_facts()
    assert facts["memory_bytes"] is None
    assert facts["unknown"] == {"memory_bytes": "RuntimeError: no such thing"}


def test_the_commit_may_be_given(monkeypatch):
    monkeypatch.setenv("KVBENCH_COMMIT", "abc123")
    assert kvbench_version()["commit"] == "abc123"
    assert kvbench_version()["dirty"] is None


def test_the_commit_of_a_checkout_and_its_changes(tmp_path, monkeypatch):
    monkeypatch.delenv("KVBENCH_COMMIT", raising=False)
    (tmp_path / "pyproject.toml").write_text("")
    identity = ["-c", "user.name=n", "-c", "user.email=e@e"]
    monkeypatch.setattr(host, "__file__", str(tmp_path / "kvbench" / "record" / "host.py"))
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert (kvbench_version()["commit"], kvbench_version()["dirty"]) == (None, None)
    for arguments in (["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    clean = kvbench_version()
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "pyproject.toml").write_text("changed")
    assert kvbench_version() == clean | {"dirty": True}


def test_outside_a_checkout_the_commit_of_the_installation_counts(tmp_path, monkeypatch):
    monkeypatch.delenv("KVBENCH_COMMIT", raising=False)
    monkeypatch.setattr(host, "__file__", str(tmp_path / "kvbench" / "record" / "host.py"))
    monkeypatch.setattr(host, "BUILD_FACTS", tmp_path / "build.json")
    texts = {"direct_url.json": '{"url": "https://host/x.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"}}'}
    monkeypatch.setattr(host.metadata, "distribution", lambda name: SimpleNamespace(read_text=texts.get, version="1"))
    assert kvbench_version()["commit"] == "0a1b2c"
    texts.clear()
    assert kvbench_version()["commit"] is None


def test_packages_are_those_kvbench_names(monkeypatch):
    monkeypatch.setattr(
        host.metadata, "requires", lambda name: ["numpy>=1.26", 'not-there>=1; extra == "x"', "pydantic[email]>=2"]
    )
    assert list(host_facts()["packages"]) == ["numpy", "pydantic"]


def test_the_record_and_the_report_import_nothing_heavy():
    code = (
        "import sys, kvbench.record.host, kvbench.record.table, kvbench.record.store, kvbench.record.publish, "
        "kvbench.report, kvbench.report.answer, kvbench.report.page, kvbench.report.figures\n"
        "heavy = ('torch', 'matplotlib', 'pandas', 'pyarrow', 'jinja2', 'pynvml')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_cpu_facts_match_the_kernel():
    assert host_facts()["cpu"]
    nodes = host_facts()["numa_nodes"]
    assert len(nodes) == len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))


def test_a_build_from_a_checkout_tells_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KVBENCH_COMMIT", raising=False)
    monkeypatch.setattr(host, "__file__", str(tmp_path / "kvbench" / "record" / "host.py"))
    monkeypatch.setattr(host, "BUILD_FACTS", tmp_path / "build.json")
    (tmp_path / "build.json").write_text('{"commit": "1c2d3e", "dirty": true}\n', encoding="utf-8")
    found = kvbench_version()
    assert (found["commit"], found["dirty"]) == ("1c2d3e", True)
