"""Recipes in a scratch folder, and a launcher whose commands only copy words and bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from talos_engine.experiments.running import Prepared, RunRequest, RunResult, prepare, run
from talos_engine.experiments.scheduling import Outcome
from talos_engine.experiments.steps import Step

# Writes the command line and the bytes of all inputs named on it into the file after --out.
# --fail F fails while the file F exists, --wait F waits until it does.
COMMAND = """
import pathlib, sys, time
words = sys.argv[1:]
given = {name: words[words.index(name) + 1] for name in ("--out", "--fail", "--wait") if name in words}
if "--fail" in given and pathlib.Path(given["--fail"]).exists():
    print("told to fail")
    sys.exit(3)
while "--wait" in given and not pathlib.Path(given["--wait"]).exists():
    time.sleep(0.01)
out = pathlib.Path(given["--out"])
shown = [word for word in words if word not in ("--force", "--resume")]
text = "\\n".join(shown).encode()
for word in words:
    path = pathlib.Path(word)
    if path.is_file() and path != out:
        text += b"\\n" + path.read_bytes()
out.write_bytes(text)
"""


class FakeProcess:
    """A command of ``FakeLauncher`` that runs."""

    def __init__(self, words: Sequence[str], folder: Path, log: Path) -> None:
        read, write = os.pipe()
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-c", COMMAND, *words],
                cwd=folder, stdout=file, stderr=file, pass_fds=[write], start_new_session=True,
            )  # fmt: skip
        os.close(write)
        self.sentinel = read

    def exit_code(self) -> int:
        code = self._process.wait()
        os.close(self.sentinel)
        return code

    def stop(self, *, kill: bool) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL if kill else signal.SIGTERM)
        if kill:
            self._process.wait()


@dataclass
class FakeLauncher:
    """Runs ``COMMAND`` and remembers what it started."""

    started: list[list[str]] = field(default_factory=list)
    processes: list[FakeProcess] = field(default_factory=list)

    def start(self, words: Sequence[str], folder: Path, log: Path) -> FakeProcess:
        self.started.append(list(words))
        self.processes.append(FakeProcess(words, folder, log))
        return self.processes[-1]


@dataclass
class Laboratory:
    """A folder with recipes, and a run folder.

    Args:
        folder: Where recipes are.
        launcher: What ran.
        events: Ids of steps as they start, with ``None``, and end.
    """

    folder: Path
    launcher: FakeLauncher = field(default_factory=FakeLauncher)
    events: list[tuple[str, Outcome | None]] = field(default_factory=list)

    def write(self, text: str, name: str = "recipe.toml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def prepare(self, text: str, **more: Any) -> tuple[Prepared, RunRequest]:
        request = RunRequest(self.write(text), self.folder / "run", **more)
        return prepare(request, lambda step: None), request

    def run(self, text: str, **more: Any) -> RunResult:
        """Run a recipe; ``launcher.started`` and ``events`` tell of this run alone."""
        self.launcher, self.events = FakeLauncher(), []
        prepared, request = self.prepare(text, **more)
        return run(prepared, request, self.launcher, self._observe)

    def _observe(self, step: Step, outcome: Outcome | None) -> None:
        self.events.append((step.id, outcome))

    @property
    def ran(self) -> list[str]:
        """Ids of the steps that were started in the last run, in order."""
        return [name for name, outcome in self.events if outcome is None]

    def files(self) -> dict[str, bytes]:
        """What the steps of the run folder wrote."""
        root = self.folder / "run" / "artifacts"
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    """A laboratory in an empty folder."""
    return Laboratory(tmp_path)
