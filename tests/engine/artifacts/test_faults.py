"""Writing while the process is killed, the disk is full or another process writes the same."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import (
    Checkpoint,
    Header,
    atomic_write,
    check_output,
    open_tensors,
    write_checkpoint,
)
from talos_engine.errors import OutputError

OLD, NEW = b"old" * 1000, b"new!" * 1000
STEPS = ("open", "write", "fsync", "link", "replace", "unlink", "flock", "close", "lstat")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def in_child(work: Callable[[], None]) -> int:
    """Wait status of a forked process that does ``work`` and exits with 0."""
    with warnings.catch_warnings():  # newer Pythons warn of forks beside idle threads
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        signal.alarm(30)
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def fail_at(count: int, action: Callable[[], None]) -> Callable[[], int]:
    """Make every system call that writing uses count; before call ``count``, do ``action``."""
    calls = 0

    def step() -> None:
        nonlocal calls
        calls += 1
        if calls == count + 1:
            action()

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            step()
            return original(*args, **options)

        return call

    for name in STEPS:
        module = fcntl if name == "flock" else os
        setattr(module, name, counted(getattr(module, name)))
    return lambda: calls


def write_new(target: Path, *, force: bool) -> None:
    def write(path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY)
        for begin in range(0, len(NEW), 1000):
            os.write(descriptor, NEW[begin : begin + 1000])
        os.close(descriptor)

    atomic_write(target, write, force=force)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("force", [True, False])
def test_a_kill_at_any_step_leaves_old_or_new_and_blocks_nobody(
    tmp_path: Path, force: bool
) -> None:
    target = tmp_path / "x"
    outcomes = []
    for count in range(100):
        target.unlink(missing_ok=True)
        if force:
            target.write_bytes(OLD)

        def work(count: int = count) -> None:
            fail_at(count, kill)
            write_new(target, force=force)

        status = in_child(work)
        content = target.read_bytes() if target.exists() else None
        assert content in ((OLD if force else None), NEW)
        outcomes.append(content == NEW)
        write_new(target, force=True)
        assert target.read_bytes() == NEW
        assert names(tmp_path) == ["x"]
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert status == 0
    assert outcomes == sorted(outcomes)
    assert sum(outcomes) > 2
    assert len(outcomes) > 15


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_step_leaves_old_or_new_and_no_litter(tmp_path: Path, number: int) -> None:
    target = tmp_path / "x"
    report = tmp_path / "report"

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    refused = 0
    for count in range(100):
        target.write_bytes(OLD)

        def work(count: int = count) -> None:
            calls = fail_at(count, fail)
            try:
                write_new(target, force=True)
                outcome = "written" if calls() > count else "end"
            except OutputError as error:
                outcome = error.message
            finally:
                fail_at(-1, fail)
            report.write_text(outcome)

        assert in_child(work) == 0
        outcome = report.read_text()
        if outcome == "end":
            break
        if outcome != "written":
            refused += 1
            assert str(target) in outcome
            assert os.strerror(number) in outcome
        assert target.read_bytes() in ((NEW,) if outcome == "written" else (OLD, NEW))
        assert [n for n in names(tmp_path) if n.endswith("tmp-talos")] == []
    assert outcome == "end"
    assert refused > 8


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "x"

    def work(letter: bytes) -> None:
        refusals = []
        for _ in range(20):
            try:
                atomic_write(target, lambda path: path.write_bytes(letter * 9999), force=True)
            except OutputError as error:
                refusals.append(error.message)
        assert all("another run" in message for message in refusals)

    children = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for letter in (b"a", b"b", b"c", b"d", b"e", b"f"):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    work(letter)
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    content = target.read_bytes()
    assert content == content[:1] * 9999
    assert names(tmp_path) == ["x"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Folder on a file system of 256 KB of its own; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "talos-test", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user cannot mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_old_file(
    tiny_disk: Path, make_header: Callable[..., Header]
) -> None:
    target = tiny_disk / "x"
    small = Checkpoint(make_header("checkpoint"), {"w": torch.ones(1000)})
    large = Checkpoint(make_header("checkpoint"), {"w": torch.ones(100_000)})
    write_checkpoint(target, small)
    before = target.read_bytes()
    with pytest.raises(OutputError, match="free"):
        write_checkpoint(target, large, force=True)
    with pytest.raises(OutputError, match="space") as caught:
        atomic_write(target, lambda path: path.write_bytes(bytes(500_000)), force=True)
    assert "free some space" in caught.value.hint
    assert target.read_bytes() == before
    assert names(tiny_disk) == ["x"]
    with open_tensors(target) as file:
        assert torch.equal(file.get("w"), torch.ones(1000))


def test_a_read_only_disk_is_found_before_the_work(tiny_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    for attempt in (check_output, lambda path, force: write_new(path, force=force)):
        with pytest.raises(OutputError, match="Read-only") as caught:
            attempt(tiny_disk / "x", force=False)
        assert "write to" in caught.value.hint


def test_a_read_only_folder_is_found_before_the_work() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)

        def work() -> None:
            if os.geteuid() == 0:  # root may write everywhere
                os.setuid(65534)
            with pytest.raises(OutputError, match="Permission") as caught:
                check_output(folder / "x", force=False)
            assert "write to" in caught.value.hint
            with pytest.raises(OutputError, match="Permission"):
                write_new(folder / "x", force=False)

        assert in_child(work) == 0
        assert names(folder) == []
        folder.chmod(0o755)


def test_a_file_size_limit_leaves_no_torn_file(
    tmp_path: Path, make_header: Callable[..., Header]
) -> None:
    """The kernel itself stops the write in the middle, after part of it is on disk."""
    target = tmp_path / "x"
    target.write_bytes(OLD)
    tensors = {f"w{i}": torch.ones(1000) for i in range(100)}  # small: forks have no threads
    checkpoint = Checkpoint(make_header("checkpoint"), tensors)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(OutputError, match="too large"):
            write_checkpoint(target, checkpoint, force=True)

    assert in_child(work) == 0
    assert target.read_bytes() == OLD
    assert names(tmp_path) == ["x"]


def test_a_real_kill_in_the_middle_of_a_large_write(
    tmp_path: Path, make_header: Callable[..., Header]
) -> None:
    """A kill from outside while tensors stream to disk, at different depths into the file."""
    target = tmp_path / "x"
    for depth in (0, 3, 9):
        tensors = {f"w{i}": torch.full((1000,), float(i)) for i in range(10)}
        tripwire = _Tripwire(tensors)
        tripwire.depth = depth

        def work(tripwire: _Tripwire = tripwire) -> None:
            write_checkpoint(target, Checkpoint(make_header("checkpoint"), tripwire))

        assert os.WTERMSIG(in_child(work)) == signal.SIGKILL
        assert not target.exists()
        assert any(name.endswith("tmp-talos") for name in names(tmp_path))
    write_checkpoint(target, Checkpoint(make_header("checkpoint"), tensors))
    assert names(tmp_path) == ["x"]


class _Tripwire(dict[str, torch.Tensor]):
    """Tensors whose reading kills the process at the given one."""

    depth = 0

    def __getitem__(self, name: str) -> torch.Tensor:
        if name == f"w{self.depth}":
            kill()
        return super().__getitem__(name)
