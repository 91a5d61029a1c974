from __future__ import annotations

import pytest

from talos_engine.errors import RecipeError
from talos_engine.experiments.paper import PaperTable


@pytest.mark.parametrize(
    ("table", "model", "row", "column", "value"),
    [
        ("task_addition", "ViT-B-32", "talos", "absolute", 0.7967),
        ("task_addition", "t5-large", "talos", "normalized", 0.9061),
        ("task_addition", "ViT-L-14", "zero-shot", "absolute", 0.6547),
        ("task_negation", "ViT-B-16", "l-lora", "control", 0.6569),
        ("merging_schemes", "t5-small", "talos+ties", "normalized", 0.8542),
        ("task_addition", "ViT-B-32", "random", "absolute", None),
        ("task_addition", "ViT-B-32", "pretrained", "normalized", None),
    ],
)
def test_shares(table: str, model: str, row: str, column: str, value: float | None) -> None:
    found = PaperTable(table, model).share(row, column)
    assert found == (None if value is None else pytest.approx(value))


def test_costs() -> None:
    assert PaperTable("cost", "ViT-L-14").number("talos", 3) == 7.8
    assert PaperTable("calibration_cost", "ViT-L-14").number("lota", 0) == 51.84
    assert PaperTable("cost", "ViT-L-14").number("random", 0) is None
    assert PaperTable("", "").number("talos", 0) is None


@pytest.mark.parametrize(
    ("table", "model", "told"),
    [
        ("addition", "ViT-B-32", "no table of the paper named 'addition'"),
        ("task_addition", "ViT-B-64", "no model in task_addition named 'ViT-B-64'"),
        ("cost", "ViT-B-16", "no model in cost named 'ViT-B-16'"),
        ("merging_schemes", "ViT-B-16", "no model in merging_schemes"),
    ],
)
def test_what_the_paper_does_not_have(table: str, model: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        PaperTable(table, model)
