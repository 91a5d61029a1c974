"""The diary of a fine-tuning run: one JSON object per line, written as the run goes.

It is for people and plots. Nothing reads it back but a run that goes on, which drops what it is
about to write again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from talos_engine.artifacts import atomic_write
from talos_engine.errors import OutputError

_BEGINNING = '{"step": '  # of every line
_LONGEST = 1 << 20  # characters of a line, by far


class TrainingLog:
    """Lines about steps, measurements and the like, each with the wall-clock time.

    Args:
        file: Where they go; ``None`` for nowhere.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file

    def write(self, step: int, **facts: Any) -> None:
        """Write a line about a step, at once.

        Raises:
            OutputError: the disk is full, or the like.
        """
        if self._file is None:
            return
        line = json.dumps({"step": step, **facts, "time": round(time.time(), 3)})
        try:
            self._file.write(f"{line}\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"cannot write the log {self._file.name}: {error.strerror}"
            ) from error


def is_training_log(path: Path) -> bool:
    """Whether a file is what a run, perhaps a killed one, may have logged: nothing else is in it.

    All whole lines are objects with an int ``step``; the last line may be half written.
    """
    if not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = iter(lambda: file.readline(_LONGEST), "")
            return all(_is_logged(line) for line in lines)
    except (OSError, ValueError):
        return False


def _is_logged(line: str) -> bool:
    if not line.endswith("\n"):
        return line.startswith(_BEGINNING) or _BEGINNING.startswith(line)
    return _step_of(line) is not None


def _step_of(line: str) -> int | None:
    """The step that a line is about; ``None`` if it is none of a log."""
    try:
        found = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if type(found) is int else None


@contextmanager
def open_log(path: Path | None, first: int) -> Iterator[TrainingLog]:
    """A log that holds what an earlier run wrote about the steps up to ``first``, and no more.

    Args:
        path: The file; ``None`` for no log.
        first: Steps already made.

    Raises:
        OutputError: it cannot be written.
    """
    if path is None:
        yield TrainingLog()
        return
    kept = _lines_up_to(path, first) if first else []
    atomic_write(path, lambda new: new.write_text("".join(kept), "utf-8"), force=True)
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write the log {path}: {error.strerror}") from error
    with file:
        yield TrainingLog(file)


def _lines_up_to(path: Path, step: int) -> list[str]:
    """Whole lines about steps up to ``step``; what a killed run left half is not among them."""
    if not path.is_file():
        return []
    kept = []
    for line in path.read_text("utf-8", "replace").splitlines():
        found = _step_of(line)
        if found is not None and found <= step:
            kept.append(f"{line}\n")
    return kept
