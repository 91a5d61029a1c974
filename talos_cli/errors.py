"""The one place where an error becomes a message and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM arrived; unwinds like ``KeyboardInterrupt`` so that nothing is left torn."""


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Turn whatever goes wrong inside into one short message and the right exit code.

    Args:
        debug: Show the traceback of errors too.
    """
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except KeyboardInterrupt as stop:  # its message, if any, says how to go on
        _leave("interrupted", str(stop), EXIT_INTERRUPTED, debug)
    except Terminated as stop:
        _leave("terminated", str(stop), EXIT_TERMINATED, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_FAILED) from None
    except Exception as error:
        _report(error, debug)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _report(error: Exception, debug: bool) -> NoReturn:
    from talos_engine.errors import OptionError, TalosError

    if isinstance(error, TalosError):
        code = EXIT_USAGE if isinstance(error, OptionError) else EXIT_FAILED
        _leave(error.message, error.hint, code, debug)
    if type(error).__module__ == "typer._click.exceptions" or hasattr(error, "exit_code"):
        raise error  # typer's own usage errors and exits
    text = str(error).strip().split("\n")[0]
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text:
        _leave(
            "out of memory",
            "try a smaller batch, where the command has --batch-size, or more memory",
            EXIT_FAILED,
            debug,
        )
    _leave(
        f"unexpected {type(error).__name__}: {text}",
        "this is a bug in talos; --debug shows where",
        EXIT_FAILED,
        debug,
    )


def _leave(message: str, hint: str, code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"talos: {message}\n")
    if hint:
        sys.stderr.write(f"       {hint}\n")
    raise SystemExit(code)
