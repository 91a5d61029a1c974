"""Work in a fresh process ends with the process that waits for it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

LIMIT_S = 120  # generous: a broken command must not hang the suite
STARTER = """
import sys, time
from talos_engine.workflows.apart import run_apart
if __name__ == "__main__":
    print("ready", flush=True)
    run_apart("a nap", time.sleep, 100_000)
"""


@pytest.mark.slow
def test_work_ends_where_the_one_that_waits_is_killed(tmp_path: Path) -> None:
    (tmp_path / "start.py").write_text(STARTER)
    process = psutil.Popen([sys.executable, "start.py"], cwd=tmp_path, stdout=subprocess.PIPE)
    workers: list[psutil.Process] = []
    try:
        assert process.stdout.readline().strip() == b"ready"
        deadline = time.monotonic() + LIMIT_S
        while not any("spawn_main" in " ".join(it.cmdline()) for it in workers):
            assert time.monotonic() < deadline
            workers = process.children(recursive=True)
            time.sleep(0.05)
        time.sleep(3)  # for its imports, before which nothing watches
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=LIMIT_S)
    for worker in alive:
        worker.kill()
    assert not alive


STOPPED = """
import multiprocessing, os, signal, sys, time
from talos_engine.workflows.apart import run_apart
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
    start = multiprocessing.context.SpawnProcess.start
    def stopped(self):
        os.kill(os.getpid(), signal.SIGTERM)
        start(self)
    multiprocessing.context.SpawnProcess.start = stopped
    try:
        run_apart("a nap", time.sleep, 100_000)
    except SystemExit:
        print(len(multiprocessing.active_children()), flush=True)
"""


@pytest.mark.slow
def test_work_that_is_stopped_as_it_starts_is_ended(tmp_path: Path) -> None:
    (tmp_path / "start.py").write_text(STOPPED)
    done = subprocess.run(
        [sys.executable, "start.py"], cwd=tmp_path, capture_output=True, text=True,
        timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr
