"""The exception tree: one root, messages with hints, and they survive the way between processes."""

from __future__ import annotations

import inspect
import pickle

import pytest

from talos_engine import errors
from talos_engine.errors import TalosError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception)
]


def test_every_error_is_in_the_documented_tree() -> None:
    for kind in CLASSES:
        assert issubclass(kind, TalosError)
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_keep_message_and_hint_across_processes(kind: type[TalosError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("what happened", "how to mend it")))
    assert type(copy) is kind
    assert (copy.message, copy.hint) == ("what happened", "how to mend it")
    assert str(copy) == "what happened (how to mend it)"
    assert str(kind("alone")) == "alone"
