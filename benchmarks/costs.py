"""What a whole process costs: seconds by the clock and of the processor, and peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LAUNCHER = """
import json, os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - began
print(json.dumps([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of the processor, and peak resident bytes of a process.

    By the clock, ``talos`` waits until its result is safe on the disk, which others do not.
    """

    seconds: float
    processor: float
    peak: int

    def __str__(self) -> str:
        return f"{self.seconds:6.1f} s (CPU {self.processor:5.1f}) {self.peak / 1e6:7.0f} MB"


def run(*words: object) -> Cost:
    """Run a process and wait for it; its output is shown if it fails.

    A small process starts it: a child's peak includes what its parent held when it was forked.
    """
    command = [sys.executable, "-c", LAUNCHER, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    seconds, processor, peak = json.loads(done.stdout)
    return Cost(seconds, processor, peak * 1024)


def median(work: Sequence[Callable[[], Cost]], repeats: int) -> list[Cost]:
    """Median seconds and largest peak of each way, interleaved."""
    costs: list[list[Cost]] = [[] for _ in work]
    for _ in range(repeats):
        for slot, piece in zip(costs, work, strict=True):
            slot.append(piece())
    return [
        Cost(
            statistics.median(c.seconds for c in slot),
            statistics.median(c.processor for c in slot),
            max(c.peak for c in slot),
        )
        for slot in costs
    ]
