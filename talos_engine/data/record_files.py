"""The records of one CSV or JSON file, each with its line, or with what is wrong with it."""

from __future__ import annotations

import csv
import json
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from talos_engine.errors import DataError

INDEX = "__index_level_0__"
"""Column that ``datasets`` makes of CSV files whose first record is longer than the header."""
Cells: TypeAlias = dict[str, Any]
Found: TypeAlias = Iterator[tuple[int, "Cells | str"]]
"""Each record's line, 0 where lines mean nothing, and its cells, or what is wrong with it."""

_NO_RECORD = "it is no record {…}"
_NO_UTF8 = "it is not UTF-8"
_END = "\udfff"  # can be no part of a file that was decoded


def read_json(path: Path) -> Found:
    """The records of a file of JSON lines, or of one JSON list."""
    with path.open("rb") as file:
        begin = len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0
        file.seek(begin)
        first = next((raw.lstrip() for raw in file if raw.strip()), b"")
        if first.startswith(b"["):
            listed = _whole_list(path, begin)
            if listed is not None:
                for row in listed:
                    yield 0, _checked(row)
                return
        file.seek(begin)
        for line, raw in enumerate(file, 1):
            if raw.strip():
                yield line, _parse(raw.rstrip())


def _whole_list(path: Path, begin: int) -> list[Any] | None:
    """The list that a file holds; ``None`` for a file of lines the first of which is a list.

    Raises:
        DataError: it is a JSON file, and broken.
    """
    try:
        listed: list[Any] = json.loads(path.read_bytes()[begin:])
    except json.JSONDecodeError as error:
        if path.suffix.lower() == ".json":
            told = f"{path}, line {error.lineno}: it is not JSON: {error.msg}"
            raise DataError(f"{told}, at column {error.colno}") from error
        return None
    except (ValueError, RecursionError):
        return None
    return listed


def _parse(raw: bytes) -> Cells | str:
    """The cells of a line of JSON, or what is wrong with it."""
    try:
        cells = json.loads(raw)
    except UnicodeError:
        return _NO_UTF8
    except json.JSONDecodeError as error:
        return f"it is not JSON: {error.msg}, at column {error.colno}"
    except (ValueError, RecursionError) as error:
        return f"it is not JSON that can be read: {error}"
    return _checked(cells) if b"\\u" in raw or not isinstance(cells, dict) else cells


def _checked(record: Any) -> Cells | str:
    """A record of JSON, or what is wrong with it."""
    if not isinstance(record, dict):
        return _NO_RECORD
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeError:  # half a pair of surrogates is no text
        return _NO_UTF8
    return record


def read_csv(path: Path) -> Found:
    """The records of a CSV file; cells are texts, read as leniently as ``datasets`` reads them.

    Raises:
        DataError: a quotation mark is never closed.
    """
    found = _records(path)
    header = found.pop(0)[1] if found else ""
    if isinstance(header, str):
        return
    names: list[str] = []
    for place, name in enumerate(header):
        own = name or f"Unnamed: {place}"
        names.append(own if own not in names else f"{own}.{place}")
    sound = [row for _, row in found if not isinstance(row, str)]
    # names of rows, as R writes them, have no column name
    named = 2 * sum(len(row) == len(names) + 1 for row in sound) > len(sound)
    for line, row in found:
        problem = row if isinstance(row, str) else _misfit(len(row), len(names), named=named)
        if problem or isinstance(row, str):
            yield line, problem
        else:
            columns = [INDEX, *names] if named else names
            cells: Cells = dict.fromkeys(columns)
            cells.update((name, cell or None) for name, cell in zip(columns, row, strict=False))
            yield line, cells


def _misfit(fields: int, header: int, *, named: bool) -> str:
    """What is wrong with a record of so many fields; nothing if only the last ones are missing."""
    if named:  # one that is short could lack its name as well as its last cell
        return "" if fields == header + 1 else f"it has {fields} fields, most have {header + 1}"
    return "" if fields <= header else f"it has {fields} fields, the header has {header}"


def _records(path: Path) -> list[tuple[int, list[str] | str]]:
    """The line that each record of a CSV file begins in, and its fields, or what is wrong with it.

    Raises:
        DataError: a quotation mark is never closed.
    """
    found: list[tuple[int, list[str] | str]] = []
    with (
        path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
        _long_fields(),
    ):
        reader = csv.reader(chain(file, [_END]))
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except csv.Error as error:
                found.append((line, f"it is not CSV: {error}"))
                continue
            except StopIteration:
                return found
            if row == [_END]:
                return found
            if any(_END in field for field in row):
                told = f"{path}, line {line}: a quotation mark is opened and never closed"
                raise DataError(told, "what follows cannot be told apart")
            if len(row) > 1 or any(field.strip() for field in row):  # blank lines are no records
                bad = any(not field.isascii() and _escaped(field) for field in row)
                found.append((line, _NO_UTF8 if bad else row))


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let fields of CSV be as long as they like, as elsewhere; the module's limit is global."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _escaped(field: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in field)
