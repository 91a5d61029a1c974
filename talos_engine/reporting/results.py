"""Results that a recipe declares, ``results/NAME.json``, as blocks of a report."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from talos_engine.artifacts.files import open_regular
from talos_engine.errors import CorruptFileError
from talos_engine.reporting.document import HIGHER, LOWER, Block, Cell, Column, Row, Table
from talos_engine.reporting.fields import Fields, read_fields
from talos_engine.reporting.figures import Axis, Bars, Curve, Heatmap, Mark, Picture, Series
from talos_engine.reporting.radars import radar_of

SCHEMA = 1
_MOST_PNG = 8 * 1024 * 1024
_MOST_PIXELS = 40_000_000
_SHARES = ("%", "share", "ratio")


def read_result(path: Path, folder: Path, model: str) -> Block:
    """The table or figure in a results file.

    Args:
        path: The file.
        folder: The run folder, to which paths are relative and which they may not leave.
        model: The model that was measured, where the file does not say.

    Raises:
        ArtifactError: the file, or a picture that it names, cannot be read or is malformed.
    """
    fields = read_fields(path, SCHEMA)
    kind = fields.choice("kind", tuple(_READ))
    if kind is None:
        fields.fail("kind", f"one of {', '.join(_READ)}")
    return _READ[kind](fields, folder, model)


def read_beside(path: Path, table: Block) -> list[Block]:
    """Figures that a results file wants beside its table.

    Args:
        path: The file.
        table: What ``read_result`` gave of it.
    """
    fields = read_fields(path, SCHEMA)
    keys = fields.texts("radar")
    if not keys or not isinstance(table, Table):
        return []
    if not set(keys) <= {column.key for column in table.columns}:
        fields.fail("radar", "a list of columns")
    radar = radar_of(table, keys)
    return [] if radar is None else [radar]


def _read_table(fields: Fields, _: Path, model: str) -> Table:
    columns = [
        Column(
            column.text("key"),
            column.text("label"),
            _unit(column),
            column.choice("better", (HIGHER, LOWER)),
        )
        for column in fields.objects("columns")
    ]
    keys = [column.key for column in columns]
    if len(set(keys)) < len(keys):
        fields.fail("columns", "a list of columns with different keys")
    rows = []
    for row in fields.objects("rows"):
        cells = row.inner("cells")
        found = {key: _cell(cells.inner(key)) for key in keys if key in cells}
        rows.append(Row(row.text("label"), found, row.flag("reference", False)))
    paper = fields.inner_or_none("paper")
    return Table(
        fields.text("title"),
        columns,
        rows,
        fields.text("caption", ""),
        fields.text("model", model),
        paper.text("model", "") if paper is not None else "",
        fields.texts("notes"),
    )


def _cell(fields: Fields) -> Cell:
    return Cell(
        fields.number_or_none("mean"),
        fields.number_or_none("std"),
        fields.count_or_none("n"),
        fields.number_or_none("low"),
        fields.number_or_none("high"),
        fields.number_or_none("paper"),
        fields.text("note", ""),
        fields.flag("ranked", True),
    )


def _unit(fields: Fields) -> str:
    unit = fields.text("unit", "")
    return "%" if unit in _SHARES else unit


def _head(fields: Fields) -> tuple[str, str, str, list[str]]:
    title = fields.text("title")
    return title, fields.text("caption", ""), fields.text("alt", title), fields.texts("notes")


def _axis(fields: Fields, key: str) -> Axis:
    axis = fields.inner_or_none(key)
    if axis is None:
        return Axis()
    knee = axis.number_or_none("knee")
    if knee is not None and knee <= 0:
        axis.fail("knee", "a number above 0")
    return Axis(axis.text("label", ""), _unit(axis), knee)


def _read_curve(fields: Fields, _: Path, __: str) -> Curve:
    series = []
    for line in fields.objects("series"):
        x = line.numbers("x")
        columns = {key: line.gaps(key) for key in ("y", "low", "high")}
        for key, values in columns.items():
            if len(values) != len(x) and (key == "y" or values):
                line.fail(key, f"a list of {len(x)} numbers, as x is")
        mark = line.inner_or_none("mark")
        marks = [*([] if mark is None else [mark]), *line.objects("marks")]
        series.append(
            Series(
                line.text("label"),
                x,
                columns["y"],
                columns["low"],
                columns["high"],
                [Mark(it.number("x"), it.number("y"), it.text("label", "")) for it in marks],
            )
        )
    if not any(line.x for line in series):
        fields.fail("series", "a list with at least one point")
    points = fields.choice("style", ("line", "points")) == "points"
    diagonal = fields.flag("diagonal", False)
    return Curve(*_head(fields), _axis(fields, "x"), _axis(fields, "y"), series, points, diagonal)


def _read_heatmap(fields: Fields, _: Path, __: str) -> Heatmap:
    rows, columns = fields.texts("rows"), fields.texts("columns")
    if not rows or not columns:
        fields.fail("rows", "a list of at least one heading, as columns must be")
    values = fields.matrix("values", len(rows), len(columns))
    span, box = _pair(fields, "range"), _pair(fields, "box")
    x, y = _axis(fields, "x"), _axis(fields, "y")
    return Heatmap(*_head(fields), rows, columns, values, _unit(fields), span, x, y, box)


def _pair(fields: Fields, key: str) -> tuple[float, float] | None:
    if key not in fields:
        return None
    numbers = fields.numbers(key)
    if len(numbers) != 2 or not numbers[0] < numbers[1]:
        fields.fail(key, "a lower and an upper end")
    return numbers[0], numbers[1]


def _read_bars(fields: Fields, _: Path, __: str) -> Bars:
    labels = fields.texts("labels")
    series = {}
    for line in fields.objects("series"):
        values = line.gaps("values")
        if len(values) != len(labels):
            line.fail("values", f"a list of {len(labels)} numbers, one per label")
        series[line.text("label")] = values
    if not labels or not series:
        fields.fail("series", "a list of at least one, with labels")
    stacked = fields.flag("stacked", False)
    return Bars(*_head(fields), labels, series, _unit(fields), stacked)


def _read_picture(fields: Fields, folder: Path, _: str) -> Picture:
    name = PurePosixPath(fields.text("file"))
    path = folder / name
    inside = path.resolve().is_relative_to(folder.resolve())
    if name.is_absolute() or not inside:
        fields.fail("file", "a path inside the folder")
    png, width, height = read_png(path)
    return Picture(*_head(fields), png, width, height)


def read_png(path: Path) -> tuple[bytes, int, int]:
    """Bytes, width and height of a PNG file that is whole.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is no PNG, damaged or too large.
    """
    from PIL import Image

    file, size = open_regular(path)
    with file:
        if size > _MOST_PNG:
            raise CorruptFileError(f"{path}: {size} bytes of PNG, at most {_MOST_PNG} are accepted")
        data = file.read(_MOST_PNG)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pictures that expand to gigabytes only warn
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                width, height = image.size
                if width * height > _MOST_PIXELS:
                    raise CorruptFileError(f"{path}: a picture of {width} x {height} pixels")
                image.verify()
    except CorruptFileError:
        raise
    except Exception as error:  # PIL raises many kinds for damaged files
        raise CorruptFileError(f"{path} is no whole PNG picture: {error}") from None
    return data, width, height


_READ: Mapping[str, Callable[[Fields, Path, str], Block]] = {
    "table": _read_table,
    "curve": _read_curve,
    "heatmap": _read_heatmap,
    "bars": _read_bars,
    "figure": _read_picture,
}
