"""Tests of the answer: each sentence must follow from the numbers, and turn when they turn."""

from __future__ import annotations

import re

import numpy as np
import pytest
from fake_run import LINK, baseline_results, codec_case, copy_case, make_run, phase, result, sweep_results, tensor

from kvbench.record.schema import PhaseSamples
from kvbench.report.answer import answer
from kvbench.report.notes import flag_notes
from kvbench.report.setting import pays, settings
from kvbench.report.totals import raw_link_gbps, total


def timed(seconds: float, low: float | None = None, high: float | None = None) -> PhaseSamples:
    return PhaseSamples(samples_s=6 * [seconds], work_bytes=1, median_s=seconds, ci_low_s=low, ci_high_s=high)


def coded(bound: float | None, ratio: float, call_s: float, name: str = "k", spread: float = 0.0, **fields):
    """One tensor of 1 000 000 bytes; `call_s` is encode and decode together, its interval +- `spread` of it."""
    spec = tensor(0, name).model_copy(update={"shape": (500_000,), "source_layout": "flat"})
    case = codec_case(spec, bound=bound, layout="flat", shape=(500_000,), elements=500_000)
    half = timed(call_s / 2, call_s / 2 * (1 - spread), call_s / 2 * (1 + spread))
    metrics = {"compressed_bytes": round(1_000_000 / ratio), "ratio": ratio, "nrmse": bound / 2}
    return result(case, metrics=metrics, phases={"encode_call": half, "decode_call": half}, **fields)


@pytest.fixture
def ask(tmp_path):
    def asked(*results, link=LINK):
        folder = make_run(tmp_path / f"run{len(list(tmp_path.iterdir()))}", results, link=link)
        return " ".join(answer(folder.manifest(), folder.results()))

    return asked


def test_it_pays_when_the_effective_speed_beats_the_link(ask):
    # 4 x smaller: 20 us on the link of 25 GB/s instead of 80; 20 us for the codec. 2 MB / 40 us = 50 GB/s.
    text = ask(coded(1e-2, 4.0, 20e-6), coded(1e-3, 2.0, 30e-6), coded(1e-4, 1.25, 30e-6))
    assert "over a link of 25 GB/s each way (assumed) compression pays: plain at rel 1e-2 moves 50 GB/s" not in text
    assert "Over a link of 25 GB/s each way (assumed) compression pays: cuszp plain at rel 1e-2 moves 50 GB/s" in text
    assert "against 25 GB/s raw; the tightest bound at which it pays is rel 1e-3 (cuszp plain). It pays over" in text
    # 2 x 0.75 MB saved / 20 us = 75 GB/s; 2 x 0.2 MB / 30 us = 13.3 GB/s.
    assert "It pays over links slower than 75 GB/s with cuszp plain at rel 1e-2, which stores 4.00 times fewer" in text
    assert "cuszp plain at rel 1e-4, needs one slower than 13.3 GB/s" in text
    assert "a root mean square error of 0.5 % of max" in text


def test_it_does_not_pay_when_the_codec_is_slow(ask):
    text = ask(coded(1e-2, 4.0, 1e-3))
    assert "compression does not pay at any setting of this run" in text
    assert "moves 1.96 GB/s of uncompressed data out and back, against 25 GB/s raw" in text
    assert "It pays over links slower than 1.5 GB/s" in text


def test_a_gain_within_the_noise_is_not_called_one(ask):
    # 60 us of codec at ratio 4 is exactly the link's own speed; 58 us a little better, but known to 20 % only.
    assert "no setting clearly pays" in ask(coded(1e-2, 4.0, 58e-6, spread=0.2))
    assert "compression pays" in ask(coded(1e-2, 4.0, 58e-6, spread=0.01))
    assert "no setting clearly pays" in ask(coded(1e-2, 4.0, 62e-6, spread=0.2))  # nor is a loss within it one
    assert "compression does not pay" in ask(coded(1e-2, 4.0, 62e-6, spread=0.01))


def test_nothing_saved_is_said(ask):
    assert ask(coded(1e-4, 0.95, 1e-5)) == (
        "No setting stores fewer bytes than the tensors have: compression pays over no link."
    )
    assert "At rel 1e-5 nothing is saved" in ask(coded(1e-2, 4.0, 20e-6), coded(1e-5, 0.97, 20e-6))


