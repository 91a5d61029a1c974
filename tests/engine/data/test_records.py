"""Files that a fast reader gives up on are read record by record: rows named, or left out."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talos_engine.data.examples import load_examples
from talos_engine.data.finding import find_task
from talos_engine.data.labels import ClassList
from talos_engine.data.source import detect_source
from talos_engine.data.splits import load_split
from talos_engine.errors import DataError

CLASSES = ClassList("pets", ("cat", "dog"))
HEAD = "image,label\n"


def pets(path: Path) -> list[int]:
    return load_examples(detect_source(path), "train", CLASSES).labels.tolist()


def answers(folder: Path) -> list[int]:
    return load_split(find_task("asked"), "test").labels.tolist()


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("label", ["x", "-1", "0.5", "2"])
def test_a_bad_label_in_a_later_block_of_csv(
    tmp_path: Path, using: Callable[..., Any], label: str
) -> None:
    rows = [f"a.png,{number % 2}" for number in range(12_000)]  # types come from the first 10,000
    rows[11_000] = f"a.png,{label}"
    path = write(tmp_path / "train.csv", HEAD + "\n".join(rows))
    with pytest.raises(DataError, match=r"train.csv, row 11000\b") as caught:
        pets(path)
    assert "--skip-bad" in caught.value.hint
    run = using(skip_bad=True)
    found = pets(path)
    assert len(found) == 11_999
    assert found[:4] == [0, 1, 0, 1]
    assert run.skipped == {"pets": {"train_labels": 1}}


@pytest.mark.parametrize(
    ("key", "cell", "told"),
    [
        ("label", "x", "row 2900 has label 'x', which is none of its answers"),
        ("choices", "a", "row 2900: 'choices' is no list of texts"),
    ],
)
def test_another_type_in_a_later_block_of_json_lines(
    tmp_path: Path, using: Callable[..., Any], key: str, cell: Any, told: str
) -> None:
    row = {"text": "t" * 4_000, "choices": ["a", "b"]}  # types come from the first 10 MB
    rows = [{**row, "label": number % 2} for number in range(3_000)]
    rows[2900] = {**rows[2900], key: cell}
    text = "\n".join(map(json.dumps, rows))
    assert len(text) > 11 * 2**20
    write(tmp_path / "test.jsonl", text)
    write(tmp_path / "train.jsonl", "\n".join(map(json.dumps, rows[:10])))
    using(paths={"asked": tmp_path})
    with pytest.raises(DataError, match=told):
        answers(tmp_path)
    run = using(paths={"asked": tmp_path}, skip_bad=True)
    assert answers(tmp_path) == [number % 2 for number in range(3_000) if number != 2900]
    assert run.skipped == {"asked": {"test_texts": 1}}


@pytest.mark.parametrize("label", ["x", "-1", 7, None, [0]])
def test_labels_of_several_types_in_a_small_file(
    tmp_path: Path, using: Callable[..., Any], label: Any
) -> None:
    rows = [{"image": "a.png", "label": each} for each in (0, "dog", label, 1.0)]
    path = write(tmp_path / "train.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"train.jsonl, row 2\b"):
        pets(path)
    using(skip_bad=True)
    assert pets(path) == [0, 1, 1]


GOOD = '{"image": "a.png", "label": 1}'
BROKEN = {
    "cut off": ("train.jsonl", f'{GOOD}\n\n{GOOD}\n{{"image": "a.p\n{GOOD}', "row 2 (line 4): it is not JSON"),
    "a bare word": ("train.jsonl", f"{GOOD}\n{GOOD}\ncat\n{GOOD}", "row 2 (line 3): it is not JSON"),
    "a list": ("train.jsonl", f"{GOOD}\n{GOOD}\n[1]\n{GOOD}", "row 2 (line 3): it is no record"),
    "not UTF-8": ("train.jsonl", f"{GOOD}\n{GOOD}\n".encode() + b'{"image": "\xff", "label": 1}\n' + GOOD.encode(), "row 2 (line 3): it is not UTF-8"),
    "half a pair": ("train.jsonl", f'{GOOD}\n{GOOD}\n{{"image": "\\ud800"}}\n{GOOD}', "row 2 (line 3): it is not UTF-8"),
    "in a list": ("train.json", f"[{GOOD}, {GOOD}, 3, {GOOD}]", "row 2: it is no record"),
    "in a list over lines": ("train.json", f"\n [{GOOD},\n{GOOD},\n3,\n{GOOD}]", "row 2: it is no record"),
    "half a pair in a list": ("train.json", f'[{{"image": "a.png", "label": "dog"}}, {GOOD}, {{"image": "\\ud800"}}, {GOOD}]', "row 2: it is not UTF-8"),
    "behind a mark": ("train.jsonl", f"\ufeff{GOOD}\n{GOOD}\n]\n{GOOD}", "row 2 (line 3): it is not JSON"),
    "too many fields": ("train.csv", f"{HEAD}\na.png,1\n\na.png,1\na.png,1,2\na.png,1\n", "row 2 (line 6): it has 3 fields, the header has 2"),
    "in the first row": ("train.csv", f"{HEAD}a.png,1,2\na.png,1\na.png,1\na.png,1\n", "row 0 (line 2): it has 3 fields"),
    "after lines in a cell": ("train.csv", f'{HEAD}"a\n.png",1\na.png,1\na.png,1,2\na.png,1\n', "row 2 (line 5): it has 3 fields"),
    "after a long cell": ("train.csv", f"image,label,text\na.png,1,{'x' * 140_000}\na.png,1\nb,1,2,3\na.png,1\n", "row 2 (line 4): it has 4 fields"),
    "after half a quotation": ("train.csv", f'{HEAD}"a"b.png,1\na.png,1\nb,1,2\na.png,1\n', "row 2 (line 4): it has 3 fields"),
    "short of a row's name": ("train.csv", f"{HEAD}r1,a.png,1\nr2,a.png,1\nr3,1\nr4,a.png,1\n", "row 2 (line 4): it has 2 fields, most have 3"),
    "first, and short": ("train.csv", f"{HEAD}3,1\n1,a.png,1\n2,a.png,1\n4,a.png,1\n", "row 0 (line 2): it has 2 fields, most have 3"),
    "bytes in CSV": ("train.csv", HEAD.encode() + b"a.png,1\na.png,1\n\xff.png,1\na.png,1\n", "row 2 (line 4): it is not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_line_is_named_or_skipped(
    tmp_path: Path, using: Callable[..., Any], case: str
) -> None:
    name, content, told = BROKEN[case]
    path = write(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        pets(path)
    assert f"{name}, {told}" in caught.value.message
    assert "--skip-bad" in caught.value.hint
    run = using(skip_bad=True)
    assert pets(path) == [1, 1, 1]
    assert run.skipped == {"pets": {"train_lines": 1}}


def test_rows_behind_a_broken_line_keep_their_numbers(
    tmp_path: Path, using: Callable[..., Any]
) -> None:
    lines = (GOOD, "{", GOOD.replace("1", '"emu"'), GOOD)
    path = write(tmp_path / "train.jsonl", "\n".join(lines))
    run = using(skip_bad=True)
    found = load_examples(detect_source(path), "train", CLASSES)
    assert found.images.rows.tolist() == [0, 3]  # type: ignore[union-attr]
    assert run.skipped == {"pets": {"train_labels": 1, "train_lines": 1}}


def test_broken_lines_of_one_file_with_both_splits(
    tmp_path: Path, using: Callable[..., Any]
) -> None:
    rows = "a.png,cat,train\nb.png,dog,test,\nc.png,dog,train\nd.png,dog,test\n"
    path = write(tmp_path / "all.csv", "image,label,split\n" + rows)
    run = using(skip_bad=True)
    for _ in range(2):
        assert pets(path) == [0, 1]
        found = load_examples(detect_source(path), "test", CLASSES)
        assert found.images.rows.tolist() == [3]  # type: ignore[union-attr]
        assert run.skipped == {"pets": {"train_lines": 1}}  # once: it is of either split


def test_broken_lines_of_a_file_for_each_split(tmp_path: Path, using: Callable[..., Any]) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"{name}.csv", f"{HEAD}a.png,1\nb.png,0,1\n")
    run = using(skip_bad=True)
    for split in ("train", "test"):
        load_examples(detect_source(tmp_path), split, CLASSES)
    assert run.skipped == {"pets": {"train_lines": 1, "test_lines": 1}}


def test_a_quotation_mark_that_never_closes_cannot_be_skipped(
    tmp_path: Path, using: Callable[..., Any]
) -> None:
    path = write(tmp_path / "train.csv", f'{HEAD}a.png,1\n"b.png,1\nc.png,1\n')
    using(skip_bad=True)
    with pytest.raises(DataError, match=r"train.csv, line 3: a quotation mark"):
        pets(path)


def test_a_list_in_json_begins_where_it_likes(tmp_path: Path) -> None:
    rows = [{"image": "a.png", "label": label} for label in (1, "cat", 1.0)]
    assert pets(write(tmp_path / "train.json", "\n\n" + json.dumps(rows, indent=1))) == [1, 0, 1]


def test_csv_is_read_as_leniently_as_elsewhere(tmp_path: Path) -> None:
    rows = f'"a"b.png,1,{"x" * 140_000}\nb.png,dog,y\nc "d.png,0\n'
    names = "".join(f"{number},{line}\n" for number, line in enumerate(rows.splitlines()))
    limit = csv.field_size_limit()
    # names of rows make it uneven, so that it is read by record
    path = write(tmp_path / "train.csv", f"image,label,text\n{names.replace('.png,0', '.png,0,z')}")
    assert pets(path) == [1, 1, 0]
    found = load_examples(detect_source(path), "train", CLASSES).images
    assert [row["image"]["path"] for row in found.table] == ["ab.png", "b.png", 'c "d.png']  # type: ignore[union-attr]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize("last", ['"b.png,1', 'b.png,"1', '"b.png""', 'b.png,1\n"c'])
def test_a_mark_left_open_at_the_very_end(tmp_path: Path, last: str, end: str) -> None:
    with pytest.raises(DataError, match=r"train.csv, line \d: a quotation mark"):
        pets(write(tmp_path / "train.csv", f"{HEAD}a.png,1\n{last}{end}"))


def test_nothing_is_left_of_a_file_without_a_sound_line(
    tmp_path: Path, using: Callable[..., Any]
) -> None:
    using(skip_bad=True)
    with pytest.raises(DataError, match=r"train.jsonl cannot be read"):
        pets(write(tmp_path / "train.jsonl", "{\n[\n"))


def test_names_of_rows_without_a_header_are_no_mistake(tmp_path: Path) -> None:
    rows = "".join(f"row {number},a.png,{number}\n" for number in (1, 0, 1))
    assert pets(write(tmp_path / "train.csv", HEAD + rows)) == [1, 0, 1]


def test_the_library_says_nothing_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = logging.getLogger("datasets").propagate, logging.getLogger("datasets").level
    with pytest.raises(DataError):
        pets(write(tmp_path / "train.jsonl", "{\n{\n"))
    assert capfd.readouterr().err == ""
    assert not caplog.records
    assert (logging.getLogger("datasets").propagate, logging.getLogger("datasets").level) == before
