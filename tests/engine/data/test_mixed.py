"""A bad cell does not change what the labels beside it mean, also where classes are digits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from talos_engine.data.examples import load_examples
from talos_engine.data.finding import find_task
from talos_engine.data.labels import ClassList
from talos_engine.data.mixed import as_typed
from talos_engine.data.source import detect_source
from talos_engine.errors import DataError

DIGITS = ClassList("stars", ("1", "2", "3"))
GOOD = [0, 1, 2, 1] * 3


def stars(path: Path, classes: ClassList = DIGITS) -> list[int]:
    return load_examples(detect_source(path), "train", classes).labels.tolist()


def csv_of(folder: Path, rows: Sequence[str], name: str = "train.csv") -> Path:
    path = folder / name
    path.write_text("image,label,id\n" + "".join(f"{row}\n" for row in rows))
    return path


SOUND = [f"a.png,{label},{row}" for row, label in enumerate(GOOD)]
ODD = {
    "nothing": [],
    "a broken line": ["a.png,1,2,3"],
    "a bad label": ["a.png,x,9"],
    "a label out of range": ["a.png,7,9"],
    "a fraction": ["a.png,0.5,9"],
    "no label": ["a.png,,9"],
    "bad labels": ["a.png,x,9", "a.png,-,9", "a.png,7,9", "a.png,1,2,3", "a.png,,1"],
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("first", [False, True])
def test_rows_left_out_of_csv_leave_the_other_labels_alone(
    tmp_path: Path, using: Callable[..., Any], case: str, first: bool
) -> None:
    run = using(skip_bad=True)
    rows = [*ODD[case], *SOUND] if first else [*SOUND, *ODD[case]]
    assert stars(csv_of(tmp_path, rows)) == GOOD
    assert sum(run.skipped.get("stars", {}).values()) == len(ODD[case])


def test_a_text_in_another_column_of_csv_changes_no_label(tmp_path: Path) -> None:
    rows = [f"a.png,{number % 3},{number}" for number in range(10_050)]
    rows[-1] = "a.png,0,A7"  # after the first block, which sets the types
    assert stars(csv_of(tmp_path, rows))[:4] == [0, 1, 2, 0]


def test_digits_beside_other_names_in_csv_are_names(tmp_path: Path) -> None:
    classes = ClassList("stars", ("1", "2", "none"))
    rows = [f"a.png,{label},0" for label in ("1", "2", "none", "2")]
    assert stars(csv_of(tmp_path, rows), classes) == [0, 1, 2, 1]


def test_declared_labels_come_first(tmp_path: Path, using: Callable[..., Any]) -> None:
    using(skip_bad=True)
    classes = ClassList("stars", ("bad", "fair", "good"), ("1", "2", "3"))
    rows = [f"a.png,{label},0" for label in (1, 2, 3, 2)]
    assert stars(csv_of(tmp_path, rows), classes) == [0, 1, 2, 1]
    assert stars(csv_of(tmp_path, [*rows, "a.png,x,0"]), classes) == [0, 1, 2, 1]


@pytest.mark.parametrize("odd", [None, "x", 7, 0.5, True, [0], 2**70])
def test_numbers_of_json_are_positions_and_texts_are_names(
    tmp_path: Path, using: Callable[..., Any], odd: Any
) -> None:
    using(skip_bad=True)
    rows = [{"image": "a.png", "label": label} for label in [*GOOD, odd]]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert stars(path) == GOOD
    path.write_text("\n".join(map(json.dumps, [*rows, {"image": "a.png", "label": "1"}])))
    assert stars(path) == [*GOOD, 0]


def sums(folder: Path, odd: str) -> list[int]:
    rows = [{"q": f"{row}", "choices": ["2", "0", "1"], "label": row % 3} for row in range(6)]
    for name in ("train", "test"):
        lines = [json.dumps({**row, "text": row["q"]}) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join([*lines, odd]))
    return find_task("sums").load("train").labels.tolist()


@pytest.mark.parametrize(
    "odd", ["", '{"te', '{"text": "9", "choices": ["2", "0", "1"], "label": "x"}']
)
def test_numbers_of_json_are_positions_of_answers(
    tmp_path: Path, using: Callable[..., Any], odd: str
) -> None:
    using(paths={"sums": tmp_path}, skip_bad=True)
    assert sums(tmp_path, odd) == [0, 1, 2] * 2


@pytest.mark.parametrize("odd", ["", "a,b,c,d", "t,x"])
def test_numbers_of_csv_are_positions_of_answers(
    tmp_path: Path, using: Callable[..., Any], odd: str
) -> None:
    declared = tmp_path / "stars.toml"
    declared.write_text(
        'name = "stars"\ntext = "{text}"\nchoices = ["1", "2", "3"]\n'
        '[source]\nkind = "table"\npath = "."\n'
    )
    rows = "".join(f"t{row},{label}\n" for row, label in enumerate(GOOD))
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{rows}{odd}\n")
    using(task_files=(declared,), skip_bad=True)
    assert find_task("stars").load("train").labels.tolist() == GOOD


@pytest.mark.parametrize("odd", [[], ["a.png,1,2,3"], ["a.png,x,9"]])
def test_numbers_are_no_class_names(
    tmp_path: Path, using: Callable[..., Any], odd: list[str]
) -> None:
    for name in ("train", "test"):
        csv_of(tmp_path, [*SOUND, *odd], f"{name}.csv")
    using(paths={"stars": tmp_path}, skip_bad=True)
    with pytest.raises(DataError, match="labels in 'label' are no names"):
        find_task("stars")


def test_a_number_among_undeclared_names_of_json_is_no_name(
    tmp_path: Path, using: Callable[..., Any]
) -> None:
    rows = [{"image": "a.png", "label": label} for label in ("cat", "dog", 3)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    using(paths={"pets": tmp_path}, skip_bad=True)
    with pytest.raises(DataError, match="some labels in 'label' are numbers, others texts"):
        find_task("pets")


@pytest.mark.parametrize(
    ("cells", "typed"),
    [
        (["1", None, "+2", " 03"], [1, None, 2, 3]),
        (["1", "-.5", "2e1"], [1, -0.5, 20.0]),
        (["1", "x"], ["1", "x"]),
        (["True", "false", None], [True, False, None]),
        (["True", "1"], ["True", "1"]),
        (["1", "1234567890123456789"], ["1", "1234567890123456789"]),
    ],
)
def test_columns_of_csv_have_the_types_of_their_cells(cells: Any, typed: Any) -> None:
    assert as_typed(cells) == typed
