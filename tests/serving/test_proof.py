"""What keeps a start of a server from counting: each fault alone, and the gravest first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvbench.serving.client import Sent
from kvbench.serving.proof import Arm, Witnessed, faults
from kvbench.serving.scrape import Counts

SENT = Sent(1.0, 2, 0, 100, 8, [0.1, 0.1], [0.01, 0.01], [0.01], [0.2, 0.2], ["a", "b"], [])
START = Counts(gpu_hit_tokens=0, host_hit_tokens=0)
COLD = Counts(
    prompt_tokens=100, gpu_hit_tokens=0, host_hit_tokens=0, stored_bytes=500, stored_raw_bytes=1000,
    stored_moved_bytes=500, loaded_raw_bytes=0, loaded_moved_bytes=0, preemptions=0,
)  # fmt: skip
REUSE = replace(
    COLD, host_hit_tokens=90, stored_bytes=0, loaded_bytes=450, loaded_raw_bytes=900, loaded_moved_bytes=450
)
GOOD = Witnessed(START, COLD, REUSE, (SENT, SENT))


@pytest.mark.parametrize("arm", ["S", "A", "B", "F"])
def test_what_stored_and_restored_counts(arm: Arm) -> None:
    assert faults(arm, GOOD) == []


@pytest.mark.parametrize(
    ("seen", "code", "words"),
    [
        (replace(GOOD, start=replace(START, gpu_hit_tokens=16)), "contaminated", "at the start: 16"),
        (replace(GOOD, cold=replace(COLD, host_hit_tokens=32)), "contaminated", "in the cold pass: 32"),
        (replace(GOOD, sent=(SENT, replace(SENT, failed=1, errors=["refused"]))), "failed_requests", "1 of 4.*refused"),
        (replace(GOOD, sent=(replace(SENT, texts=["", "b"]), SENT)), "empty_outputs", "1 of 4"),
        (replace(GOOD, reuse=replace(REUSE, preemptions=3)), "preempted", "3 requests"),
        (replace(GOOD, cold=replace(COLD, stored_bytes=0)), "nothing_stored", "no byte"),
        (replace(GOOD, cold=replace(COLD, stored_bytes=None)), "nothing_stored", "no byte"),
        (replace(GOOD, reuse=replace(REUSE, loaded_bytes=0)), "nothing_restored", "0 bytes"),
        (replace(GOOD, reuse=replace(REUSE, host_hit_tokens=0)), "nothing_restored", "0 prompt tokens"),
        (replace(GOOD, reuse=replace(REUSE, loaded_moved_bytes=900)), "moved_raw", "900 of 900 raw bytes restored"),
        (replace(GOOD, cold=replace(COLD, stored_raw_bytes=None), reuse=replace(REUSE, stored_raw_bytes=None)),
         "not_proven", "bytes stored"),
    ],
)  # fmt: skip
def test_each_fault(seen: Witnessed, code: str, words: str) -> None:
    import re

    first = faults("B", seen)[0]
    assert first.reason_code == code
    assert re.search(words, first.reason)


def test_only_the_compressed_arm_must_not_move_raw_bytes_and_the_cost_model_may() -> None:
    raw = replace(GOOD, cold=replace(COLD, stored_moved_bytes=1000), reuse=replace(REUSE, loaded_moved_bytes=900))
    assert faults("A", raw) == []
    assert {fault.reason_code for fault in faults("B", raw)} == {"moved_raw"}
    assert faults("B", replace(raw, may_go_raw=True)) == []


def test_the_gravest_is_first_and_all_are_told() -> None:
    seen = replace(GOOD, start=replace(START, gpu_hit_tokens=1), cold=replace(COLD, stored_bytes=0, preemptions=1))
    assert [fault.reason_code for fault in faults("B", seen)] == ["contaminated", "preempted", "nothing_stored"]
