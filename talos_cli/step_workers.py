"""Processes that run the steps of a recipe: forked from one that has imported the engine already.

Importing torch and open_clip takes seconds, more than many steps do. A fork server imports them
once, before any thread is started or device touched; each step is a fork of it, in a session of its
own. A step ends itself when the process that asked for it is gone, whatever killed that.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path
from typing import Any

from talos_engine.interrupts import interrupts_blocked

# Whatever commands import when they work; what is missing here is only slower.
_PRELOADED = (
    "open_clip",
    "transformers",
    "matplotlib.pyplot",
    "sklearn.datasets",
    "talos_cli.main",
    "talos_cli.plots",
    "talos_cli.inspection_plots",
    *(
        f"talos_engine.workflows.{name}"
        for name in (
            "add", "calibrate", "disentangle", "evaluate", "finetune", "inspect", "mask_sets",
            "negate", "planning", "profile", "prune", "vector",
        )
    ),
)  # fmt: skip

_END_S = 10.0  # how long a killed process may take to be gone


class StepWorkers:
    """Starts commands for a scheduler.

    Args:
        threads: Threads that each command may use where its step does not say.
    """

    def __init__(self, threads: int) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # steps must not spin for each other
        os.environ.setdefault("MPLBACKEND", "Agg")
        # Forking is not safe on macOS once its frameworks are loaded.
        way = "forkserver" if sys.platform.startswith("linux") else "spawn"
        self._context: Any = multiprocessing.get_context(way)
        if way == "forkserver":
            self._context.set_forkserver_preload(list(_PRELOADED))

    def start(self, words: Sequence[str], folder: Path, log: Path) -> StepProcess:
        """Start a talos command in ``folder``; what it prints goes to ``log``."""
        process = self._context.Process(
            target=_work, args=(list(words), str(folder.resolve()), str(log.resolve()))
        )
        with interrupts_blocked():
            process.start()
        return StepProcess(process)


class StepProcess:
    """A command that runs.

    Args:
        process: Its process, the leader of its session.
    """

    def __init__(self, process: Any) -> None:
        self._process = process

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the command has ended."""
        return int(self._process.sentinel)

    def exit_code(self) -> int:
        """How it ended, 128 and the number of the signal that killed it; waits for it."""
        self._process.join()
        code = int(self._process.exitcode)
        return code if code >= 0 else 128 - code

    def stop(self, *, kill: bool) -> None:
        """Ask the command, and all that it started, to end; with ``kill`` end them and wait."""
        if self._process.exitcode is None:
            number = signal.SIGKILL if kill else signal.SIGTERM
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:  # not yet the leader of its session, or gone
                with suppress(ProcessLookupError):
                    os.kill(self._process.pid, number)
        if kill:
            self._process.join(_END_S)


def _work(words: list[str], folder: str, log: str) -> None:
    """Run a command in this process."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(folder)
    with Path(log).open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"$ {shlex.join(['talos', *words])}\n")
        file.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from talos_cli.main import app

    app(words, prog_name="talos")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
