"""How a model must be evaluated: as it is, or linearized at the base that it was made from.

How that is done is the affair of ``models``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from talos_engine.artifacts.files import StrPath
from talos_engine.artifacts.header import Header
from talos_engine.errors import CorruptFileError, MismatchError

PLAIN = "plain"
LINEARIZED = "linearized"
_FIELD = "evaluation"


def recorded_evaluation(header: Header, path: StrPath) -> str:
    """``plain`` or ``linearized``, as a checkpoint's or vector's header says; ``plain`` if nothing.

    Raises:
        CorruptFileError: it says something else.
    """
    found = header.config.get(_FIELD, PLAIN)
    if found not in (PLAIN, LINEARIZED):
        raise CorruptFileError(f"{path}: unknown kind of evaluation {str(found)[:80]!r}")
    return str(found)


def common_evaluation(headers: Mapping[Path, Header]) -> str:
    """How a combination of these vectors must be evaluated.

    Args:
        headers: At least one, by file.

    Raises:
        MismatchError: some are for plain and some for linearized models.
        CorruptFileError: one says neither.
    """
    found = {path: recorded_evaluation(header, path) for path, header in headers.items()}
    (first, kind), *rest = found.items()
    for path, other in rest:
        if other != kind:
            raise MismatchError(
                f"{first} is evaluated {kind} and {path} {other}: no model is both",
                "combine vectors of one kind",
            )
    return kind
