"""How long work tells its caller how far it is. Nothing is drawn here."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives ``(what, done, total)``; called often, must be cheap."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Take note of ``done`` of ``total``."""
        ...


def silent(what: str, done: int, total: int, /) -> None:
    """Progress receiver that ignores everything."""