def test_settings_with_a_case_that_is_not_ok_do_not_count(ask):
    broken = {"reason_code": "bound_broken", "reason": "3 values exceed the bound"}
    text = ask(coded(1e-2, 9.0, 1e-6), coded(1e-2, 9.0, 1e-6, "v", status="failed", **broken), coded(1e-3, 2.0, 30e-6))
    assert "rel 1e-2" not in text
    assert "rel 1e-3" in text


def test_without_a_link_only_the_break_even_is_told(ask):
    text = ask(coded(1e-2, 4.0, 20e-6), link=None)
    assert text.startswith("It pays over links slower than 75 GB/s")
    assert "Over a link" not in text


def test_an_unequal_link_is_two_numbers(ask):
    link = LINK.model_copy(update={"out_gbps": 50.0, "in_gbps": 25.0, "origin": "baseline"})
    assert raw_link_gbps(link) == pytest.approx(100 / 3)
    assert "50 GB/s out, 25 GB/s in (measured by a baseline run)" in ask(coded(1e-2, 4.0, 20e-6), link=link)


def test_tensors_are_summed_not_averaged():
    small, large = coded(1e-2, 2.0, 10e-6), coded(1e-2, 4.0, 30e-6, "v")
    sums = total([small, large])
    assert (sums.raw_bytes, sums.compressed_bytes, sums.ratio) == (2_000_000, 750_000, pytest.approx(8 / 3))
    assert sums.break_even_gbps().value == pytest.approx(2 * 1_250_000 / 40e-6 / 1e9)
    assert sums.effective_gbps(LINK).value == pytest.approx(4_000_000 / (40e-6 + 2 * 750_000 / 25e9) / 1e9)
    assert total([small, coded(1e-2, 2.0, 1.0).model_copy(update={"phases": {}})]) is None
    assert total([]) is None


def test_totals_agree_with_the_recorded_metrics():
    for one in sweep_results(bounds=(1e-2,)):
        sums = total([one])
        if sums is not None:
            assert sums.effective_gbps(LINK).value == pytest.approx(one.metrics["effective_gbps"])
            even = sums.break_even_gbps()
            recorded = one.metrics["break_even_gbps"]
            assert (even is None) == (recorded is None)
            assert even is None or even.value == pytest.approx(recorded)


def test_settings_are_labelled_by_what_varies(tmp_path):
    folder = make_run(tmp_path / "run", sweep_results(bounds=(1e-2, 1e-3)))
    found = settings(folder.manifest(), folder.results())
    words = [setting.label if setting.bound is None else f"{setting.label} {setting.bound}" for setting in found]
    assert "cuszp fixed sample rel 0.01" in words
    assert "raw" in words
    assert not any("compatible" in word for word in words)  # its case is invalid
    assert "cuszp plain values.npy rel 0.001" in words


def test_copies_name_their_fastest_size_and_what_was_not_measured(tmp_path):
    results = baseline_results(gpu=False)
    folder = make_run(tmp_path / "run", results, command="baseline", link=None)
    first, second = answer(folder.manifest(), results)
    peaks = [
        max(r.phases["host_copy"].work_bytes / r.phases["host_copy"].median_s / 1e9 for r in kind)
        for kind in ([r for r in results if r.case.threads == t and r.phases["host_copy"].median_s] for t in (1, 16))
    ]
    found = re.findall(r"within host memory, (\d+) threads?: ([\d.]+) GB/s", first)
    assert found == [("1", f"{peaks[0]:.3g}"), ("16", f"{peaks[1]:.3g}")]
    assert second == ("Transfers to and from a GPU were not measured: no NVIDIA driver (libcuda.so.1 is not found).")
    gpu = answer(folder.manifest(), baseline_results())
    assert len(gpu) == 1
    assert "GPU to host, pinned" in gpu[0]


