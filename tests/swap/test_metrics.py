"""What an engine counts, and the text that Prometheus reads."""

from __future__ import annotations

import sys

import pytest
from swap_caches import cache, engine

from kvbench.errors import UnavailableError
from kvbench.swap.metrics import FAMILIES, SECONDS, Metrics, prometheus_text


def test_an_engine_counts_what_it_moves():
    values = cache()
    block_bytes = values[:, :, 0].numel() * 4
    with engine(values, path="fused", limit_slots=4) as swap:
        swap.wait([swap.store([0, 1, 2], [0, 1, 2])])
        swap.wait([swap.load([0, 1], [20, 21])])
        finished = swap.poll()
        metrics = swap.metrics
        assert metrics.value("raw_bytes", direction="store") == 3 * block_bytes
        assert metrics.value("raw_bytes", direction="load") == 2 * block_bytes
        assert metrics.value("moved_bytes", direction="store") == finished[0].slot_bytes.sum()
        assert metrics.value("blocks", direction="store", path="fused") == 3
        assert metrics.value("pages_in_use") == swap.used_bytes // 4096
        assert metrics.value("choices") == 2
        named = {name for name, _, _ in metrics.values()} | {name for name, _, _ in metrics.histograms()}
        assert named <= FAMILIES.keys()


def test_the_text_can_be_read_again():
    parser = pytest.importorskip("prometheus_client.parser")
    metrics = Metrics()
    metrics.count("raw_bytes", 10, direction="store")
    metrics.count("raw_bytes", 5, direction="store")
    metrics.count("choices", direction="store", path="raw", why='a "quoted" why')
    metrics.gauge("pages_in_use", 7)
    for seconds in (SECONDS[0] / 2, SECONDS[0], SECONDS[-1] * 2):
        metrics.seconds("stage_seconds", seconds, direction="load", stage="fused")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(prometheus_text(metrics))
        for sample in family.samples
    }
    assert samples["kvbench_swap_raw_bytes_total", ("direction", "store")] == 15
    assert samples["kvbench_swap_pages_in_use",] == 7
    labels = (("direction", "load"), ("stage", "fused"))
    assert samples["kvbench_swap_stage_seconds_count", *labels] == 3
    assert samples["kvbench_swap_stage_seconds_bucket", labels[0], ("le", "+Inf"), labels[1]] == 3
    assert samples["kvbench_swap_stage_seconds_bucket", labels[0], ("le", "1e-05"), labels[1]] == 2
    assert ("kvbench_swap_choices_total", ("direction", "store"), ("path", "raw"), ("why", 'a "quoted" why')) in samples


def test_without_the_package_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UnavailableError, match=r"kvbench\[metrics\]"):
        prometheus_text(Metrics())
