"""CSV and JSON files read one record at a time, where a fast reader gives up.

The library ``datasets`` takes the types of columns from the first block of a file and refuses what
does not fit them later, and it names no row. Here every record is looked at by itself: broken ones
are named with their row and line, or left out, and cells of several types become texts.
"""

from __future__ import annotations

import csv
import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from talos_engine.errors import DataError

__all__ = ["Records", "is_uneven", "read_records"]

INDEX = "__index_level_0__"
"""Column that ``datasets`` makes of CSV files whose first record is longer than the header."""
_SKIP_HINT = "--skip-bad leaves such rows out"
_SCALAR = "scalar"
_NO_RECORD = "it is no record {…}"

_Cells: TypeAlias = dict[str, Any]
_Found: TypeAlias = Iterator[tuple[int, "_Cells | str"]]
"""The line and the cells of each record, or what is wrong with it."""


@dataclass(frozen=True)
class Records:
    """The records of files, in order.

    Args:
        dataset: A ``datasets.Dataset``; a broken record is a row of it without any cell.
        broken: Rows of the broken ones.
    """

    dataset: Any
    broken: frozenset[int]


def read_records(files: Sequence[Path], *, skip_bad: bool) -> Records | None:
    """The records of CSV or JSON files; ``None`` where there is none, or the files have no records.

    Args:
        files: Files of one format.
        skip_bad: Whether broken records are left out instead of refused.

    Raises:
        DataError: a record is broken; its file, row and line are named, both as people count them:
            rows from 0 and without blank lines, lines from 1.
        OSError: a file cannot be read.
    """
    import datasets
    import pyarrow as pa

    rows: list[_Cells | None] = []
    for path in files:
        found = _csv(path) if path.suffix.lower() == ".csv" else _json(path)
        for number, (line, cells) in enumerate(found):
            if isinstance(cells, str):
                if not skip_bad:
                    raise DataError(f"{path}, row {number} (line {line}): {cells}", _SKIP_HINT)
                rows.append(None)
            else:
                rows.append(cells)
    names = dict.fromkeys(name for row in rows if row is not None for name in row)
    if not names:
        return None
    columns = {
        name: _column([None if row is None else row.get(name) for row in rows]) for name in names
    }
    broken = frozenset(number for number, row in enumerate(rows) if row is None)
    return Records(datasets.Dataset(pa.table(columns)), broken)


def is_uneven(dataset: Any) -> bool:
    """Whether ``datasets`` read a file but not as meant: columns without a type, or no UTF-8."""
    import pyarrow as pa

    kinds = {type(feature).__name__ for feature in dataset.features.values()}
    if INDEX in dataset.column_names or "Json" in kinds:
        return True
    try:
        dataset.data.table.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False


def _json(path: Path) -> _Found:
    """The records of a file of JSON lines, or of one JSON list."""
    with path.open("rb") as file:
        begin = len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0
        file.seek(begin)
        if file.read(1) == b"[":
            listed = _whole_list(path, begin)
            if listed is not None:
                for row in listed:
                    yield 1, row if isinstance(row, dict) else _NO_RECORD
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


def _parse(raw: bytes) -> _Cells | str:
    """The cells of a line of JSON, or what is wrong with it."""
    try:
        cells = json.loads(raw)
        if b"\\u" in raw:
            json.dumps(cells, ensure_ascii=False).encode()  # half a pair of surrogates is no text
    except UnicodeError:
        return "it is not UTF-8"
    except json.JSONDecodeError as error:
        return f"it is not JSON: {error.msg}, at column {error.colno}"
    except (ValueError, RecursionError) as error:
        return f"it is not JSON that can be read: {error}"
    return cells if isinstance(cells, dict) else _NO_RECORD


def _csv(path: Path) -> _Found:
    """The records of a CSV file; cells are texts."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        found = list(_fields(reader, path))
    header = found.pop(0)[1] if found else ""
    if isinstance(header, str):
        return
    names: list[str] = []
    for place, name in enumerate(header):
        own = name or f"Unnamed: {place}"
        names.append(own if own not in names else f"{own}.{place}")
    if found and all(not isinstance(row, str) and len(row) == len(names) + 1 for _, row in found):
        names.insert(0, INDEX)  # names of rows, as R writes them, have no column name
    for line, row in found:
        if not isinstance(row, str) and len(row) > len(names):
            row = f"it has {len(row)} fields, the header has {len(names)}"  # noqa: PLW2901
        if isinstance(row, str):
            yield line, row
        else:
            cells: _Cells = dict.fromkeys(names)
            cells.update((name, cell or None) for name, cell in zip(names, row, strict=False))
            yield line, cells


def _fields(reader: Any, path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """The line that each record begins in, and its fields, or what is wrong with it."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "unexpected end" in str(error):
                told = f"{path}, line {line}: a quotation mark is opened and never closed"
                raise DataError(told, "what follows cannot be told apart") from error
            yield line, f"it is not CSV: {error}"
            continue
        if row is None:
            return
        if len(row) > 1 or any(field.strip() for field in row):  # blank lines are no records
            bad = any(not field.isascii() and _escaped(field) for field in row)
            yield line, "it is not UTF-8" if bad else row


def _escaped(field: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in field)


def _column(cells: list[Any]) -> Any:
    """Cells as a column of one type.

    Numbers and texts in one column become texts. Of other mixtures the most common type is kept,
    and the cells of the rest are missing.
    """
    import pyarrow as pa

    try:
        return pa.array(cells)
    except (pa.ArrowException, OverflowError):
        pass
    kinds = [_kind(cell) for cell in cells]
    (common, _), *_ = Counter(kind for kind in kinds if kind).most_common(1) or [("", 0)]
    kept = [cell if kind == common else None for cell, kind in zip(cells, kinds, strict=True)]
    if common == _SCALAR:
        kept = [None if cell is None else str(cell) for cell in kept]
    return pa.array(kept)


def _kind(cell: Any) -> str:
    """What cells that may share a column have in common; empty where one is missing or useless."""
    import pyarrow as pa

    if cell is None:
        return ""
    if isinstance(cell, (str, int, float)):
        return _SCALAR
    try:
        return str(pa.infer_type([cell]))
    except (pa.ArrowException, OverflowError):
        return ""
