"""Fields of hostile JSON: the right type, or an error that names file and field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.errors import CorruptFileError, WrongKindError
from talos_engine.reporting.fields import Fields, clean_text, read_fields, show

PATH = Path("some.json")
VALUES = {
    "text": "a\x1b[31m\u202eb",
    "number": 2,
    "list": [1, 2.5, None],
    "object": {"x": {"y": 1}},
    "huge": 1e308,
    "flag": True,
    "none": None,
}
FIELDS = Fields(PATH, VALUES)


def test_values_of_the_right_type() -> None:
    assert FIELDS.text("text") == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b"
    assert FIELDS.number("number") == 2.0
    assert FIELDS.count("number") == 2
    assert FIELDS.gaps("list") == [1.0, 2.5, None]
    assert FIELDS.inner("object").inner("x").count("y") == 1
    assert FIELDS.flag("flag", False) is True
    assert FIELDS.text("none", "default") == FIELDS.text("missing", "default") == "default"
    assert FIELDS.number_or_none("none") is None
    assert FIELDS.texts("missing") == []


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: FIELDS.text("number"), "'number' is not a text"),
        (lambda: FIELDS.text("missing"), "'missing' is missing"),
        (lambda: FIELDS.number("text"), "'text' is not a number"),
        (lambda: FIELDS.number("flag"), "'flag' is not a number"),
        (lambda: FIELDS.number("huge"), "'huge' is not a number of a size"),
        (lambda: FIELDS.count("list"), "'list' is not a whole number"),
        (lambda: FIELDS.numbers("list"), "'list' is not a number"),
        (lambda: FIELDS.texts("list"), "'list' is not a list of texts"),
        (lambda: FIELDS.inner("list"), "'list' is not an object"),
        (lambda: FIELDS.objects("list"), "list[0] is no JSON object"),
        (lambda: FIELDS.matrix("list", 3, 1), "'list' is not a matrix of 3 rows"),
        (lambda: FIELDS.choice("text", ("x", "y")), "'text' is not one of x, y"),
        (lambda: FIELDS.inner("object").inner("x").text("y"), "'object.x.y' is not a text"),
        (lambda: Fields(PATH, []), "the file is no JSON object"),
    ],
)
def test_others_are_refused_by_name(read: Callable[[], Any], message: str) -> None:
    with pytest.raises(CorruptFileError) as caught:
        read()
    assert caught.value.message.startswith("some.json: ")
    assert message in caught.value.message


def test_long_lists_are_refused() -> None:
    with pytest.raises(CorruptFileError, match="at most"):
        Fields(PATH, {"x": [0] * 20_001}).numbers("x")


@given(st.text())
def test_clean_text_holds_nothing_that_steers(text: str) -> None:
    cleaned = clean_text(text)
    assert cleaned.isprintable()
    assert len(cleaned) == len(text)
    cleaned.encode("utf-8")


def test_values_for_people() -> None:
    assert show({"b": [1, None, True], "a": 0.1}) == "a = 0.1, b = 1, –, yes"


def test_newer_schemas_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"schema": 2}')
    with pytest.raises(WrongKindError, match="schema 2"):
        read_fields(path, 1)
    path.write_text('{"schema": "1"}')
    with pytest.raises(CorruptFileError, match="schema"):
        read_fields(path, 1)
