"""Running steps in an order that their needs allow, several at a time, each recorded as it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol

from talos_engine.errors import ArtifactError, TalosError
from talos_engine.experiments.choosing import choose, read_choice
from talos_engine.experiments.states import DONE, FAILED, STARTED, StateFolder, StepState
from talos_engine.experiments.steps import ChosenWord, ExternalWord, Step
from talos_engine.interrupts import HeldSignals

LOGS = "logs"
STOP_S = 20.0  # how long a step may take to end well after it was asked to


class Running(Protocol):
    """A command that runs in a process of its own."""

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the command has ended."""
        ...

    def exit_code(self) -> int:
        """How it ended; waits for it."""
        ...

    def stop(self, *, kill: bool) -> None:
        """Ask the command, and all that it started, to end; with ``kill`` end them."""
        ...


class Launcher(Protocol):
    """Starts commands."""

    def start(self, words: Sequence[str], folder: Path, log: Path) -> Running:
        """Start a talos command.

        Args:
            words: The command and what follows it.
            folder: The folder in which it runs.
            log: File that takes its standard output and error.
        """
        ...


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Args:
        state: ``done``, ``failed``, or ``pending`` where it did not run.
        seconds: How long it took; ``None`` where it was skipped or did not run.
        exit_code: Of a step that ran.
        skipped: Whether it was done before.
        told: Why it failed.
    """

    state: str
    seconds: float | None = None
    exit_code: int | None = None
    skipped: bool = False
    told: str = ""


Observer = Callable[[Step, Outcome | None], None]


@dataclass
class Scheduler:
    """Runs steps.

    Args:
        folder: The run folder.
        states: Its records.
        launcher: Starts commands.
        jobs: Steps at a time.
        keep_going: After a failure, go on with what does not need the failed step.
        observe: Told of every step that starts (without an outcome) and ends.
    """

    folder: Path
    states: StateFolder
    launcher: Launcher
    jobs: int
    keep_going: bool
    observe: Observer
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _running: dict[int, tuple[Step, Running, float, str]] = field(default_factory=dict)

    def run(self, steps: Mapping[str, Step]) -> dict[str, Outcome]:
        """Run what is not done; how each step ended, ``pending`` for those that did not run."""
        order = TopologicalSorter({name: step.needs for name, step in steps.items()})
        order.prepare()
        ready: list[str] = []
        try:
            while order.is_active():
                ready += order.get_ready()
                self._launch(ready, steps, order)
                if not self._running and (not ready or self._stopping()):
                    break
                if self._running:
                    self._collect(order)
        finally:
            self._stop_all()
        return {name: self.outcomes.get(name, Outcome("pending")) for name in steps}

    def _stopping(self) -> bool:
        failed = any(outcome.state == FAILED for outcome in self.outcomes.values())
        return failed and not self.keep_going

    def _launch(
        self, ready: list[str], steps: Mapping[str, Step], order: TopologicalSorter[str]
    ) -> None:
        """Start what may start now; steps that are done, or fail at once, free others."""
        while ready and not self._stopping():
            name = next((name for name in ready if self._fits(steps[name])), None)
            if name is None:
                return
            ready.remove(name)
            outcome = self._begin(steps[name])
            if outcome is not None:
                self._end(steps[name], outcome, order)
                ready += order.get_ready() if order.is_active() else ()

    def _fits(self, step: Step) -> bool:
        beside = [other for other, *_ in self._running.values()]
        if step.exclusive or any(other.exclusive for other in beside):
            return not beside
        return len(beside) < self.jobs

    def _begin(self, step: Step) -> Outcome | None:
        """Start a step; its outcome where nothing has to be started."""
        try:
            if self.states.is_done(step):
                return Outcome(DONE, skipped=True)
            key = self.states.key(step)
            earlier = self.states.get(step.id)
            seconds = earlier.seconds if earlier is not None else None
            words = self._words(step, goes_on=earlier is not None and earlier.key == key)
            self.states.put(step.id, StepState(STARTED, key, seconds))
            self.observe(step, None)
            for path in step.outputs.values():
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            if step.choice is not None:
                choose(step.choice, self.folder, step.outputs["out"])
                return self._record(step, key, 0, time.monotonic() - began)
            with HeldSignals():  # what has been started is known here before anything is stopped
                return self._start(step, words, key, began)
        except TalosError as error:
            return Outcome(FAILED, told=str(error))

    def _start(self, step: Step, words: list[str], key: str, began: float) -> Outcome | None:
        """Errors end here, not where signals are no longer held: one that waits would be lost."""
        try:
            running = self.launcher.start(words, self.folder, self.log(step))
        except TalosError as error:
            return Outcome(FAILED, told=str(error))
        self._running[running.sentinel] = (step, running, began, key)
        return None

    def _words(self, step: Step, *, goes_on: bool) -> list[str]:
        """The command line; one that keeps its state and was interrupted is resumed."""
        words = step.command.split()
        for word in step.words:
            if isinstance(word, ChosenWord):
                words.append(read_choice(self.folder / word.path))
            else:
                words.append(word.path if isinstance(word, ExternalWord) else word)
        if goes_on and "--checkpoint-every" in words:
            words.append("--resume")
        return [*words, "--force"]

    def log(self, step: Step) -> Path:
        """The file that takes what a step tells people."""
        return self.folder / LOGS / f"{step.id}.log"

    def _collect(self, order: TopologicalSorter[str]) -> None:
        """Wait until something ends, and record it."""
        for sentinel in wait(list(self._running)):
            assert isinstance(sentinel, int)
            step, running, began, key = self._running.pop(sentinel)
            code = running.exit_code()
            self._end(step, self._record(step, key, code, time.monotonic() - began), order)

    def _record(self, step: Step, key: str, code: int, seconds: float) -> Outcome:
        state = StepState(FAILED, key, exit_code=code)
        told = f"exit code {code}"
        if code == 0:
            try:
                outputs = self.states.outputs_of(step)
                state = StepState(DONE, key, round(seconds, 3), 0, outputs)
                told = ""
            except ArtifactError as error:
                told = f"it ended well, but {error.message}"
        if state.state == FAILED:
            earlier = self.states.get(step.id)
            state = replace(state, seconds=earlier.seconds if earlier is not None else None)
        self.states.put(step.id, state)
        return Outcome(state.state, round(seconds, 3), code, told=told)

    def _end(self, step: Step, outcome: Outcome, order: TopologicalSorter[str]) -> None:
        self.outcomes[step.id] = outcome
        self.observe(step, outcome)
        if outcome.state == DONE:
            order.done(step.id)

    def _stop_all(self) -> None:
        """End what still runs: gently, then not."""
        left = [running for _, running, _, _ in self._running.values()]
        for running in left:
            running.stop(kill=False)
        deadline = time.monotonic() + STOP_S
        waiting = {running.sentinel for running in left}
        with suppress(KeyboardInterrupt):  # a second Ctrl-C waits no longer
            while waiting and time.monotonic() < deadline:
                waiting -= {int(it) for it in wait(list(waiting), 0.5)}  # type: ignore[arg-type]
        for running in left:
            running.stop(kill=True)
        self._running.clear()
