"""Text tasks from tables and TOML: templates, answers, labels, rows that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from talos_engine.data.declaration import read_declaration
from talos_engine.data.finding import find_task
from talos_engine.data.spec import TEXTS, TextExamples
from talos_engine.data.splits import load_split
from talos_engine.data.text_template import parse_template
from talos_engine.errors import DataError

ROWS = [
    {"q": "is it?", "a": "no", "b": "yes", "gold": 1, "more": {"list": ["u", "v"]}},
    {"q": "is he?", "a": "nay", "b": "aye", "gold": 0, "more": {"list": ["w", "x", "y"]}},
] * 10
HEAD = 'name = "asked"\ntext = "{q} Yes or no?"\n'
SOURCE = '[source]\nkind = "table"\npath = "rows"\nlabel = "gold"\n'


def write(folder: Path, rows: list[dict[str, Any]], name: str = "train.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return folder


def declare(folder: Path, text: str) -> Path:
    path = folder / "asked.toml"
    path.write_text(text)
    return path


def read(folder: Path, rows: list[dict[str, Any]], keys: str, head: str = HEAD) -> TextExamples:
    write(folder / "rows", rows)
    spec = read_declaration(declare(folder, head + keys + SOURCE)).spec()
    assert spec.kind == TEXTS
    loaded = spec.load("train")
    assert isinstance(loaded, TextExamples)
    loaded.check("asked", len(spec.class_names))
    return loaded


def test_answers_that_all_examples_share(tmp_path: Path) -> None:
    found = read(tmp_path, ROWS, 'choices = ["wrong", "right"]\n')
    assert found.texts[:2] == ("is it? Yes or no?", "is he? Yes or no?")
    assert set(found.choices) == {("wrong", "right")}
    assert found.labels.tolist() == [1, 0] * 10


def test_answers_in_columns(tmp_path: Path) -> None:
    found = read(tmp_path, ROWS, 'choices = ["{a}", "{b}!"]\nlength_normalized = true\n')
    assert found.choices[:2] == (("no", "yes!"), ("nay", "aye!"))


def test_answers_in_a_column_of_lists(tmp_path: Path) -> None:
    found = read(tmp_path, ROWS, 'choices_column = "more.list"\n')
    assert found.choices[:2] == (("u", "v"), ("w", "x", "y"))


@pytest.mark.parametrize(
    ("gold", "keys"),
    [
        (["no", "aye"], 'choices = ["{a}", "{b}"]\n'),
        ([0, 1], 'choices = ["{a}", "{b}"]\n'),
        (["0", "1"], 'choices = ["{a}", "{b}"]\n'),
        ([1, 2], 'choices = ["{a}", "{b}"]\nlabels = ["1", "2"]\n'),
        (["A", "B"], 'choices = ["{a}", "{b}"]\nlabels = ["A", "B"]\n'),
        ([False, True], 'choices = ["{a}", "{b}"]\n'),
    ],
)
def test_what_a_label_may_be(tmp_path: Path, gold: list[Any], keys: str) -> None:
    rows = [{**row, "gold": label} for row, label in zip(ROWS, gold, strict=False)]
    assert read(tmp_path, rows, keys).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gold": 2}, "row 1 has label 2, outside its 2 answers"),
        ({"gold": -1}, "row 1 has label -1, which is none"),
        ({"gold": None}, "row 1: there is no label"),
        ({"q": ""}, "row 1: 'q' is empty"),
        ({"q": None}, "row 1: 'q' is empty"),
        ({"b": None}, "row 1: 'b' is empty"),
        ({"b": "  "}, "row 1 has an empty answer"),
        ({"b": "nay "}, "row 1 has the same answer twice: nay, nay"),
    ],
)
def test_a_bad_row_is_named_or_skipped(
    tmp_path: Path, using: Callable[..., Any], change: dict[str, Any], told: str
) -> None:
    rows = [ROWS[0], {**ROWS[1], **change}, *ROWS[2:]]
    keys = 'choices = ["{a}", "{b}"]\n'
    with pytest.raises(DataError, match=told) as caught:
        read(tmp_path, rows, keys)
    assert "train.jsonl" in caught.value.message
    assert "--skip-bad" in caught.value.hint
    run = using(skip_bad=True)
    assert len(read(tmp_path, rows, keys).labels) == len(ROWS) - 1
    assert run.skipped == {"asked": {"train_texts": 1}}


def test_an_answer_that_is_none_of_them(tmp_path: Path) -> None:
    rows = [{**row, "gold": "perhaps"} for row in ROWS]
    with pytest.raises(DataError, match=r"'perhaps', which is none of its answers: 'no', 'yes'"):
        read(tmp_path, rows, 'choices = ["{a}", "{b}"]\n')


def test_a_column_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'c': it has"):
        read(tmp_path, ROWS, 'choices = ["{a}", "{c}"]\n')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name = "x"\nchoices = ["a", "b"]\n', "does not say 'text'"),
        ('name = "x"\ntext = "plain"\nchoices = ["a", "b"]\n', "text names no column"),
        ('name = "x"\ntext = "{q"\nchoices = ["a", "b"]\n', "'{q'"),
        ('name = "x"\ntext = "{q:>3}"\nchoices = ["a", "b"]\n', "the name of a column"),
        ('name = "x"\ntext = "{}"\nchoices = ["a", "b"]\n', "the name of a column"),
        (HEAD, "either 'choices' or 'choices_column'"),
        (HEAD + 'choices = ["a"]\n', "1 answer is too few"),
        (HEAD + 'choices = ["a", "b"]\nlabels = ["x"]\n', "1 labels for 2 choices"),
        (HEAD + 'choices = ["a", "b"]\ntemplates = ["a {}"]\n', "images and texts at once"),
        (HEAD + 'choices = "a"\n', "choices must be a list"),
        (HEAD + 'choices = ["a", "b"]\nvalidation = "none"\n', "validation = 'none'"),
        (HEAD + 'choices = ["a", "b"]\nlenght_normalized = true\n', "unknown key"),
    ],
)
def test_unsound_declarations(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_declaration(declare(tmp_path, text + SOURCE))


def test_templates_reach_into_records_and_lists() -> None:
    template = parse_template("{{a}} {more.list.1} {n}", "here")
    assert template.columns == ("more", "n")
    assert template.render({"more": {"list": ["x", "y"]}, "n": 3}) == "{a} y 3"
    with pytest.raises(LookupError, match=r"there is no 'more\.list\.1'"):
        template.render({"more": {"list": ["x"]}, "n": 3})


def plain(label: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"text": f"text {number}", "label": label(number), **more} for number in range(20)]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "arrow", "saved"])
def test_data_that_nobody_described(tmp_path: Path, using: Callable[..., Any], kind: str) -> None:
    """Columns ``text`` and ``label``; the labels that occur are the answers."""
    table = datasets.Dataset.from_list(plain(lambda number: ("bad", "good")[number % 2]))
    folder = tmp_path / "reviews"
    folder.mkdir()
    if kind == "saved":
        datasets.DatasetDict(train=table, test=table).save_to_disk(str(folder))
    elif kind == "arrow":
        import pyarrow as pa

        for split in ("train", "test"):
            with pa.OSFile(str(folder / f"{split}.arrow"), "wb") as file:
                rows = table.with_format("arrow")[:]
                with pa.ipc.new_stream(file, rows.schema) as writer:
                    writer.write_table(rows)
    else:
        for split in ("train", "test"):
            save = {"jsonl": table.to_json, "csv": table.to_csv, "parquet": table.to_parquet}[kind]
            save(str(folder / f"{split}.{kind}"))
    using(paths={"reviews": folder})
    spec = find_task("reviews")
    assert (spec.kind, spec.class_names) == (TEXTS, ("bad", "good"))
    test = load_split(spec, "test")
    assert test.labels.tolist() == [0, 1] * 10
    assert isinstance(test.examples, TextExamples)
    assert test.examples.texts[3] == "text 3"


def test_undescribed_data_with_lists_of_answers(tmp_path: Path, using: Callable[..., Any]) -> None:
    rows = plain(lambda number: number % 3, choices=["a", "b", "c"])
    folder = write(write(tmp_path / "quiz", rows), rows, "test.jsonl")
    using(paths={"quiz": folder})
    spec = find_task("quiz")
    assert spec.class_names == ()
    assert load_split(spec, "test").labels.tolist() == [number % 3 for number in range(20)]


def test_undescribed_numbers_need_answers(tmp_path: Path, using: Callable[..., Any]) -> None:
    folder = write(tmp_path / "quiz", plain(lambda number: number % 3))
    using(paths={"quiz": folder})
    with pytest.raises(DataError, match="are no texts, and task 'quiz' has no column 'choices'"):
        find_task("quiz")
