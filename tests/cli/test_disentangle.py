"""``talos disentangle`` over processes, killed and resumed, on the real embedded model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from talos_engine.artifacts import Header, TaskVector, make_entry, write_vector
from talos_engine.models.loading import load_weights

LIMIT_S = 240  # generous: a broken command must not hang the suite
GRID = ("--grid", "3", "--points", "12", "--threads", "1", "--device", "cpu")


def write_vectors(folder: Path) -> list[str]:
    """Random vectors of two tasks, large enough to change predictions."""
    weights = load_weights("tiny-clip")
    for number, task in enumerate(("digits", "shapes")):
        generator = torch.Generator().manual_seed(number)
        entries = {}
        for name, before in weights.tensors.items():
            if "visual.transformer" in name:
                change = 0.03 * torch.randn(before.shape, generator=generator)
                entry = make_entry(before, before + change, sparse="never")
                assert entry is not None
                entries[name] = entry
        header = Header("vector", weights.info, "synthetic", task, {}, 0, "")
        write_vector(folder / task, TaskVector(header, entries))
    return ["digits", "shapes"]


@pytest.mark.slow
def test_two_processes_killed_and_resumed_give_the_bytes_of_one(
    talos: Callable[..., Any], tmp_path: Path
) -> None:
    vectors = write_vectors(tmp_path)
    assert talos("disentangle", *vectors, *GRID, "-o", "one.json").code == 0
    shared = talos("disentangle", *vectors, *GRID, "--jobs", "2", "-o", "shared.json")
    assert shared.code == 0
    assert (tmp_path / "shared.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    words = ["disentangle", *vectors, *GRID, "--jobs", "2", "--checkpoint-every", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "talos_cli", *words, "-o", "two.json"], cwd=tmp_path
    )
    state = tmp_path / "two.json.resume.safetensors"
    deadline = time.monotonic() + LIMIT_S
    try:
        while not state.exists():
            assert process.poll() is None, "it was too fast to be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        others = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    gone, alive = psutil.wait_procs(others, timeout=LIMIT_S)
    assert not alive, "they end with the one that started them"
    assert any(other.pid for other in gone), "another process shared the grid"
    assert not (tmp_path / "two.json").exists()
    words[words.index("--jobs") + 1] = "1"  # whose number may change
    done = talos(*words, "--resume", "-o", "two.json", "--json")
    assert done.code == 0
    assert 0 < json.loads(done.out)["resumed_at"] < 15
    assert "went on after" in done.err
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    assert json.loads((tmp_path / "one.json").read_text())["error"][0][0] > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--jobs", "0"), "--jobs"),
        (("--jobs", "two"), "--jobs"),
        (("--checkpoint-every", "-1"), "--checkpoint-every"),
    ],
    ids=" ".join,
)
def test_bad_numbers_are_usage_errors(
    talos: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    done = talos("disentangle", "a", "b", *words)
    assert done.code == 2
    assert told in done.plain_err
    assert list(tmp_path.iterdir()) == []
