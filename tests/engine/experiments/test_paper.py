from __future__ import annotations

import pytest

from talos_engine.errors import RecipeError
from talos_engine.experiments.paper import PaperTable, beside


@pytest.mark.parametrize(
    ("table", "model", "row", "column", "value"),
    [
        ("task_addition", "ViT-B-32", "talos", "absolute", 0.7967),
        ("task_addition", "t5-large", "talos", "normalized", 0.9061),
        ("task_addition", "ViT-L-14", "zero-shot", "absolute", 0.6547),
        ("task_negation", "ViT-B-16", "l-lora", "control", 0.6569),
        ("merging_schemes", "t5-small", "talos+ties", "normalized", 0.8542),
        ("calibration_accuracy", "ViT-L-14", "talos", "normalized", 0.9519),
        ("calibration_accuracy", "ViT-L-14", "lota", "target", 0.2202),
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
        ("calibration_cost", "ViT-B-32", "no model in calibration_cost"),
    ],
)
def test_what_the_paper_does_not_have(table: str, model: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        PaperTable(table, model)


@pytest.mark.parametrize("measured", ["t5-large", "google-t5/t5-large", "models/t5-large/"])
def test_numbers_of_the_model_measured_stand_beside_it(measured: str) -> None:
    table, left_out = beside({"table": "cost", "model": "t5-large", "measured": measured})
    assert (table.number("talos", 3), left_out) == (12.1, "")


@pytest.mark.parametrize(
    ("table", "model", "measured", "told"),
    [
        ("cost", "t5-large", "google-t5/t5-small", "of t5-large, and t5-small was measured"),
        ("cost", "ViT-B-16", "ViT-B-16", "none of ViT-B-16, but of ViT-B-32, ViT-L-14, t5-large"),
        ("calibration_cost", "ViT-L-14", "ViT-B-32", "and ViT-B-32 was measured"),
        ("merging_schemes", "ViT-L-14", "ViT-L-14", "but of ViT-B-32, t5-small"),
    ],
)
def test_numbers_of_another_model_are_left_out_and_said_to_be(
    table: str, model: str, measured: str, told: str
) -> None:
    found, left_out = beside({"table": table, "model": model, "measured": measured})
    assert found.number("talos", 0) is found.share("talos+ties", "absolute") is None
    assert told in left_out


def test_a_table_that_is_not_there_is_refused_whatever_was_measured() -> None:
    with pytest.raises(RecipeError, match="no table of the paper named 'costs'"):
        beside({"table": "costs", "model": "ViT-B-32", "measured": "x"})
