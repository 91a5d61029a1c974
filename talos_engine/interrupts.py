"""Ctrl-C and SIGTERM that wait for a good moment, so that long work stops between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType, TracebackType
from typing import Any

_HELD = (signal.SIGINT, signal.SIGTERM)


class HeldSignals:
    """While entered, the first SIGINT or SIGTERM is only noted; a second one acts at once.

    Signals that are ignored stay ignored. Outside of the main thread, which alone may handle
    signals, nothing is held; nor is what an outer one holds already: the signal waits for its end.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def pending(self) -> bool:
        """Whether a signal has arrived and waits."""
        return self._noted is not None

    def deliver(self, told: str = "") -> None:
        """Let the signal that waits act as it would have; does nothing where none waits.

        Args:
            told: What whoever interrupted should know; becomes the message of the exception that
                the signal raises, if it raises one.
        """
        if self._noted is None:
            return
        number, self._noted = self._noted, None
        self._restore()
        try:
            signal.raise_signal(number)
        except BaseException as stop:
            if told:
                stop.args = (told,)
            raise

    def __enter__(self) -> HeldSignals:
        """Begin to hold signals."""
        if threading.current_thread() is threading.main_thread():
            for number in _HELD:
                handler = signal.getsignal(number)
                held = isinstance(getattr(handler, "__self__", None), HeldSignals)
                if handler not in (signal.SIG_IGN, None) and not held:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop holding; a signal that still waits acts now, unless something else went wrong."""
        self._restore()
        if kind is None:
            self.deliver()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._noted is None:
            self._noted = number
            return
        self._restore()
        signal.raise_signal(number)

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """SIGINT and SIGTERM wait, and a process started here never gets SIGINT, not even in imports.

    The terminal's Ctrl-C reaches a whole group of processes; who started one then ends it. One that
    is told only half of its work, because a signal arrived here, would end with a traceback.
    """
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    with HeldSignals():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
