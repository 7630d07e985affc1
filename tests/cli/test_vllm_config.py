"""The command `vllm-config`: JSON alone on stdout, and one line for what cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from kvbench.cli import app
from kvbench.errors import UsageError
from kvbench.vllm.settings import read


def run(*typed: str) -> None:
    app.app(["vllm-config", *typed], standalone_mode=False)


def printed(capsys: pytest.CaptureFixture[str], *typed: str) -> dict[str, Any]:
    run(*typed)
    config: dict[str, Any] = json.loads(capsys.readouterr().out)
    return config


def test_the_configuration_is_one_that_the_plugin_reads(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(capsys, "--cpu-bytes", "8e9", "--error-bound", "1e-3", "--bound", "abs", "--mode", "outlier")
    settings = read(config["kv_connector_extra_config"])
    assert settings.cpu_bytes_to_use == 8 * 10**9
    assert (settings.bound.kind, settings.bound.value, settings.mode) == ("abs", 1e-3, "outlier")
    assert config["kv_connector_module_path"] == "kvbench.vllm.plugin"


def test_a_profile_is_named_by_its_whole_path(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(capsys, "--cpu-bytes", "1e9", "--profile", "p.yaml", "--pool", "fixed", "--verify")
    extra = config["kv_connector_extra_config"]
    assert extra["profile"].startswith("/")
    assert (extra["pool"], extra["verify"]) == ("fixed", True)
    assert "error_bound" not in extra


def test_fp8_says_what_the_server_needs(capsys: pytest.CaptureFixture[str]) -> None:
    run("--cpu-bytes", "1e9", "--codec", "fp8")
    assert "--kv-cache-dtype fp8" in capsys.readouterr().err


def test_stock(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed(capsys, "--cpu-bytes", "1e9", "--stock")
    assert config["kv_connector"] == "OffloadingConnector"
    with pytest.raises(UsageError, match="--verify is kvbench's"):
        run("--cpu-bytes", "1e9", "--stock", "--verify")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--cpu-bytes", "8GB"], "--cpu-bytes '8GB'"),
        (["--cpu-bytes", "1e9", "--error-bound", "0"], "--error-bound '0'"),
        (["--cpu-bytes", "1e9", "--mode", "best"], "--mode 'best'"),
        (["--cpu-bytes", "1e9", "--codec", "raw", "--mode", "plain"], "codec raw takes no mode"),
    ],
)
def test_refused_by_the_option(typed: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(*typed)


def test_it_needs_no_torch_and_no_vllm() -> None:
    code = (
        "import sys; from kvbench.cli import app\n"
        "app.app(['vllm-config', '--cpu-bytes', '1e9'], standalone_mode=False)\n"
        "assert not {'torch', 'vllm', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
