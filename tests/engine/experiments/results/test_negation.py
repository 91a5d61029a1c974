from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import RecipeError


def negated(models: Any, method: str, seed: int, task: str, target: int, control: int) -> Any:
    variables = {"method": method, "seed": seed, "task": task}
    return models(variables, ({}, {task: (target, 100), "c": (control, 100)}))


def test_by_hand(compute: Any, models: Any, source: Any) -> None:
    files = [
        negated(models, "talos", 0, "a", 10, 60), negated(models, "talos", 0, "b", 30, 50),
        negated(models, "talos", 1, "a", 20, 62), negated(models, "talos", 1, "b", 40, 58),
    ]  # fmt: skip
    search = [
        source({"coef": coef}, method="talos", seed=0, task=task)
        for task, coef in (("a", 0), ("b", 2))
    ]
    base = models({}, (None, {"a": (50, 100), "b": (70, 100), "c": (64, 100)}))
    result = compute(
        "negation",
        {"negated": files, "zero-shot": [base], "search": search},
        {"control": "c"},
        paper=("task_negation", "ViT-L-14"),
    )
    zero, talos = (row["cells"] for row in result["rows"])
    assert talos["target"]["values"] == pytest.approx([0.2, 0.3])
    assert talos["control"]["values"] == pytest.approx([0.55, 0.6])
    assert talos["target"]["paper"] == pytest.approx(0.1068)
    assert talos["only_zero"]["mean"] == 1
    assert talos["coef"]["mean"] == 1
    assert zero["target"]["mean"] == pytest.approx(0.6)
    assert zero["control"]["mean"] == pytest.approx(0.64)
    assert [column["better"] for column in result["columns"][:2]] == ["lower", "higher"]


def test_what_is_the_base_is_not_ranked(compute: Any, models: Any, source: Any) -> None:
    files = [negated(models, name, 0, "a", 10, 60) for name in ("none", "some")]
    search = [
        source({"coef": coef}, method=name, seed=0, task="a")
        for name, coef in (("none", 0), ("some", 0.5))
    ]
    base = models({}, (None, {"a": (50, 100), "c": (64, 100)}))
    given = {"negated": files, "zero-shot": [base], "search": search}
    zero, none, some = compute("negation", given, {"control": "c"})["rows"]
    assert zero["reference"] is True
    for key in ("target", "control"):
        assert none["cells"][key]["ranked"] is False
        assert "ranked" not in some["cells"][key]


def test_a_seed_that_lacks_a_task_is_left_out_and_said_to_be(compute: Any, models: Any) -> None:
    files = [
        negated(models, "x", 0, "a", 10, 60), negated(models, "x", 0, "b", 30, 50),
        negated(models, "x", 1, "a", 90, 60),
    ]  # fmt: skip
    result = compute("negation", {"negated": files}, {"control": "c"})
    assert result["rows"][0]["cells"]["target"]["values"] == pytest.approx([0.2])
    assert "method x, seed 1: left out, as nothing is known of b" in result["notes"]


def test_the_control_must_be_named(compute: Any) -> None:
    with pytest.raises(RecipeError, match="control"):
        compute("negation", {"negated": []})
