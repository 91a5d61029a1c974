"""Peaks of the bytes that torch's allocator holds, phase by phase.

Sampled memory has libraries in it, and freed blocks that an allocator keeps; here every tensor
counts from its first to its last moment, and nothing else. On a CPU watching slows the work: what
is watched is never what is timed.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.profiler import profile, record_function

_MARK = "talos phase: "


@dataclass(frozen=True)
class PhasePeak:
    """Bytes in tensors during a phase, above those that were there before the work began.

    Args:
        start_bytes: When the phase began.
        peak_bytes: The most before the next phase began.
    """

    start_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class AllocatorWatch:
    """What watches an allocator while a block runs.

    Args:
        source: ``profiler``, ``cuda``, or ``none`` where the device's peaks cannot be had.
        enter: Called with a phase's name when it begins, which ends the one before.
        peaks: By phase, in their order; empty until the block has ended. Of a phase that was
            entered several times, the last time counts.
    """

    source: str
    enter: Callable[[str], None]
    peaks: dict[str, PhasePeak] = field(default_factory=dict)


def watch_allocator(device: torch.device) -> AbstractContextManager[AllocatorWatch]:
    """Context in which what is allocated on a device is watched; not to be nested."""
    return _WATCHES.get(device.type, _watch_nothing)(device)


@contextmanager
def _watch_cpu(_device: torch.device) -> Iterator[AllocatorWatch]:
    """In torch's profiler, which sees each block of its CPU allocator come and go."""
    watch = AllocatorWatch("profiler", _mark)
    gc.collect()
    with _silenced(), profile(profile_memory=True, use_kineto=True) as recorded:
        yield watch
    assert recorded.kineto_results is not None
    watch.peaks.update(replay(_walk(recorded.kineto_results.experimental_event_tree())))


@contextmanager
def _watch_cuda(device: torch.device) -> Iterator[AllocatorWatch]:
    """The caching allocator keeps the peak itself, from one reset to the next."""
    gc.collect()
    before = torch.cuda.memory_allocated(device)
    current: list[tuple[str, int]] = []

    def leave() -> None:
        for phase, start in current:
            watch.peaks[phase] = PhasePeak(start, torch.cuda.max_memory_allocated(device) - before)
        current.clear()

    def enter(phase: str) -> None:
        leave()
        torch.cuda.reset_peak_memory_stats(device)
        current.append((phase, torch.cuda.memory_allocated(device) - before))

    watch = AllocatorWatch("cuda", enter)
    yield watch
    leave()


@contextmanager
def _watch_nothing(_device: torch.device) -> Iterator[AllocatorWatch]:
    yield AllocatorWatch("none", lambda phase: None)


_WATCHES: dict[str, Callable[[torch.device], AbstractContextManager[AllocatorWatch]]] = {
    "cpu": _watch_cpu,
    "cuda": _watch_cuda,
}


def replay(events: Iterable[tuple[int, str, int, int]]) -> dict[str, PhasePeak]:
    """Peaks by phase.

    Args:
        events: Moment, name, and of a block that came or went its address and signed size (else
            0), in any order. A block that went but never came is left out: it was there before.
    """
    held, phase = 0, ""
    alive: set[int] = set()
    peaks: dict[str, PhasePeak] = {}
    for _, name, address, size in sorted(events, key=lambda event: event[0]):
        if name.startswith(_MARK):
            phase = name.removeprefix(_MARK)
            peaks.pop(phase, None)
            peaks[phase] = PhasePeak(held, held)
            continue
        if size > 0:
            alive.add(address)
        elif address in alive:
            alive.remove(address)
        else:
            continue
        held += size
        if phase and held > peaks[phase].peak_bytes:
            peaks[phase] = PhasePeak(peaks[phase].start_bytes, held)
    return peaks


def _mark(phase: str) -> None:
    with record_function(_MARK + phase):
        pass


def _walk(roots: Iterable[Any]) -> Iterator[tuple[int, str, int, int]]:
    """Marks and allocations in the profiler's tree, whose nodes are of no public type."""
    left = list(roots)
    while left:
        event = left.pop()
        left.extend(event.children)
        fields = event.extra_fields
        if hasattr(fields, "alloc_size"):
            if fields.device.type == "cpu":
                yield event.start_time_ns, "", int(fields.ptr), int(fields.alloc_size)
        elif event.name.startswith(_MARK):
            yield event.start_time_ns, event.name, 0, 0


@contextmanager
def _silenced() -> Iterator[None]:
    """Nothing on standard error: the profiler logs there from C++, whatever level is asked for."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
