from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import RecipeError
from talos_engine.experiments.matrix import combinations, label, select

SETTINGS = {"tasks": ["a", "b"], "ranks": {"x": [1, 2], "y": [3]}}


def test_the_last_variable_varies_fastest_and_may_depend_on_others() -> None:
    each = {"m": ["x", "y"], "rank": "{ranks[m]}", "t": "{tasks}"}
    found = list(combinations(each, [{"m": "x", "t": "b"}], SETTINGS, "here"))
    assert [tuple(it.values()) for it in found] == [
        ("x", 1, "a"), ("x", 2, "a"), ("y", 3, "a"), ("y", 3, "b"),
    ]  # fmt: skip


def test_no_variables_are_one_combination_and_lists_are_joined() -> None:
    assert list(combinations({}, [], {}, "here")) == [{}]
    assert [it["t"] for it in combinations({"t": ["{tasks}", "c"]}, [], SETTINGS, "here")] == [
        "a", "b", "c",
    ]  # fmt: skip


@pytest.mark.parametrize("values", ["a", 3, ["a", "a"], ["1", 1], [{"a": 1}]])
def test_values_that_are_no_list_or_twice_the_same(values: Any) -> None:
    with pytest.raises(RecipeError, match="here each: t "):
        list(combinations({"t": values}, [], {}, "here"))


def test_labels_are_safe_as_names_of_files() -> None:
    assert label({"m": "talos+ties", "k": 0.9, "path": "../x y"}) == "talos+ties.0.9..._x_y"


CANDIDATES = [{"m": m, "t": t, "s": s} for m in "xy" for t in "ab" for s in (0, 1)]


def chosen(reference: dict[str, Any], own: dict[str, Any]) -> list[str]:
    positions = select(
        {"step": "s", **reference}, CANDIDATES, ["m", "t", "s"], own, {**SETTINGS, **own}, "here"
    )
    return ["".join(map(str, CANDIDATES[place].values())) for place in positions]


def test_variables_of_one_name_are_equal_and_the_others_free() -> None:
    assert chosen({}, {"m": "x", "s": 1, "else": 3}) == ["xa1", "xb1"]
    assert chosen({"where": {"m": "y"}}, {"m": "x", "s": 1}) == ["ya1", "yb1"]
    assert chosen({"where": {"m": ["x", "y"], "t": "{own}"}}, {"own": "b", "s": 0}) == [
        "xb0",
        "yb0",
    ]
    assert chosen({"all": ["m"]}, {"m": "x", "t": "a", "s": 1}) == ["xa1", "ya1"]
    assert chosen({"others": ["t"]}, {"m": "x", "t": "a", "s": 1}) == ["xb1"]


@pytest.mark.parametrize(
    "reference", [{"where": {"z": 1}}, {"all": ["z"]}, {"others": ["z"]}, {"others": ["t"]}]
)
def test_variables_that_there_are_not(reference: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="no variable"):
        chosen(reference, {"m": "x"})
