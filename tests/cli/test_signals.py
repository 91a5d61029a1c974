"""Ctrl-C and SIGTERM: the right exit code, no traceback, nothing left behind. On the real model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

# Runs a command and creates the marker after the first training step.
MARKED = """
import pathlib, sys
from talos_engine.training import loop
step, marker = loop._take_step, pathlib.Path(sys.argv[1])
def marked(*arguments):
    record = step(*arguments)
    marker.touch()
    return record
loop._take_step = marked
sys.argv = ["talos", *sys.argv[2:]]
from talos_cli.main import main
main()
"""
LIMIT_S = 240  # generous: a broken command must not hang the suite


def start(code: str, *words: object, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        start_new_session=True,
    )  # fmt: skip


def wait_until(ready: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not ready():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never began"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_during_training(tmp_path: Path, number: int, code: int, word: str) -> None:
    folder, marker = tmp_path / "work", tmp_path / "marker"
    folder.mkdir()
    process = start(
        MARKED, marker, "finetune", "--model", "tiny-clip", "--task", "digits", "--method",
        "nonlinear", "--steps", 10**6, "--batch-size", 4, "--threads", 1, "-o", "c.safetensors",
        folder=folder,
    )  # fmt: skip
    try:
        wait_until(marker.exists, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in err
    assert word in err
    assert list(folder.iterdir()) == [], "no output, no temporary, no lock"


def test_ctrl_c_during_profile_reaches_the_workers_quietly(tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole group, the worker included."""
    process = start(
        "from talos_cli.main import main; main()",
        "profile", "--model", "tiny-clip", "--task", "digits", "--methods", "nonlinear",
        "--iters", 10**6, "--batch-size", 4, "--threads", 1, folder=tmp_path,
    )  # fmt: skip
    group = os.getpgid(process.pid)
    try:
        parent = psutil.Process(process.pid)

        def workers() -> list[psutil.Process]:
            return [p for p in parent.children() if "spawn_main" in " ".join(p.cmdline())]

        wait_until(workers, process)
        time.sleep(1.0)  # somewhere in the worker's imports, where Python is easily caught
        (worker, *_) = workers()
        os.killpg(group, signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    """``talos tasks | head -0``."""
    process = start("from talos_cli.main import main; main()", "tasks", folder=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=LIMIT_S) != 0
    assert "Traceback" not in err
    assert "Exception ignored" not in err


FINETUNE = (
    "finetune", "--model", "tiny-clip", "--task", "digits", "--method", "nonlinear",
    "--steps", 6, "--batch-size", 8, "--threads", 1, "--early-stop", 9,
)  # fmt: skip


def finish(folder: Path, out: str, *more: object) -> str:
    process = start(
        "from talos_cli.main import main; main()", *FINETUNE, "-o", out, *more, folder=folder
    )
    printed, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert printed == f"{out}\n"
    return err


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)],
    ids=["SIGTERM", "SIGINT", "SIGKILL"],
)
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, number: int, code: int
) -> None:
    marker = tmp_path / "marker"
    process = start(
        MARKED, marker, *FINETUNE, "-o", "c.safetensors", "--checkpoint-every", 1, folder=tmp_path
    )
    state = tmp_path / "c.safetensors.resume.safetensors"
    try:
        wait_until(state.exists, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in err
    assert not (tmp_path / "c.safetensors").exists()
    if code > 0:
        assert "c.safetensors.resume.safetensors keeps what was done" in err
        assert "--resume" in err
    assert "went on after step" in finish(tmp_path, "c.safetensors", "--resume")
    finish(tmp_path, "whole.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == (
        tmp_path / "whole.safetensors"
    ).read_bytes()
    assert not state.exists()
