"""Which numbers are the best of their column."""

from __future__ import annotations

from talos_engine.reporting.document import Cell, Column, Row, Table

COLUMNS = [Column("a", "a", "%", "higher"), Column("b", "b", "s", "lower"), Column("c", "c")]


def table(*rows: dict[str, Cell]) -> Table:
    return Table("t", COLUMNS, [Row(str(i), cells) for i, cells in enumerate(rows)])


def test_the_best_of_each_direction() -> None:
    found = table(
        {"a": Cell(0.5, paper=0.9), "b": Cell(1.0), "c": Cell(1.0)},
        {"a": Cell(0.7, paper=0.8), "b": Cell(2.0), "c": Cell(2.0)},
        {"a": Cell(None), "b": Cell(1.0)},
    )
    assert [found.best(column) for column in COLUMNS] == [{1}, {0, 2}, frozenset()]
    assert found.best(COLUMNS[0], paper=True) == {0}
    assert found.paper_columns() == (COLUMNS[0],)


def test_what_only_gives_the_scale_is_never_the_best() -> None:
    rows = [
        Row("single-task", {"a": Cell(0.9)}, reference=True),
        Row("x", {"a": Cell(0.5)}),
        Row("y", {"a": Cell(0.6)}),
    ]
    assert Table("t", COLUMNS, rows).best(COLUMNS[0]) == {2}


def test_nothing_is_best_of_one_or_of_equals() -> None:
    assert not table({"a": Cell(0.5)}, {}).best(COLUMNS[0])
    assert not table({"a": Cell(0.5)}, {"a": Cell(0.5)}).best(COLUMNS[0])


def test_a_number_that_is_not_ranked_is_never_the_best_but_the_papers_may_be() -> None:
    found = table(
        {"a": Cell(0.9, paper=0.9, ranked=False), "b": Cell(1.0)},
        {"a": Cell(0.5, paper=0.6), "b": Cell(2.0)},
        {"a": Cell(0.6, paper=0.7), "b": Cell(3.0)},
    )
    assert found.best(COLUMNS[0]) == {2}
    assert found.best(COLUMNS[0], paper=True) == {0}
    assert found.best(COLUMNS[1]) == {0}
