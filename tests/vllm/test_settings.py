"""The connector's configuration: what is read, what is refused, what is printed, and what the environment changes."""

from __future__ import annotations

from typing import Any

import pytest

from kvbench.errors import UsageError
from kvbench.vllm.settings import Settings, read, stock_transfer_config, transfer_config, with_names
from kvbench.vllm.sizes import budget_of
from kvbench.vllm.switches import with_switches

BYTES = {"cpu_bytes_to_use": 10**9}


def test_vllms_own_keys_are_passed_over() -> None:
    settings = read({**BYTES, "spec_name": "KVBenchSpec", "block_size": 64, "eviction_policy": "arc", "codec": "raw"})
    assert settings == Settings(cpu_bytes_to_use=10**9, codec="raw")


def test_the_printed_configuration_is_read_back() -> None:
    settings = read(
        {**BYTES, "error_bound": "1e-3", "bound_kind": "abs", "mode": "outlier", "pool": "fixed", "verify": 1}
    )
    printed = transfer_config(settings)
    assert printed["kv_connector"] == "KVBenchConnector"
    assert printed["kv_load_failure_policy"] == "recompute"
    assert read(printed["kv_connector_extra_config"]) == settings


def test_stock_has_no_key_of_kvbench() -> None:
    assert stock_transfer_config(5)["kv_connector_extra_config"] == {"cpu_bytes_to_use": 5}


def test_the_connector_alone_names_the_spec() -> None:
    extra: dict[str, Any] = dict(BYTES)
    with_names(extra)
    assert extra["spec_name"] == "KVBenchSpec"
    other: dict[str, Any] = {"spec_name": "Mine", "spec_module_path": "my.module"}
    with_names(other)
    assert other["spec_name"] == "Mine"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "cpu_bytes_to_use is missing"),
        ({"cpu_bytes_to_use": "much"}, "cpu_bytes_to_use 'much'"),
        ({**BYTES, "codec": "zip"}, "codec 'zip'"),
        ({**BYTES, "error_bound": -1}, "error_bound -1"),
        ({**BYTES, "error_bound": float("nan")}, "error_bound nan"),
        ({**BYTES, "codec": "raw", "error_bound": 1e-2}, "codec raw takes no error_bound"),
        ({**BYTES, "profile": "p.yaml", "mode": "plain"}, "a profile has its own mode"),
        ({**BYTES, "pool": "big"}, "pool 'big'"),
    ],
)
def test_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(given)


def test_a_paged_pool_codes_always_and_a_fixed_one_takes_the_quickest_path() -> None:
    assert read(BYTES).way == "fused"
    assert read({**BYTES, "pool": "fixed"}).way == "auto"
    assert read({**BYTES, "path": "staged"}).way == "staged"


@pytest.mark.parametrize(
    ("environment", "changed"),
    [
        ({}, {}),
        ({"KVBENCH_ENABLE_COMPRESSION": "0"}, {"codec": "raw", "error_bound": None}),
        ({"KVBENCH_COMPRESSION_ERROR_BOUND": "1e-4"}, {"error_bound": 1e-4}),
        ({"KVBENCH_COMPRESSION_MODE": "outlier"}, {"mode": "outlier"}),
        ({"VLLM_COMPRESSION_ERROR_BOUND": "1e-5"}, {"error_bound": 1e-5}),
    ],
)
def test_switches_win(environment: dict[str, str], changed: dict[str, Any]) -> None:
    settings = read({**BYTES, "error_bound": 1e-2})
    assert with_switches(settings, environment) == Settings.model_validate(settings.model_dump() | changed)


def test_switches_turn_compression_on() -> None:
    on = with_switches(read({**BYTES, "codec": "raw"}), {"KVBENCH_ENABLE_COMPRESSION": "1"})
    assert (on.codec, on.bound.value) == ("cuszp", 1e-2)


def test_switches_that_cannot_be_used() -> None:
    with pytest.raises(UsageError, match="has its own"):
        with_switches(read({**BYTES, "profile": "p.yaml"}), {"KVBENCH_COMPRESSION_ERROR_BOUND": "1e-4"})
    with pytest.raises(UsageError, match="neither yes nor no"):
        with_switches(read(BYTES), {"KVBENCH_ENABLE_COMPRESSION": "perhaps"})


def test_budget_of_a_rank() -> None:
    paged = budget_of(read({**BYTES, "most_ratio": 4}), ranks=2, slot_bytes=1_000_000)
    assert (paged.limit_bytes, paged.pages, paged.slot_pages) == (500_000_000, 122_070, 245)
    assert paged.slots == 4 * (122_070 // 245)
    assert budget_of(read({**BYTES, "pool": "fixed"}), ranks=2, slot_bytes=1_000_000).slots == 122_070 // 245
    with pytest.raises(UsageError, match="too little"):
        budget_of(read({"cpu_bytes_to_use": 5000}), ranks=2, slot_bytes=4096)