def test_no_case_no_answer(tmp_path):
    folder = make_run(tmp_path / "run", [])
    assert answer(folder.manifest(), []) == ["No case has finished, so there is no answer."]
    unresolved = [result(copy_case("host_copy", 64), status="invalid", reason_code="unresolved")]
    assert answer(folder.manifest(), unresolved)[0] == "No copy was timed, so there is no speed to tell."


def test_the_interval_of_the_times_becomes_that_of_the_break_even(ask):
    # 2 x 0.75 MB saved over 20 us +- 10 %: 75 GB/s, from 1.5 / 22 to 1.5 / 18; 2 MB over the link's 20 us and those.
    text = ask(coded(1e-2, 4.0, 20e-6, spread=0.1))
    assert "It pays over links slower than 75 GB/s (95 % interval 68.2 to 83.3) with cuszp plain at rel 1e-2" in text
    assert "moves 50 GB/s (95 % interval 47.6 to 52.6) of uncompressed data" in text


def test_intervals_of_tensors_add_up_at_the_same_end():
    sums = total([coded(1e-2, 4.0, 20e-6, spread=0.1), coded(1e-2, 4.0, 40e-6, "v", spread=0.2)])
    assert (sums.call_s.low, sums.call_s.value, sums.call_s.high) == pytest.approx((50e-6, 60e-6, 70e-6))
    even = sums.break_even_gbps()
    assert (even.low, even.value, even.high) == pytest.approx(
        tuple(3e-3 / seconds for seconds in (70e-6, 60e-6, 50e-6))
    )
    assert sums.codec_gbps().value == pytest.approx(4e6 / 60e-6 / 1e9)


@pytest.mark.parametrize(
    ("call_s", "spread", "verdict"), [(40e-6, 0.1, "yes"), (80e-6, 0.1, "no"), (60e-6, 0.1, "unclear")]
)
def test_a_setting_pays_only_where_its_whole_interval_does(tmp_path, call_s, spread, verdict):
    folder = make_run(tmp_path / "run", [coded(1e-2, 4.0, call_s, spread=spread)])
    [setting] = settings(folder.manifest(), folder.results())
    assert pays(setting, LINK) == verdict


def test_uncertain_times_are_counted():
    rng = np.random.default_rng(0)
    case = codec_case(tensor(0, "k"))
    calm, noisy = phase(1e-3, 1, rng), phase(1e-3, 1, rng, flags=["noisy"])
    results = [result(case, phases={"a": calm}), result(case, phases={"a": calm, "b": noisy}), result(case)]
    assert flag_notes(results) == ["Noisy times in 1 of 2 cases: a median is known no better than to 5 % there."]
    assert flag_notes(results[:1]) == []
    held = phase(1e-3, 1, rng, flags=["throttled"])
    assert flag_notes([result(case, phases={"a": held})]) == [
        "Throttled clocks in 1 of 1 cases: the hardware held its clock down while they were timed."
    ]
    held.throttle_reasons = ["sw_power_cap", "hw_slowdown"]
    assert flag_notes([result(case, phases={"a": held})])[0].endswith("were timed (hw_slowdown, sw_power_cap).")


@pytest.mark.parametrize(
    "flag", ["few_samples", "unresolved", "unseen_work", "launch_bound", "numa_mixed", "staged", "throttled", "noisy"]
)
def test_every_flag_about_times_has_words(flag):
    marked = result(codec_case(tensor(0, "k")), phases={"a": phase(1e-3, 1, np.random.default_rng(0))}, flags=[flag])
    [line] = flag_notes([marked])
    assert " in 1 of 1 cases: " in line


# Times that may decide nothing.


def doubtful(bound: float, ratio: float, call_s: float, samples: int = 6, flags: tuple[str, ...] = (), **fields):
    """As `coded`, but its calls have so many samples or these flags, and no interval."""
    one = coded(bound, ratio, call_s, **fields)
    half = PhaseSamples(samples_s=samples * [call_s / 2], work_bytes=1, median_s=call_s / 2, flags=list(flags))
    return one.model_copy(update={"phases": {"encode_call": half, "decode_call": half}})


