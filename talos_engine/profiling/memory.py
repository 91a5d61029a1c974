"""Peak memory while a block runs: resident set size on the CPU, NVML on NVIDIA devices."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

import psutil
import torch

from talos_engine.errors import DeviceError

CPU_INTERVAL_S = 0.02
NVML_INTERVAL_S = 1.0  # as the paper samples


class PeakMemory:
    """Context manager that samples memory in a thread and keeps the peak.

    Args:
        device: The device whose memory counts; anything but CUDA means resident set size.

    Attributes:
        start_bytes: Memory in use when the block was entered.
        peak_bytes: Highest sample, the ones at entry and exit included.
        source: ``rss`` or ``nvml``.
    """

    def __init__(self, device: torch.device) -> None:
        self.source = "nvml" if device.type == "cuda" else "rss"
        self._read = _nvml_reader(device) if self.source == "nvml" else _rss_reader()
        self._interval = NVML_INTERVAL_S if self.source == "nvml" else CPU_INTERVAL_S
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.start_bytes = 0
        self.peak_bytes = 0

    def __enter__(self) -> PeakMemory:
        self.start_bytes = self.peak_bytes = self._read()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.peak_bytes = max(self.peak_bytes, self._read())

    def _sample(self) -> None:
        while not self._stop.wait(self._interval):
            self.peak_bytes = max(self.peak_bytes, self._read())


def _rss_reader() -> Callable[[], int]:
    process = psutil.Process(os.getpid())
    return lambda: int(process.memory_info().rss)


def _nvml_reader(device: torch.device) -> Callable[[], int]:
    import pynvml

    try:
        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(
            uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
        )
    except pynvml.NVMLError as error:
        raise DeviceError(f"NVML does not answer: {error}", "install NVIDIA's driver") from error

    def read() -> int:
        own = os.getpid()
        for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
            if process.pid == own and process.usedGpuMemory is not None:
                return int(process.usedGpuMemory)
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)

    return read
