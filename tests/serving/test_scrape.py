"""Readings of /metrics, and what is counted between two of them under the names of several releases."""

from __future__ import annotations

from kvbench.serving.scrape import Counts, between, read, since_start

BEFORE = """
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0"} 10
vllm:kvbench_raw_bytes_total{engine="0",direction="store"} 100
vllm:prompt_tokens_by_source_total{source="local_compute"} 5
"""
AFTER = """
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0"} 14
vllm:prefix_cache_hits_total{engine="1"} 3
vllm:kvbench_raw_bytes_total{engine="0",direction="store"} 160
vllm:kvbench_raw_bytes_total{engine="0",direction="load"} 7
vllm:kvbench_pages_in_use{rank="0"} 12
vllm:kvbench_pages_in_use{rank="1"} 13
vllm:prompt_tokens_by_source_total{source="local_compute"} 25
vllm:prompt_tokens_by_source_total{source="external_kv_transfer"} 40
vllm:kv_offload_total_bytes_total{transfer_type="GPU_to_CPU"} 80
"""


def test_growth_by_name_and_label() -> None:
    counts = between(read(BEFORE), read(AFTER))
    assert counts.gpu_hit_tokens == 14 + 3 - 10
    assert counts.stored_raw_bytes == 60
    assert counts.loaded_raw_bytes == 7  # it came up in between
    assert counts.prompt_tokens == 20 + 40
    assert counts.host_hit_tokens == 40  # by its other name
    assert counts.stored_bytes == 80  # by its older name
    assert counts.loaded_bytes is None  # not counted is not 0
    assert since_start(read(BEFORE)).gpu_hit_tokens == 10
    assert between(read(""), read("")) == Counts()


def test_gauges_of_all_ranks() -> None:
    assert read(AFTER).total("vllm:kvbench_pages_in_use") == 25
    assert read(AFTER).total("vllm:kvbench_pages_in_use", rank="1") == 13
    assert read(AFTER).total("vllm:absent") is None
