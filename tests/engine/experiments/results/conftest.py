"""Sources made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from talos_engine.experiments.paper import PaperTable
from talos_engine.experiments.result_spec import RESULTS, Given, Source


@pytest.fixture
def models() -> Callable[..., Source]:
    """``models({"method": "x"}, ({"task": "a"}, {"a": (3, 4)}), …)``: an evaluation of models.

    Without models the file is missing; a model without variables is the base.
    """

    def make(
        variables: Mapping[str, Any], *measured: tuple[Mapping[str, Any] | None, Mapping[str, Any]]
    ) -> Source:
        results, inputs = [], {}
        for number, (made, tasks) in enumerate(measured):
            path = f"artifacts/{number}"
            if made is not None:
                inputs[path] = made
            results.append(
                {
                    "input": None if made is None else {"path": path},
                    "tasks": {
                        task: {"accuracy": correct / n, "correct": correct, "n": n}
                        for task, (correct, n) in tasks.items()
                    },
                }
            )
        return Source("file.json", variables, inputs, {"results": results} if measured else None)

    return make


@pytest.fixture
def source() -> Callable[..., Source]:
    """``source(content, method="x")``."""

    def make(content: Any, **variables: Any) -> Source:
        return Source("file.json", variables, {}, content)

    return make


@pytest.fixture
def compute() -> Callable[..., dict[str, Any]]:
    """``compute("addition", {"merged": [...]}, {"row": "method"}, paper=("task_addition", "…"))``."""

    def run(
        kind: str,
        sources: Mapping[str, Sequence[Source]],
        options: Mapping[str, Any] | None = None,
        paper: tuple[str, str] = ("", ""),
    ) -> dict[str, Any]:
        found = RESULTS.get(kind)
        config = found.check(sources, options or {}, "here")
        return found.run(config, Given(sources, PaperTable(*paper)))

    return run
