"""Curves of searches: means and bands over seeds, every α that was chosen, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from talos_engine.errors import CorruptFileError, RecipeError


def addition(coef: float, **values: float) -> dict[str, Any]:
    """A report of add; ``a05=0.6`` is 0.6 at α = 0.5."""
    points = [{"coef": int(key[1:]) / 10, "objective": value, "feasible": True, "accuracy": {}}
              for key, value in values.items()]  # fmt: skip
    return {"command": "add", "coef": coef, "curve": points}


def negation(coef: float, *points: tuple[float, float, float, bool]) -> dict[str, Any]:
    return {
        "command": "negate", "task": "digits", "control": "letters", "coef": coef,
        "curve": [{"coef": x, "objective": target, "feasible": feasible,
                   "accuracy": {"digits": target, "letters": kept}}
                  for x, target, kept, feasible in points],
    }  # fmt: skip


def test_mean_and_band_over_seeds_and_every_choice(compute: Any, source: Any) -> None:
    found = compute("search", {"searches": [
        source(addition(0.5, a00=0.4, a05=0.8, a10=0.6), method="x", seed=0),
        source(addition(1.0, a00=0.4, a05=0.6, a10=0.9), method="x", seed=1),
        source(addition(0.5, a00=0.1, a05=0.2), method="y", seed=0),
    ]})  # fmt: skip
    x, y = found["series"]
    assert (x["label"], x["x"]) == ("x", [0.0, 0.5, 1.0])
    assert x["y"] == pytest.approx([0.4, 0.7, 0.75])
    assert (x["low"], x["high"]) == ([0.4, 0.6, 0.6], [0.4, 0.8, 0.9])
    assert [(it["x"], it["y"]) for it in x["marks"]] == [
        (0.5, pytest.approx(0.7)), (1.0, pytest.approx(0.75))]  # fmt: skip
    assert "low" not in y
    assert found["y"] == {"label": "normalized accuracy", "unit": "share"}
    assert found["x"]["knee"] == 1.0
    assert found["told"] == "Chosen α: x 0.5 and 1; y 0.5."


def test_target_and_control_of_a_negation(compute: Any, source: Any) -> None:
    sources = {"searches": [
        source(negation(0.0, (0.0, 0.6, 0.9, True), (0.5, 0.3, 0.7, False)), method="x", seed=3)
    ]}  # fmt: skip
    target = compute("search", sources)
    assert target["series"][0]["y"] == [0.6, 0.3]
    assert target["y"]["label"] == "accuracy on digits"
    assert target["notes"] == ["x: only α = 0 was allowed for seed 3"]
    control = compute("search", sources, {"measure": "control"})
    assert control["series"][0]["y"] == [0.9, 0.7]
    assert control["y"]["label"] == "accuracy on letters"


def test_values_that_one_seed_did_not_try(compute: Any, source: Any) -> None:
    found = compute("search", {"searches": [
        source(addition(0.5, a00=0.4, a05=0.8), method="x", seed=0),
        source(addition(1.0, a00=0.4, a10=0.9), method="x", seed=1),
    ]})  # fmt: skip
    (line,) = found["series"]
    assert line["x"] == [0.0]
    assert [(it["x"], it["y"]) for it in line["marks"]] == [(0.5, 0.8), (1.0, 0.9)]
    assert "left out" in found["notes"][0]


def test_what_is_no_search_is_refused(compute: Any, source: Any) -> None:
    for content in ({"coef": 1}, [], addition(0.7, a00=0.1)):
        with pytest.raises(CorruptFileError, match=r"file\.json"):
            compute("search", {"searches": [source(content, method="x", seed=0)]})
    with pytest.raises(RecipeError, match="measure"):
        compute("search", {"searches": []}, {"measure": "best"})
    missing = compute("search", {"searches": [source(None, method="x", seed=0)]})
    assert missing["series"] == []
    assert "is missing" in missing["notes"][0]
