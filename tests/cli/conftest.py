"""Commands run in this process (fast) or in one of their own (real)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Args:
        code: Exit code.
        out: Standard output.
        err: Standard error.
    """

    code: int
    out: str
    err: str

    @property
    def plain_err(self) -> str:
        """Standard error as one line of words, whatever the width of the terminal."""
        return " ".join(self.err.replace("│", " ").split())


@pytest.fixture
def talos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """``talos("calibrate", "--task", …)`` in this process, in an empty folder, on the CPU."""
    from talos_cli.main import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Done:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="talos")
        exception = result.exception
        if exception is not None and not isinstance(exception, SystemExit):
            raise exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def talos_process(tmp_path: Path) -> Callable[..., Done]:
    """``talos_process("tasks")`` in a process of its own, in an empty folder."""

    def run(*words: object) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "talos_cli", *map(str, words)],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    return run
