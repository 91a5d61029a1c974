"""Processes that share the work of one command, each with a model of its own.

Every question has one answer, whoever gives it, so the result does not depend on how many they are.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Generic, TypeVar

from talos_engine.data.settings import DataSettings, current_data, use_data
from talos_engine.errors import DeviceError, TalosError
from talos_engine.interrupts import interrupts_blocked
from talos_engine.workflows.apart import as_talos_error

Question = TypeVar("Question")
Reply = TypeVar("Reply")

_AHEAD = 2  # questions that a process has: the one it works on, and the next


class Crew(Generic[Question, Reply]):
    """This process and others beside it, from ``with`` to its end.

    The others end with this one, whatever ends it.

    Args:
        answer: How this process answers.
        others: How many more there are.
        open_work: Makes the same in another one; must be a function that it can import.
        arguments: Given to it; must survive pickling between processes.
    """

    def __init__(
        self,
        answer: Callable[[Question], Reply],
        others: int,
        open_work: Callable[..., Callable[[Question], Reply]],
        *arguments: Any,
    ) -> None:
        self._answer = answer
        self._others = others
        self._work = (open_work, arguments)
        self._processes: dict[Connection, SpawnProcess] = {}

    def __enter__(self) -> Crew[Question, Reply]:
        """Start the others."""
        context = multiprocessing.get_context("spawn")
        data = current_data().settings
        try:
            for _ in range(self._others):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, data, *self._work))
                process.daemon = True
                self._processes[ours] = process
                with interrupts_blocked():
                    process.start()
                theirs.close()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the others, whatever they are doing."""
        self._end()

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Reply]]:
        """Every question with its answer, in the order in which they come.

        Raises:
            DeviceError: another process ended, or failed in an unforeseen way.
            TalosError: whatever answering raised.
        """
        waiting = deque(questions)
        asked = dict.fromkeys(self._processes, 0)
        while waiting or any(asked.values()):
            for theirs in asked:
                while waiting and asked[theirs] < _AHEAD:
                    self._ask(theirs, waiting.popleft())
                    asked[theirs] += 1
            if waiting:
                question = waiting.popleft()
                yield question, self._answer(question)
            busy = [theirs for theirs, count in asked.items() if count]
            ready = connection.wait(busy, 0 if waiting else None) if busy else []
            for answered in busy:
                if answered in ready:
                    asked[answered] -= 1
                    yield self._receive(answered)

    def _ask(self, theirs: Connection, question: Question) -> None:
        with suppress(OSError):  # it has ended: what it said last is read below
            theirs.send(question)

    def _receive(self, theirs: Connection) -> tuple[Question, Reply]:
        try:
            found = theirs.recv()
        except (EOFError, OSError):
            process = self._processes[theirs]
            process.join()
            raise DeviceError(
                f"one of the processes of --jobs ended with code {process.exitcode}",
                "if memory ran out, try fewer --jobs",
            ) from None
        if isinstance(found, TalosError):
            raise found
        question, reply = found
        return question, reply

    def _end(self) -> None:
        for theirs, process in self._processes.items():
            theirs.close()
            if process.pid is not None:
                process.kill()
                process.join()
        self._processes.clear()


def _serve(
    theirs: Connection,
    data: DataSettings,
    open_work: Callable[..., Callable[[Any], Any]],
    arguments: tuple[Any, ...],
) -> None:
    """Answer questions until the other end is closed."""
    try:
        with use_data(data):
            answer = open_work(*arguments)
            while True:
                question = theirs.recv()
                theirs.send((question, answer(question)))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        with suppress(OSError):
            theirs.send(as_talos_error(error))
