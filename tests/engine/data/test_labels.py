"""Labels of a source become the task's: by name, by number, or by a known order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.data.labels import ClassList, read_labels, simplify
from talos_engine.data.source import Table
from talos_engine.errors import DataError

COLOURS = ("polka-dotted", "Sea Lake", "red")


def declared(names: Sequence[str], labels: Sequence[int]) -> Table:
    features = datasets.Features(label=datasets.ClassLabel(names=list(names)))
    return Table(datasets.Dataset.from_dict({"label": list(labels)}, features), "here", None)


def test_declared_classes_in_another_order_are_matched_by_name() -> None:
    table = declared(["red", "polka_dotted", "sea lake"], [0, 1, 2, 0])
    labels, problem = read_labels(table, "label", ClassList("t", COLOURS))
    assert (labels.tolist(), problem) == ([2, 0, 1, 2], "")


def test_a_source_may_have_fewer_classes() -> None:
    labels, _ = read_labels(declared(["red"], [0, 0]), "label", ClassList("t", COLOURS))
    assert labels.tolist() == [2, 2]


def test_aliases_are_names_too() -> None:
    classes = ClassList("t", COLOURS, ("Dots", "SeaLake", "R"))
    assert read_labels(declared(["SeaLake", "dots"], [0, 1]), "label", classes)[0].tolist() == [
        1,
        0,
    ]


def test_names_that_are_numbers_are_labels() -> None:
    ten = ClassList("t", tuple(f"class {chr(97 + number)}" for number in range(11)))
    names = ["0", "1", "10", "2"]  # the order of folders
    assert read_labels(declared(names, range(4)), "label", ten)[0].tolist() == [0, 1, 10, 2]


def test_names_of_its_own_are_taken_in_order_only_where_that_is_known(
    using: Callable[..., Any],
) -> None:
    run = using()
    wordnet = declared(["n01", "n02", "n03"], [2, 0])
    with pytest.raises(DataError, match="no class 'n01'"):
        read_labels(wordnet, "label", ClassList("t", COLOURS))
    in_order = ClassList("t", COLOURS, in_order=True)
    assert read_labels(wordnet, "label", in_order)[0].tolist() == [2, 0]
    assert "same order" in run.notes[0]
    with pytest.raises(DataError, match="no class 'n01'"):
        read_labels(declared(["n01", "n02"], [0]), "label", in_order)


def test_two_names_of_one_class_are_refused() -> None:
    with pytest.raises(DataError, match="the same class"):
        read_labels(declared(["red", "Red "], [0]), "label", ClassList("t", COLOURS))


def test_missing_values_are_named() -> None:
    features = datasets.Features(label=datasets.ClassLabel(names=["red"]))
    table = Table(datasets.Dataset.from_dict({"label": [0, None, 0]}, features), "here", None)
    labels, problem = read_labels(table, "label", ClassList("t", COLOURS))
    assert labels.tolist() == [2, -1, 2]
    assert problem == "here, row 1: there is no label"


@given(st.lists(st.integers(-3, 6), min_size=1, max_size=20))
def test_numbers_are_labels_or_the_first_outside_is_named(values: list[int]) -> None:
    table = Table(datasets.Dataset.from_dict({"label": values}), "here", None)
    labels, problem = read_labels(table, "label", ClassList("t", COLOURS))
    assert labels.tolist() == [value if 0 <= value < 3 else -1 for value in values]
    outside = [row for row, value in enumerate(values) if not 0 <= value < 3]
    assert (
        (f"row {outside[0]} has label {values[outside[0]]}" in problem) if outside else not problem
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [("Sea_Lake", "sea lake"), ("polka-dotted", "Polka dotted"), ("  red ", "RED"), ("a/b", "a b")],
)
def test_names_are_compared_without_case_and_punctuation(one: str, other: str) -> None:
    assert simplify(one) == simplify(other)


def test_different_names_stay_different() -> None:
    assert simplify("sealake") != simplify("sea lake")
    assert simplify("été") != simplify("ete")
