"""Tests of the stages: what a call's phases add up to, what is computed where nothing was timed, unknown phases."""

from __future__ import annotations

import pytest
from fake_run import LINK, codec_case, result, tensor

from kvbench.record.schema import PhaseSamples
from kvbench.report.stages import KERNEL, RANGE, REST, TRANSFER, breakdown, phase_total, send_s
from kvbench.report.stages import LINK as COMPUTED


def case(name: str = "k", **phases: float):
    """One tensor of 196 608 bytes, a third of which is stored; each phase's interval is 10 % each way."""
    spec = tensor(0, name)
    timed = {
        phase: PhaseSamples(
            samples_s=6 * [seconds], work_bytes=1, median_s=seconds, ci_low_s=0.9 * seconds, ci_high_s=1.1 * seconds
        )
        for phase, seconds in phases.items()
    }
    return result(codec_case(spec), metrics={"compressed_bytes": 65_536}, phases=timed)


def test_on_a_gpu_every_stage_is_a_difference_of_what_was_timed():
    one = case(range=1e-6, encode_kernel=2e-6, encode_call=10e-6, encode_transfer=14e-6, decode_call=6e-6)
    out = breakdown("encode", [one, one], LINK)
    assert list(out.stages) == [RANGE, KERNEL, REST, TRANSFER]
    assert list(out.stages.values()) == pytest.approx([2e-6, 4e-6, 14e-6, 8e-6])
    assert (out.whole_s.low, out.whole_s.value, out.whole_s.high) == pytest.approx((25.2e-6, 28e-6, 30.8e-6))
    assert sum(out.stages.values()) == pytest.approx(out.whole_s.value)
    assert out.raw_link_s == pytest.approx(2 * 196_608 / 25e9)
    assert not out.excess


def test_without_a_timed_copy_the_link_is_computed_and_named_so():
    link = LINK.model_copy(update={"in_latency_s": 1e-5})
    back = breakdown("decode", [case(decode_kernel=4e-6, decode_call=6e-6)], link)
    assert list(back.stages) == [COMPUTED, KERNEL, REST]
    assert back.stages[COMPUTED] == pytest.approx(1e-5 + 65_536 / 25e9) == send_s("decode", 65_536, link)
    assert back.whole_s.value == pytest.approx(6e-6 + back.stages[COMPUTED])
    without = breakdown("decode", [case(decode_kernel=4e-6, decode_call=6e-6)], None)
    assert list(without.stages) == [KERNEL, REST]
    assert without.raw_link_s is None


def test_parts_longer_than_their_call_are_told_and_never_negative():
    out = breakdown("encode", [case(range=4e-6, encode_kernel=8e-6, encode_call=10e-6)], None)
    assert out.excess
    assert out.stages[REST] == 0.0


def test_a_call_longer_than_the_same_call_with_its_transfer_is_told_too():
    out = breakdown("encode", [case(encode_call=10e-6, encode_transfer=9e-6)], None)
    assert sum(out.stages.values()) > out.whole_s.value == pytest.approx(9e-6)
    assert out.excess


def test_the_interval_of_a_sum_is_none_where_one_of_its_times_has_none():
    alone = case("v", encode_call=10e-6)
    alone.phases["encode_call"].samples_s = [10e-6]
    found = phase_total("encode_call", [case(encode_call=10e-6), alone])
    assert found.low == found.value == found.high == pytest.approx(20e-6)


def test_a_phase_with_a_new_name_is_kept_as_a_whole():
    out = breakdown("encode", [case(encode_call=1e-5, encode_overlap=7e-6, encode_other=9e-6)], None)
    assert {name: seconds.value for name, seconds in out.others.items()} == pytest.approx(
        {"encode_overlap": 7e-6, "encode_other": 9e-6}
    )
    assert list(out.stages) == [REST]


def test_a_case_without_the_call_has_no_breakdown_and_one_without_a_kernel_has_no_kernel():
    assert breakdown("decode", [case(encode_call=1e-5)], LINK) is None
    assert breakdown("encode", [], LINK) is None
    stored_raw = case("v", range=1e-6, encode_call=5e-6)
    both = breakdown("encode", [case(range=1e-6, encode_kernel=2e-6, encode_call=5e-6), stored_raw], None)
    assert both.stages == pytest.approx({RANGE: 2e-6, KERNEL: 2e-6, REST: 6e-6})
