"""CSV and JSON files read one record at a time, where a fast reader gives up.

The library ``datasets`` takes the types of columns from the first block of a file and refuses what
does not fit them later, and it names no row. Here every record is looked at by itself: broken ones
are named with their row and line, or left out, and cells of several types become texts; which were
numbers is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talos_engine.data.mixed import as_typed
from talos_engine.data.record_files import INDEX, Cells, read_csv, read_json
from talos_engine.errors import DataError

_SKIP_HINT = "--skip-bad leaves such rows out"
_SCALAR = "scalar"


@dataclass(frozen=True)
class Records:
    """The records of files, in order.

    Args:
        dataset: A ``datasets.Dataset``; a broken record is a row of it without any cell.
        broken: Rows of the broken ones.
        numbers: Cells that are numbers, or true or false, in a column that has texts too, by column
            and row; the dataset has texts there.
    """

    dataset: Any
    broken: frozenset[int] = frozenset()
    numbers: Mapping[str, Mapping[int, Any]] = field(default_factory=dict)


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

    rows: list[Cells | None] = []
    for path in files:
        found = read_csv(path) if path.suffix.lower() == ".csv" else read_json(path)
        for number, (line, cells) in enumerate(found):
            if isinstance(cells, str):
                if not skip_bad:
                    place = f"row {number} (line {line})" if line else f"row {number}"
                    raise DataError(f"{path}, {place}: {cells}", _SKIP_HINT)
                rows.append(None)
            else:
                rows.append(cells)
    names = dict.fromkeys(name for row in rows if row is not None for name in row)
    if not names:
        return None
    untyped = files[0].suffix.lower() == ".csv"
    columns, numbers = {}, {}
    for name in names:
        column = [None if row is None else row.get(name) for row in rows]
        columns[name], numbers[name] = _column(as_typed(column) if untyped else column)
    broken = frozenset(number for number, row in enumerate(rows) if row is None)
    return Records(datasets.Dataset(pa.table(columns)), broken, numbers)


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


def _column(cells: list[Any]) -> tuple[Any, dict[int, Any]]:
    """Cells as a column of one type, and those that became texts, by row.

    Numbers and texts in one column become texts. Of other mixtures the most common type is kept,
    and the cells of the rest are missing.
    """
    import pyarrow as pa

    try:
        return pa.array(cells), {}
    except (pa.ArrowException, OverflowError):
        pass
    kinds = [_kind(cell) for cell in cells]
    (common, _), *_ = Counter(kind for kind in kinds if kind).most_common(1) or [("", 0)]
    kept = [cell if kind == common else None for cell, kind in zip(cells, kinds, strict=True)]
    if common != _SCALAR:
        return pa.array(kept), {}
    others = {row: cell for row, cell in enumerate(kept) if isinstance(cell, (int, float))}
    return pa.array([None if cell is None else str(cell) for cell in kept]), others


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
