"""Processes that share work: every answer once, and whatever goes wrong in one is told."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from talos_engine.configuration import check_at_least
from talos_engine.errors import DeviceError, OptionError
from talos_engine.workflows.crew import Crew

# What another process opens must be importable there: functools.partial(pow, 2) answers 2 ** n.
OPEN = functools.partial


def crew_of(others: int, *arguments: Any, mine: Callable[[Any], Any] = lambda n: 2**n) -> Any:
    return Crew(mine, others, OPEN, *arguments)


def test_alone_it_answers_in_order() -> None:
    with crew_of(0, pow, 2) as crew:
        assert list(crew.answers([3, 1, 2])) == [(3, 8), (1, 2), (2, 4)]
        assert list(crew.answers([])) == []


@pytest.mark.slow
def test_others_answer_too_and_every_question_once() -> None:
    asked = []

    def mine(number: int) -> int:
        asked.append(number)
        time.sleep(0.2)
        return 2**number

    with crew_of(2, pow, 2, mine=mine) as crew:
        for _ in range(2):
            asked.clear()
            assert sorted(crew.answers(range(40))) == [(n, 2**n) for n in range(40)]
            assert 0 < len(asked) < 40
        children = psutil.Process().children()
    assert not any("spawn_main" in " ".join(it.cmdline()) for it in children if it.is_running())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "question", "error", "words"),
    [
        ((math.sqrt,), -1, DeviceError, "ValueError"),
        ((os._exit,), 3, DeviceError, "--jobs ended with code 3"),
        ((check_at_least, "points", 0), 1, OptionError, "--points"),
    ],
    ids=["unforeseen", "dead", "ours"],
)
def test_what_goes_wrong_elsewhere_is_raised_here(
    arguments: tuple[Any, ...], question: int, error: type[Exception], words: str
) -> None:
    with crew_of(1, *arguments, mine=lambda n: n) as crew, pytest.raises(error, match=words):
        list(crew.answers([question] * 4))
