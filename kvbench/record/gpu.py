"""Owns the facts about GPUs: what NVML says of each, and whether CUDA can be used from here."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

# Bits of NVML's clocks event reasons.
_THROTTLE_REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}


class GpuFacts(BaseModel):
    """One GPU as NVML sees it; None where the driver does not tell. Clocks and PCIe are those of the moment asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    uuid: str | None = None
    memory_bytes: int | None = None
    driver: str | None = None
    cuda_driver: str | None = None  # newest CUDA the driver can run
    pcie_generation: int | None = None
    pcie_generation_max: int | None = None
    pcie_width: int | None = None  # lanes
    pcie_width_max: int | None = None
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    memory_clock_max_mhz: int | None = None
    throttle_reasons: tuple[str, ...] | None = None
    power_limit_w: float | None = None
    temperature_c: int | None = None
    numa_node: int | None = None  # of the host memory next to it, by the kernel
    persistence_mode: bool | None = None
    ecc: bool | None = None
    mig: bool | None = None


class CudaFacts(BaseModel):
    """The GPU that torch can use as device `device_id`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_id: int
    name: str
    compute_capability: str
    memory_bytes: int
    l2_bytes: int | None
    multiprocessors: int
    cuda_torch: str  # CUDA that torch was built with
    gpu: GpuFacts


def cuda_facts(device_id: int = 0) -> CudaFacts | str:
    """The facts of one usable GPU, or in one line why there is none. Imports torch; never raises."""
    reason = cuda_unavailable()
    if reason is not None:
        return reason
    try:
        import torch

        count = torch.cuda.device_count()
        if not 0 <= device_id < count:
            return f"there is no GPU {device_id}; this machine shows {count}, numbered from 0"
        device = torch.cuda.get_device_properties(device_id)
        return CudaFacts(
            device_id=device_id,
            name=device.name,
            compute_capability=f"{device.major}.{device.minor}",
            memory_bytes=device.total_memory,
            l2_bytes=getattr(device, "L2_cache_size", None),
            multiprocessors=device.multi_processor_count,
            cuda_torch=str(torch.version.cuda),
            gpu=_gpu_of_uuid(f"GPU-{getattr(device, 'uuid', '')}"),
        )
    except Exception as error:  # noqa: BLE001  facts must never stop a run
        return f"torch cannot use GPU {device_id}: {error}"


def cuda_unavailable() -> str | None:
    """Why CUDA cannot be used from here, every reason found, or None when it can. Imports torch; never raises."""
    reasons = []
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        reasons.append("no NVIDIA driver (libcuda.so.1 is not found)")
    try:
        import torch
    except Exception as error:  # noqa: BLE001  a broken torch is a fact like any other
        return "; ".join([*reasons, f"torch cannot be imported ({error})"])
    if torch.version.cuda is None:
        reasons.append(f"torch {torch.__version__} is built without CUDA")
    if reasons:
        return "; ".join(reasons)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            if torch.cuda.is_available():
                return None
        except Exception as error:  # noqa: BLE001
            return f"torch cannot start CUDA ({error})"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    reasons = [" ".join(str(warning.message).split()) for warning in said]
    if hidden is not None:
        reasons.append(f"CUDA_VISIBLE_DEVICES is {hidden!r}")
    return "; ".join(["torch finds no usable GPU", *reasons])


def gpus() -> list[GpuFacts]:
    """Every GPU that NVML shows, whether torch can use it or not; empty without a driver. Never raises."""
    with suppress(Exception), _nvml() as nvml:
        return [_facts(nvml, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(nvml.nvmlDeviceGetCount())]
    return []


def _gpu_of_uuid(uuid: str) -> GpuFacts:
    # By UUID, as CUDA_VISIBLE_DEVICES makes the numbers of torch and NVML differ.
    with suppress(Exception), _nvml() as nvml:
        return _facts(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid))
    return GpuFacts()


@contextmanager
def _nvml() -> Iterator[Any]:
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _facts(nvml: Any, handle: Any) -> GpuFacts:
    def ask(question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(handle, *arguments)
        except (nvml.NVMLError, AttributeError):
            return None

    pci = ask(nvml.nvmlDeviceGetPciInfo)
    memory = ask(nvml.nvmlDeviceGetMemoryInfo)
    reasons = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
    power_mw = ask(nvml.nvmlDeviceGetEnforcedPowerLimit)
    ecc = ask(nvml.nvmlDeviceGetEccMode)
    mig = ask(nvml.nvmlDeviceGetMigMode)
    persistence = ask(nvml.nvmlDeviceGetPersistenceMode)
    return GpuFacts(
        name=ask(nvml.nvmlDeviceGetName),
        uuid=ask(nvml.nvmlDeviceGetUUID),
        memory_bytes=None if memory is None else memory.total,
        driver=nvml.nvmlSystemGetDriverVersion(),
        cuda_driver=_cuda_version(nvml.nvmlSystemGetCudaDriverVersion()),
        pcie_generation=ask(nvml.nvmlDeviceGetCurrPcieLinkGeneration),
        pcie_generation_max=ask(nvml.nvmlDeviceGetMaxPcieLinkGeneration),
        pcie_width=ask(nvml.nvmlDeviceGetCurrPcieLinkWidth),
        pcie_width_max=ask(nvml.nvmlDeviceGetMaxPcieLinkWidth),
        sm_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
        sm_clock_max_mhz=ask(nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_SM),
        memory_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM),
        memory_clock_max_mhz=ask(nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_MEM),
        throttle_reasons=None if reasons is None else throttle_words(reasons),
        power_limit_w=None if power_mw is None else power_mw / 1000,
        temperature_c=ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        numa_node=None if pci is None else _numa_node(_text(pci.busId)),
        persistence_mode=None if persistence is None else bool(persistence),
        ecc=None if ecc is None else bool(ecc[0]),
        mig=None if mig is None else bool(mig[0]),
    )


PCI_DEVICES = Path("/sys/bus/pci/devices")


def _numa_node(bus_id: str) -> int | None:
    """The NUMA node that the kernel names for a PCI device such as `00000000:0F:00.0`; None where it names none."""
    domain, _, rest = bus_id.lower().partition(":")
    try:
        node = int((PCI_DEVICES / f"{int(domain, 16):04x}:{rest}" / "numa_node").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _text(value: str | bytes) -> str:
    """NVML's binding gives bytes in some versions."""
    return value.decode() if isinstance(value, bytes) else value


def throttle_words(bits: int) -> tuple[str, ...]:
    """Words for NVML's bits of clocks event (throttle) reasons; a bit without a name is given in hexadecimal."""
    known = [word for bit, word in _THROTTLE_REASONS.items() if bits & bit]
    unknown = bits & ~sum(_THROTTLE_REASONS)
    return tuple([*known, hex(unknown)] if unknown else known)


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
