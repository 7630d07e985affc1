"""Checks what a profiler would see: ranges around batches, never inside the timed call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kvbench.measure import nvtx, sampling
from kvbench.measure.clock import HostClock
from kvbench.measure.sampling import StopRule, sample


def test_ranges_surround_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    @contextmanager
    def recorded(text: str) -> Iterator[None]:
        events.append(f"push {text}")
        yield
        events.append("pop")

    class Clock(HostClock):
        def time_s(self, call: object, calls: int) -> float:
            events.append("timed")
            return 0.1 * calls

    monkeypatch.setattr(sampling, "marked", recorded)
    sample(lambda: None, clock=Clock(), rule=StopRule(iterations=2), work_bytes=1, nvtx_text="c0ffee/encode_call")
    assert events == [
        "push c0ffee/encode_call/warmup",
        "timed",
        "pop",
        *["push c0ffee/encode_call/sample", "timed", "pop"] * 2,
        "timed",  # an empty call, to tell it from the measured one
    ]


def test_a_range_without_a_profiler_lets_results_and_errors_through() -> None:
    with nvtx.marked("case/phase/sample"):
        pass
    with pytest.raises(ZeroDivisionError), nvtx.marked("case/phase/sample"):
        _ = 1 // 0


class FakeDomain:
    """What the package gives where a tool listens."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def get_event_attributes(self, message: str) -> str:
        return message

    def push_range(self, attributes: str) -> None:
        self.events.append(attributes)

    def pop_range(self) -> None:
        self.events.append("pop")


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDomain]:
    asked: list[str] = []
    fake = FakeDomain()

    def get_domain(name: str) -> FakeDomain:
        asked.append(name)
        return fake

    monkeypatch.setattr("nvtx.get_domain", get_domain)
    nvtx._domain.cache_clear()
    yield fake
    nvtx._domain.cache_clear()
    assert set(asked) <= {"kvbench"}


def test_a_listener_gets_every_range_in_kvbenchs_domain(domain: FakeDomain) -> None:
    with nvtx.marked("case/phase"), nvtx.marked("case/phase/sample"):
        pass
    with pytest.raises(ZeroDivisionError), nvtx.marked("broken"):
        _ = 1 // 0
    assert domain.events == ["case/phase", "case/phase/sample", "pop", "pop", "broken", "pop"]


def test_a_second_listener_gets_the_same_texts_until_its_block_ends(domain: FakeDomain) -> None:
    seen: list[str] = []

    @contextmanager
    def second(text: str) -> Iterator[None]:
        seen.append(text)
        yield

    with nvtx.also_marked(second), nvtx.marked("one"):
        pass
    with nvtx.marked("two"):
        pass
    assert seen == ["one"]
    assert domain.events == ["one", "pop", "two", "pop"]


def test_a_tool_that_cannot_say_it_listens_is_given_the_ranges_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVTX_INJECTION64_PATH", raising=False)
    nvtx._domain.cache_clear()
    assert nvtx._domain() is None
    monkeypatch.setenv("NVTX_INJECTION64_PATH", "/no/such/library.so")
    nvtx._domain.cache_clear()
    forced = nvtx._domain()
    nvtx._domain.cache_clear()
    assert type(forced).__name__ == "Domain"
    with nvtx.marked("case/phase/sample"):
        pass
    nvtx._domain.cache_clear()
