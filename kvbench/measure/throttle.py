"""Owns the watch over a GPU's clock while it is measured: what NVML says of its speed and of what holds it down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kvbench.record.gpu import throttle_words

# What slows a GPU below the clock it was set to. An idle GPU, a clock that was chosen (applications_clocks_setting,
# display_clock_setting) and GPUs that are set to run in step (sync_boost) are how the machine is, and no disturbance.
REASONS_THAT_MATTER = {
    "sw_power_cap",
    "hw_slowdown",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
}
CLOCK_DROP = "sm_clock_drop"  # our word: the clock fell and NVML names no reason, as when somebody else set it
DROP_SHARE = 0.9  # of the highest clock seen


class Sighting(NamedTuple):
    """One look at a GPU; None where the driver does not tell."""

    sm_clock_mhz: int | None
    reasons: tuple[str, ...]  # every word NVML gives


class Watch(Protocol):
    """Looks at a device."""

    def look(self) -> Sighting:
        """How it is now."""

    def most_mhz(self) -> int | None:
        """The highest clock that the device can have; None where the driver does not tell."""


class NvmlWatch:
    """A GPU by its NVML handle. `nvml` is the module pynvml, already initialised."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def look(self) -> Sighting:
        """How it is now; never raises."""
        bits = self._ask(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        clock_mhz = self._ask(self._nvml.nvmlDeviceGetClockInfo, self._nvml.NVML_CLOCK_SM)
        return Sighting(clock_mhz, () if bits is None else throttle_words(bits))

    def most_mhz(self) -> int | None:
        """The highest SM clock of this GPU; never raises."""
        return self._ask(self._nvml.nvmlDeviceGetMaxClockInfo, self._nvml.NVML_CLOCK_SM)

    def _ask(self, question: Callable[..., int], *arguments: Any) -> int | None:
        try:
            return question(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def device_watch(device: str, device_id: int) -> Watch | str | None:
    """The watch over a GPU that torch calls `device_id`; None on the CPU, in words why NVML cannot be asked."""
    if device != "cuda":
        return None
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()  # until the process ends
        # By UUID, as CUDA_VISIBLE_DEVICES makes the numbers of torch and NVML differ.
        uuid = torch.cuda.get_device_properties(device_id).uuid
        return NvmlWatch(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except Exception as error:  # noqa: BLE001  no driver, no library, no such GPU: nothing to watch
        return " ".join(str(error).split()) or type(error).__name__


@dataclass
class ClockLog:
    """What was seen of a device over a run; each phase takes its part."""

    watch: Watch
    highest_mhz: int = 0
    low_mhz: int | None = field(default=None, init=False)
    high_mhz: int | None = field(default=None, init=False)
    reasons: set[str] = field(default_factory=set, init=False)

    def start_phase(self) -> None:
        """Forget the last phase; the highest clock of the run stays."""
        self.low_mhz, self.high_mhz = None, None
        self.reasons = set()

    def look(self) -> None:
        """Look once, just after work: the clock is then that of the work."""
        clock_mhz, words = self.watch.look()
        self.reasons |= REASONS_THAT_MATTER.intersection(words)
        if clock_mhz is None:
            return
        self.low_mhz = clock_mhz if self.low_mhz is None else min(self.low_mhz, clock_mhz)
        self.high_mhz = clock_mhz if self.high_mhz is None else max(self.high_mhz, clock_mhz)
        self.highest_mhz = max(self.highest_mhz, clock_mhz)
        if clock_mhz < DROP_SHARE * self.highest_mhz and "gpu_idle" not in words:
            self.reasons.add(CLOCK_DROP)

    def note(self) -> str:
        """A line on the run so far. No phase shows a clock that was low from the start; only the GPU's limit does."""
        if not self.highest_mhz:
            return "clock not watched: NVML does not tell it"
        most_mhz = self.watch.most_mhz()
        if most_mhz is None:
            return f"SM clock {self.highest_mhz} MHz; NVML does not tell the most it can be"
        low = self.highest_mhz < DROP_SHARE * most_mhz
        held = ": this GPU never ran at its full clock, its kernels could be faster" if low else ""
        return f"SM clock {self.highest_mhz} MHz of at most {most_mhz}{held}"
