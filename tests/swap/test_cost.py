"""The cost model: what it learns from samples, and what it chooses."""

from __future__ import annotations

import pytest
import torch
from swap_caches import cache, planes

from kvbench.bound import Bound
from kvbench.swap.coding import cuszp_coding, raw_coding
from kvbench.swap.cost import PROBE_EVERY, CostModel, Sample, fitted
from kvbench.swap.fitting import fitted_model

LINK_S = 1 / 50e9  # a byte
MIB = 1 << 20


def samples(start_s: float, raw_s: float, moved_s: float, share: float = 0.3) -> list[Sample]:
    sizes = [1 << power for power in range(12, 27, 2)]
    return [
        Sample(size, int(size * part), start_s + raw_s * size + moved_s * int(size * part))
        for size in sizes
        for part in (share, 1.0)
    ]


def model(share: float | None, fused_start_s: float = 8e-6, load_s: float = 1e-12) -> CostModel:
    """Raw is bound by the link; coded paths start later and move less. `load_s`: a raw byte of a coded load."""
    made = CostModel()
    for direction in ("store", "load"):
        for path, start_s in (("raw", 5e-6), ("fused", fused_start_s), ("staged", 20e-6)):
            coded_load = direction == "load" and path != "raw"
            for sample in samples(start_s, load_s if coded_load else 1e-12, LINK_S):
                made.add(direction, path, sample)
            made.refit(direction, path)
    made.moved_share = share
    return made


def test_a_fit_finds_what_made_the_samples():
    fit = fitted(samples(7e-6, 2e-12, LINK_S))
    assert (fit.start_s, fit.raw_s, fit.moved_s) == pytest.approx((7e-6, 2e-12, LINK_S), rel=1e-6)
    assert fit.seconds(MIB, MIB / 4) == pytest.approx(7e-6 + 2e-12 * MIB + LINK_S * MIB / 4)


def test_no_coefficient_is_negative():
    fit = fitted([Sample(1000, 1000, 3e-6), Sample(2000, 2000, 2e-6), Sample(4000, 1000, 2e-6)])
    assert min(fit.start_s, fit.raw_s, fit.moved_s) >= 0
    assert fit.samples == 3


@pytest.mark.parametrize(
    ("raw_bytes", "share", "path"),
    [(64 * MIB, 0.2, "fused"), (64 * MIB, 0.97, "fused"), (64 * MIB, 0.99, "raw"), (4096, 0.2, "raw")],
)
def test_a_coded_path_only_where_it_is_clearly_quicker(raw_bytes, share, path):
    assert model(share).choose_store(raw_bytes).path == path


def test_both_ways_count():
    slow_back = model(0.2, load_s=LINK_S)
    assert slow_back.choose_store(64 * MIB).path == "raw", "what would be quick to store would be slow to load"


def test_the_quicker_coded_path_is_taken():
    assert model(0.2, fused_start_s=1e-3).choose_store(4 * MIB).path == "staged"
    assert model(0.2, fused_start_s=1e-3).choose_load(4 * MIB, MIB).path == "staged"
    assert model(0.2).choose_load(4 * MIB, MIB).path == "fused"


def test_what_is_not_known_is_learnt():
    assert CostModel().choose_store(MIB) == ("fused", "to learn the ratio")
    nothing = CostModel()
    nothing.moved_share = 0.3
    assert nothing.choose_store(MIB).why == "nothing measured of raw"
    assert CostModel().choose_load(MIB, 100).path == "fused"
    made = model(1.0)
    chosen = [made.choose_store(64 * MIB).path for _ in range(2 * PROBE_EVERY)]
    assert chosen.count("fused") == 2, "now and then the ratio is looked at again"


def test_the_share_follows_the_batches():
    made = CostModel()
    made.saw_coded(100, 50)
    assert made.moved_share == 0.5
    for _ in range(40):
        made.saw_coded(100, 10)
    assert made.moved_share == pytest.approx(0.1, rel=1e-2)
    made.forget_share()
    assert made.moved_share is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_model_is_fitted_on_the_machine(dtype):
    of = planes(cache(dtype=dtype))
    made = fitted_model(of, cuszp_coding(of, Bound(kind="rel", value=1e-2)), seconds=0.01)
    for direction in ("store", "load"):
        for path in ("raw", "fused", "staged"):
            fit = made.fit(direction, path)
            assert fit is not None
            assert fit.seconds(MIB, MIB) > 0
    assert made.moved_share is None
    assert made.choose_store(MIB).why == "to learn the ratio"


def test_nothing_is_fitted_where_nothing_is_coded():
    of = planes(cache())
    assert fitted_model(of, raw_coding(of)).fit("store", "raw") is None
