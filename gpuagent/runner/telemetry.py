"""How the device is: temperature, power, load, memory, throttling. By NVML where there is one.

The NVML part has been tested against a library that answers as NVIDIA documents it, not yet on a
GPU.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gpuagent.runner.logs import log_event, log_trouble

_SECONDS = 5.0
# Bits of `nvmlDeviceGetCurrentClocksEventReasons`; idle and chosen clocks are no trouble.
_THROTTLES: Mapping[int, str] = MappingProxyType(
    {
        0x04: "power_cap",
        0x08: "hardware_slowdown",
        0x10: "sync_boost",
        0x20: "thermal",
        0x40: "hardware_thermal",
        0x80: "power_brake",
    }
)
# The hardware protects itself: pictures take many times as long. Caps that were chosen, and the
# driver's own keeping cool, are no such thing.
_SLOWDOWNS = frozenset({"hardware_slowdown", "hardware_thermal", "power_brake"})
SLOW_AFTER_SECONDS, WELL_AFTER_SECONDS = 60.0, 300.0
_PROCESS = Path("/proc/self")


class NvmlDevice:
    """One GPU as NVML sees it; it knows the same one as torch by its UUID."""

    def __init__(self, nvml: Any, uuid: str) -> None:  # noqa: ANN401 - a module without types
        self._nvml = nvml
        nvml.nvmlInit()
        self._handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        self._ecc_before = self._ecc_errors()

    def read(self) -> dict[str, object]:
        """What it says of itself; what it does not say is left out."""
        nvml, handle = self._nvml, self._handle
        found: dict[str, object] = {}
        readings: dict[str, Callable[[], object]] = {
            "temperature_c": lambda: float(nvml.nvmlDeviceGetTemperature(handle, 0)),
            "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "utilization": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            "memory_used_bytes": lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).used),
            "throttled": self._throttled,
        }
        for name, read in readings.items():
            with contextlib.suppress(nvml.NVMLError):  # not every card knows everything
                found[name] = read()
        return found

    def has_new_ecc_errors(self) -> bool:
        """Whether memory errors that could not be corrected came since the process began."""
        return self._ecc_errors() > self._ecc_before

    def _ecc_errors(self) -> int:
        nvml = self._nvml
        try:
            return int(
                nvml.nvmlDeviceGetTotalEccErrors(
                    self._handle,
                    nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                    nvml.NVML_VOLATILE_ECC,
                )
            )
        except nvml.NVMLError:
            return 0  # a card without error correction

    def _throttled(self) -> list[str]:
        reasons = int(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle))
        return [name for bit, name in _THROTTLES.items() if reasons & bit]


def find_nvml_device() -> NvmlDevice | None:
    """The GPU that torch computes on; None without one, or without NVML."""
    try:
        import torch

        uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
        return NvmlDevice(importlib.import_module("pynvml"), uuid)
    except Exception as error:  # NVML's own classes are not known without it
        log_trouble("telemetry.no_nvml", error=type(error).__name__)
        return None


def read_cpu() -> dict[str, object]:
    """The same of a machine without a GPU: its load, and this process's memory."""
    found: dict[str, object] = {"throttled": []}
    with contextlib.suppress(OSError):
        found["utilization"] = min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int((_PROCESS / "statm").read_text().split()[1])
        found["memory_used_bytes"] = pages * os.sysconf("SC_PAGE_SIZE")
    return found


class SlowdownWatch:
    """Whether the hardware slows itself down for so long that others should have the work.

    Being out of work cools a device: it is well only after it has been for longer.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_slow = False
        self._since: float | None = None

    def see(self, reasons: object) -> bool | None:
        """True: it has become slow just now; False: it is well again; None: no news."""
        found = isinstance(reasons, list | tuple) and not _SLOWDOWNS.isdisjoint(reasons)
        if found == self._is_slow:
            self._since = None
            return None
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since < (SLOW_AFTER_SECONDS if found else WELL_AFTER_SECONDS):
            return None
        self._is_slow, self._since = found, None
        return found


class Telemetry:
    """Reads from a thread of its own: a GPU that hangs may hang whoever asks it."""

    def __init__(
        self,
        *,
        has_gpu: bool,
        on_ecc_errors: Callable[[], None],
        on_slowdown: Callable[..., None] = lambda *, is_slow: None,
    ) -> None:
        self._has_gpu = has_gpu
        self._on_ecc_errors = on_ecc_errors
        self._on_slowdown = on_slowdown
        self._slowdown = SlowdownWatch()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self.latest: dict[str, object] = {}

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop, without waiting."""
        self._closing.set()

    def _run(self) -> None:
        device = find_nvml_device() if self._has_gpu else None
        while not self._closing.is_set():
            try:
                self.latest = device.read() if device is not None else read_cpu()
                if device is not None and device.has_new_ecc_errors():
                    self._on_ecc_errors()
                news = self._slowdown.see(self.latest.get("throttled"))
                if news is not None:
                    self._on_slowdown(is_slow=news)
            except Exception as error:  # telemetry is never worth the agent
                log_trouble("telemetry.failed", error=type(error).__name__)
            self._closing.wait(_SECONDS)
        log_event("telemetry.closed")


class PeakMemory:
    """The most memory used since `reset`: the device's as torch counts it, else this process's.

    `reset` and `mark` are to be called on the compute thread.
    """

    def __init__(self, *, has_gpu: bool) -> None:
        self._has_gpu = has_gpu
        self._before = 0
        self._rest: int | None = None

    def reset(self) -> None:
        """Begin to watch."""
        self._before, self._rest = 0, None
        self._forget()

    def mark(self) -> None:
        """The model is loaded: what comes on top from here on is the picture's."""
        self._before = max(self._before, self._peak() or 0)
        self._forget()
        self._rest = self._used()

    def read(self) -> int | None:
        """The most so far; None if the system does not say."""
        peak = self._peak()
        return None if peak is None else max(peak, self._before)

    def growth(self) -> int | None:
        """The most so far above what was used at the mark; None if the system does not say."""
        peak = self._peak()
        return None if peak is None or self._rest is None else max(0, peak - self._rest)

    def _forget(self) -> None:
        if self._has_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()
            return
        with contextlib.suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")

    def _peak(self) -> int | None:
        if self._has_gpu:
            import torch

            return int(torch.cuda.max_memory_allocated())
        return _status_bytes("VmHWM:")

    def _used(self) -> int | None:
        if self._has_gpu:
            import torch

            return int(torch.cuda.memory_allocated())
        return _status_bytes("VmRSS:")


def _status_bytes(name: str) -> int | None:
    try:
        status = (_PROCESS / "status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError, StopIteration):
        return None