def test_one_sample_never_decides(ask, tmp_path):
    one = doubtful(1e-2, 4.0, 20e-6, samples=1)
    text = ask(one)
    assert "(assumed) compression pays" not in text
    assert "it is unclear whether compression pays: at best, cuszp plain at rel 1e-2 moves 50 GB/s" in text
    assert "for times of too few samples; take 6 samples or more: raise --iterations, or leave it out" in text
    assert "By those times it would pay over links slower than 75 GB/s" in text
    [setting] = settings(make_run(tmp_path / "again", [one]).manifest(), [one])
    assert pays(setting, LINK) == "unclear"


@pytest.mark.parametrize(
    ("flag", "words"), [("throttled", "the GPU's clock held down"), ("few_samples", "of too few samples")]
)
def test_spoiled_times_never_decide(ask, flag, words):
    text = ask(doubtful(1e-2, 4.0, 20e-6, flags=(flag,)), link=LINK.model_copy(update={"out_gbps": 0.05}))
    assert "it is unclear whether compression pays" in text
    assert words in text


def test_one_doubtful_tensor_makes_its_setting_doubtful(ask):
    text = ask(coded(1e-2, 4.0, 20e-6, spread=0.1), doubtful(1e-2, 4.0, 20e-6, samples=5, name="v"))
    assert "it is unclear whether compression pays" in text
    assert "95 % interval" not in text  # of half the times there is none


def test_six_equal_samples_are_an_interval_without_width(ask):
    assert "compression pays: cuszp plain at rel 1e-2 moves 50 GB/s of" in ask(doubtful(1e-2, 4.0, 20e-6))


def test_a_doubtful_setting_does_not_take_the_headline_of_a_sure_one(ask):
    text = ask(doubtful(1e-1, 40.0, 1e-6, samples=1), coded(1e-2, 4.0, 20e-6, spread=0.01))
    assert "compression pays: cuszp plain at rel 1e-2" in text
    assert "It pays over links slower than 75 GB/s (95 % interval 74.3 to 75.8) with cuszp plain at rel 1e-2" in text
    assert "It is unclear whether cuszp plain at rel 1e-1 would pay" in text


# Tensors and the run's end.


def test_settings_over_fewer_tensors_are_not_compared(ask):
    text = ask(coded(1e-2, 4.0, 20e-6), coded(1e-2, 4.0, 20e-6, "v"), coded(1e-1, 40.0, 1e-6))
    assert "compression pays: cuszp plain at rel 1e-2 moves" in text
    assert "Left out of this: cuszp plain at rel 1e-1, 1 of 2 tensors." in text
    alone = ask(coded(1e-2, 4.0, 20e-6), coded(1e-1, 40.0, 1e-6, "v"))
    assert "cuszp plain at rel 1e-1, 1 of 2 tensors moves" in alone


def test_a_run_that_did_not_finish_says_so(tmp_path):
    folder = make_run(tmp_path / "run", [coded(1e-2, 4.0, 20e-6)])
    manifest = folder.manifest().model_copy(update={"status": "interrupted", "cases_planned": 2})
    assert answer(manifest, folder.results())[0] == "This run is interrupted: 1 of 2 cases have a result."


def test_a_tensor_timed_beside_several_rivals_counts_once(tmp_path):
    sides = []
    for bound in (1e-1, 1e-2, 1e-3):
        for name in ("k", "v"):
            cuszp = coded(bound, 4.0, 20e-6, name)
            raw = cuszp.case.model_copy(update={"codec": "raw", "codec_params": {}, "mode": None, "bound": None})
            for case in (cuszp.case.against(raw, "a"), raw.against(cuszp.case, "b")):
                sides.append(result(case, metrics=cuszp.metrics, phases=cuszp.phases))
    found = settings(make_run(tmp_path / "run", sides).manifest(), sides)
    assert [(setting.tensors, setting.of_tensors, setting.total.tensors) for setting in found] == 4 * [(2, 2, 2)]
    assert next(setting for setting in found if setting.label.startswith("raw")).total.raw_bytes == 2_000_000


def test_the_error_says_that_it_is_a_mean_over_tensors(ask):
    text = ask(coded(1e-2, 4.0, 20e-6), coded(1e-2, 4.0, 20e-6, "v"))
    assert "error of 0.5 % of max \N{MINUS SIGN} min (mean over 2 tensors)" in text
