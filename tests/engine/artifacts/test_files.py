"""Atomic writing and the checks before it, with nothing going wrong underneath."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import (
    atomic_write,
    check_output,
    discard_output,
    file_hash,
    read_json,
    read_metrics,
    reserve_output,
    strict_json,
    write_json,
    write_metrics,
)
from talos_engine.errors import ArtifactError, CorruptFileError, OutputError, WrongKindError


def put(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def attempt(check: bool, target: Path, *, force: bool) -> None:
    """Check ``target`` or write it."""
    if check:
        check_output(target, force=force)
    else:
        atomic_write(target, put(b"new"), force=force)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "x.bin"
    atomic_write(target, put(b"one"), force=False)
    atomic_write(str(target), put(b"two"), force=True)
    assert target.read_bytes() == b"two"
    assert names(tmp_path) == ["x.bin"]


def test_the_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    atomic_write(tmp_path / "ours", put(b""), force=False)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("existing", ["file", "link", "broken link"])
def test_an_existing_file_is_kept_without_force(tmp_path: Path, check: bool, existing: str) -> None:
    target, other = tmp_path / "x", tmp_path / "other"
    if existing == "file":
        target.write_bytes(b"old")
    else:
        target.symlink_to(other)
        if existing == "link":
            other.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists") as caught:
        attempt(check, target, force=False)
    assert "--force" in caught.value.hint
    assert existing == "broken link" or target.read_bytes() == b"old"


def test_force_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"old")
    (tmp_path / "x").symlink_to(tmp_path / "other")
    atomic_write(tmp_path / "x", put(b"new"), force=True)
    assert (tmp_path / "x").read_bytes() == b"new"
    assert (tmp_path / "other").read_bytes() == b"old"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    "name", ["", ".", "..", "missing/x", "file/x", "folder", "pipe", "nul\0", "n" * 256]
)
def test_what_cannot_be_a_target_is_refused(tmp_path: Path, name: str, check: bool) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    target = Path(name) if name in ("", ".", "..") else tmp_path / name
    with pytest.raises(OutputError):
        attempt(check, target, force=True)
    assert names(tmp_path) == before


def test_the_longest_name_of_a_file_works(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 127)
    check_output(target, force=False)
    atomic_write(target, put(b"new"), force=False)
    assert names(tmp_path) == [target.name]


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_output(tmp_path / "x", force=False, needed_bytes=1000)
    assert names(tmp_path) == []


def test_too_little_space_is_found_before_the_work(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OutputError, match="MB free") as caught:
        check_output(tmp_path / "x", force=False, needed_bytes=2 * free)
    assert "space" in caught.value.hint


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), OSError("odd")])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failing_writer_leaves_the_old_state(
    tmp_path: Path, error: BaseException, old: bytes | None
) -> None:
    target = tmp_path / "x"
    if old is not None:
        target.write_bytes(old)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        atomic_write(target, fail, force=True)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x"
    if not links:
        monkeypatch.setattr(os, "link", _no_links)

    def interfere(path: Path) -> None:
        path.write_bytes(b"ours")
        target.write_bytes(b"theirs")

    with pytest.raises(OutputError, match="exists"):
        atomic_write(target, interfere, force=False)
    assert target.read_bytes() == b"theirs"
    assert names(tmp_path) == ["x"]


def _no_links(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", _no_links)
    atomic_write(tmp_path / "x", put(b"new"), force=False)
    assert (tmp_path / "x").read_bytes() == b"new"
    assert names(tmp_path) == ["x"]


def test_the_second_of_two_writers_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "x"
    started, proceed = threading.Event(), threading.Event()

    def slow(path: Path) -> None:
        path.write_bytes(b"first")
        started.set()
        assert proceed.wait(20)

    first = threading.Thread(target=lambda: atomic_write(target, slow, force=True))
    first.start()
    assert started.wait(20)
    try:
        with pytest.raises(OutputError, match="another run"):
            atomic_write(target, put(b"second"), force=True)
        with pytest.raises(OutputError, match="another run"):
            check_output(target, force=True)
        atomic_write(tmp_path / "y", put(b"elsewhere"), force=False)
    finally:
        proceed.set()
        first.join()
    assert target.read_bytes() == b"first"
    assert names(tmp_path) == ["x", "y"]


def test_only_strays_of_the_same_target_are_removed(tmp_path: Path) -> None:
    keep = [".xy.0123abcd.tmp-talos", ".x.y.0123abcd.tmp-talos", ".x.mine.tmp-talos", "x.0123abcd"]
    for name in [*keep, ".x.0123abcd.tmp-talos", ".x.lock-talos"]:
        (tmp_path / name).touch()
    atomic_write(tmp_path / "x", put(b"new"), force=False)
    assert names(tmp_path) == sorted([*keep, "x"])


def test_a_file_is_hashed_piece_by_piece(tmp_path: Path) -> None:
    content = os.urandom(1000) * 9000
    (tmp_path / "x").write_bytes(content)
    assert file_hash(tmp_path / "x") == hashlib.sha256(content).hexdigest()
    (tmp_path / "x").write_bytes(b"")
    assert file_hash(tmp_path / "x").startswith("e3b0c44298fc1c14")
    with pytest.raises(ArtifactError, match="no file"):
        file_hash(tmp_path / "missing")
    with pytest.raises(CorruptFileError, match="folder"):
        file_hash(tmp_path)


def test_json_has_one_form(tmp_path: Path) -> None:
    write_json(tmp_path / "x", {"b": [1, 2.5, None], "a": {"é": True}}, force=False)
    expected = '{\n  "a": {\n    "é": true\n  },\n  "b": [\n    1,\n    2.5,\n    null\n  ]\n}\n'
    assert (tmp_path / "x").read_text(encoding="utf-8") == expected
    assert read_json(tmp_path / "x") == {"a": {"é": True}, "b": [1, 2.5, None]}


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        -math.inf,
        {"a": [math.inf]},
        {1: 2},
        {"a": object()},
        {"a": b"x"},
        "\ud800",
        {1, 2},
    ],
)
def test_what_json_cannot_hold_is_not_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(OutputError):
        write_json(tmp_path / "x", value, force=False)
    assert names(tmp_path) == []


def test_endless_nesting_is_not_written(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(OutputError, match="nested"):
        write_json(tmp_path / "x", endless, force=False)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"NaN",
        b'{"a":-Infinity}',
        b"1e999",
        b"9" * 5000,
        b'{"a":1,"a":1}',
        b"[" * 1_000_000,
        b"\xff\xfe1\x00",
        b"\xef\xbb\xbf1",
        b"1 1",
    ],
)
def test_what_is_no_strict_json_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x").write_bytes(text)
    with pytest.raises(CorruptFileError) as caught:
        read_json(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value)


def test_enormous_json_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    os.truncate(tmp_path / "x", strict_json.MAX_JSON_BYTES + 1)
    with pytest.raises(CorruptFileError, match="at most"):
        read_json(tmp_path / "x")


def test_metrics_come_back_with_their_schema(tmp_path: Path) -> None:
    metrics = {"command": "evaluate", "tasks": {"digits": {"n": 10, "correct": 9}}}
    write_metrics(tmp_path / "x", metrics, force=False)
    assert read_metrics(tmp_path / "x") == {**metrics, "schema": 1}


@pytest.mark.parametrize("metrics", [{}, {"command": 1}, {"command": "x", "mean": math.nan}])
def test_metrics_need_a_command_and_numbers(tmp_path: Path, metrics: dict[str, Any]) -> None:
    with pytest.raises(OutputError):
        write_metrics(tmp_path / "x", metrics, force=False)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", WrongKindError),
        ("{}", WrongKindError),
        ('{"command": "evaluate"}', WrongKindError),
        ('{"command": "evaluate", "schema": 2}', WrongKindError),
        ('{"command": "evaluate", "schema": "1"}', CorruptFileError),
        ('{"command": "evaluate", "schema": 0}', CorruptFileError),
        ('{"command": "evaluate", "schema": true}', CorruptFileError),
        ('{"command": 1, "schema": 1}', CorruptFileError),
    ],
)
def test_other_json_is_not_taken_for_metrics(
    tmp_path: Path, text: str, error: type[ArtifactError]
) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(error):
        read_metrics(tmp_path / "x")


def test_a_reserved_output_is_refused_to_others_and_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / "x"
    with reserve_output(target):
        with pytest.raises(OutputError, match="another run is writing"), reserve_output(target):
            pytest.fail("two runs make one file")
        atomic_write(target, lambda path: path.write_text("done"), force=False)
        with reserve_output(tmp_path / "y"):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    with reserve_output(target):
        pass


def test_an_error_while_an_output_is_reserved_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), reserve_output(tmp_path / "x"):
        raise OSError("mine")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError), reserve_output(tmp_path / "nowhere" / "x"):
        pytest.fail("there is no such folder")


def test_a_discarded_output_is_gone_with_its_strays(tmp_path: Path) -> None:
    target = tmp_path / "x"
    discard_output(target)
    atomic_write(target, put(b"old"), force=False)
    (tmp_path / ".x.0123abcd.tmp-talos").touch()
    (tmp_path / "y").touch()
    discard_output(target)
    assert [path.name for path in tmp_path.iterdir()] == ["y"]
    with pytest.raises(OutputError):
        discard_output(tmp_path)
