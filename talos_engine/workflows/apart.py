"""Work in a fresh process, so that the memory of one piece of work does not count for the next."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from talos_engine.data.settings import DataSettings, current_data, use_data
from talos_engine.errors import DeviceError, TalosError
from talos_engine.interrupts import interrupts_blocked


def run_apart(what: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work`` returns in a fresh process; its error is raised here.

    Args:
        what: What the process does it for, to be named in an error.
        work: A function that a fresh process can import.
        arguments: Given to it; must survive pickling between the two processes.

    Raises:
        DeviceError: the process ended without an answer, or with an unforeseen exception.
        TalosError: whatever the work raised.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    data = current_data().settings
    worker = context.Process(target=_worker, args=(sender, data, work, arguments), daemon=True)
    try:
        with interrupts_blocked():
            worker.start()
        sender.close()
        answer = receiver.recv()
    except EOFError:
        worker.join()
        raise DeviceError(
            f"the process that measured {what!r} ended with code {worker.exitcode}",
            "if it ran out of memory, try a smaller --batch-size",
        ) from None
    finally:
        receiver.close()
        if worker.pid is not None:
            worker.kill()  # it has answered, or nobody waits for it any more
            worker.join()
    if isinstance(answer, TalosError):
        raise answer
    return answer


def _worker(
    sender: Connection, data: DataSettings, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with use_data(data):
            sender.send(work(*arguments))
    except Exception as error:  # the parent reports it; a traceback here would reach the terminal
        sender.send(as_talos_error(error))
    finally:
        sender.close()


def _end_with_parent() -> None:
    """End this process where the one that waits for it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def as_talos_error(error: Exception) -> TalosError:
    """The error itself, or what tells of an unforeseen one in a process without a terminal."""
    if isinstance(error, TalosError):
        return error
    told = str(error).strip().split("\n")[0]
    return DeviceError(f"measuring failed: {type(error).__name__}: {told}")
