"""Folders of results: whole or not at all, and nobody else's files touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from talos_engine.artifacts import atomic_folder, check_folder
from talos_engine.errors import OutputError


def write(path: Path, *, force: bool = False, names: tuple[str, ...] = ("a", "b")) -> None:
    with atomic_folder(path, force=force) as folder:
        assert folder.parent == path.parent
        for name in names:
            (folder / name).write_text(f"new {name}")


def test_a_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out", force=False) as folder:
        (folder / "a").write_text("x")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_folder(tmp_path / "out", force=False) as folder:
            (folder / "a").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]


def test_an_existing_folder_is_kept_unless_forced_and_then_only_its_namesakes_change(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("old")
    (out / "mine").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write(out)
    assert (out / "a").read_text() == "old"
    write(out, force=True)
    found = {path.name: path.read_text() for path in out.iterdir()}
    assert found == {"a": "new a", "b": "new b", "mine": "precious"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def interfere() -> None:
        with atomic_folder(out, force=False):
            out.mkdir()
            (out / "other").write_text("precious")

    with pytest.raises(OutputError, match="exists already"):
        interfere()
    assert [path.name for path in out.iterdir()] == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path)
    for name, words in (
        ("file", "not a folder"),
        ("link", "not a folder"),
        ("none/out", "no folder"),
        ("..", "does not name"),
    ):
        with pytest.raises(OutputError, match=words):
            check_folder(tmp_path / name, force=True)
    check_folder(tmp_path / "out", force=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
