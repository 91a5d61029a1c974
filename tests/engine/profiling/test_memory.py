"""The memory meter sees what a block allocates, and only while it runs."""

from __future__ import annotations

import mmap
import threading
import time

import numpy as np
import pytest
import torch

from talos_engine.errors import DeviceError
from talos_engine.profiling import memory as module
from talos_engine.profiling.memory import PeakMemory

MEBI = 2**20
CPU = torch.device("cpu")


def fake_reader(values: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory readings: the values in turn, then the last one for ever."""
    left = list(values)
    monkeypatch.setattr(
        module, "_rss_reader", lambda: lambda: left.pop(0) if len(left) > 1 else left[0]
    )


def test_start_and_peak_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_reader([10, 50, 30, 20], monkeypatch)
    monkeypatch.setattr(module, "CPU_INTERVAL_S", 0.001)
    with PeakMemory(CPU) as meter:
        deadline = time.monotonic() + 30
        while meter.peak_bytes < 50 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert meter.start_bytes == 10
    assert meter.peak_bytes == 50


def test_a_block_faster_than_the_sampling_still_counts_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_reader([10, 25], monkeypatch)
    monkeypatch.setattr(module, "CPU_INTERVAL_S", 3600)
    with PeakMemory(CPU) as meter:
        pass
    assert (meter.start_bytes, meter.peak_bytes) == (10, 25)


def test_the_peak_rises_by_what_is_allocated_and_freed_again() -> None:
    size = 160 * MEBI
    with PeakMemory(CPU) as meter:
        block = mmap.mmap(-1, size)  # fresh pages, which an allocator might already have
        np.frombuffer(block, dtype=np.uint8)[:] = 1
        reached = threading.Event()
        # Hold the block until the meter has looked at it, however slow the machine is.
        deadline = time.monotonic() + 60
        while meter.peak_bytes - meter.start_bytes < 0.9 * size and time.monotonic() < deadline:
            reached.wait(0.005)
        block.close()
    assert meter.source == "rss"
    assert 0.9 * size <= meter.peak_bytes - meter.start_bytes <= 2 * size


def test_the_thread_ends_with_the_block_and_errors_pass_through() -> None:
    before = threading.active_count()
    with pytest.raises(KeyError), PeakMemory(CPU) as meter:  # noqa: PT012
        assert threading.active_count() == before + 1
        raise KeyError
    assert threading.active_count() == before
    assert meter.peak_bytes >= meter.start_bytes > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without NVML")
def test_without_a_driver_nvml_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    with pytest.raises(DeviceError, match="NVML does not answer"):
        PeakMemory(torch.device("cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_memory_is_seen_by_nvml() -> None:
    torch.zeros(1, device="cuda")
    with PeakMemory(torch.device("cuda")) as meter:
        block = torch.ones(256 * MEBI, dtype=torch.uint8, device="cuda")
        torch.cuda.synchronize()
    assert meter.source == "nvml"
    assert meter.peak_bytes - meter.start_bytes >= 200 * MEBI
    del block
