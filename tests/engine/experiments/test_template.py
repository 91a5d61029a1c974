from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import RecipeError
from talos_engine.experiments.template import fill

NAMES = {"task": "digits", "k": 0.9, "tasks": ["a", "b"], "lr": {"talos": 1e-3, "0.9": 7},
         "method": "talos"}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("{task}", "digits"),
        ("{k}", 0.9),
        ("{tasks}", ["a", "b"]),
        ("{lr[method]}", 1e-3),
        ("{lr[talos]}", 1e-3),
        ("{lr[k]}", 7),
        ("x-{task}.{k}", "x-digits.0.9"),
        ("{{task}} {task}", "{task} digits"),
        (["{task}", {"k": "{k}"}], ["digits", {"k": 0.9}]),
        (True, True),
        (3, 3),
    ],
)
def test_places_are_filled(value: Any, filled: Any) -> None:
    assert fill(value, NAMES, "here") == filled


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{taks}", "here: there is no variable or setting named 'taks'"),
        ("{lr[nonlinear]}", "there is no entry of 'lr' named 'nonlinear'"),
        ("{task[k]}", "'task' is no table"),
        ("all of {tasks}", "no single value"),
    ],
)
def test_what_cannot_be_filled_is_named(value: str, told: str) -> None:
    with pytest.raises(RecipeError) as error:
        fill(value, NAMES, "here")
    assert told in error.value.message
