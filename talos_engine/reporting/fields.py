"""Fields of a JSON object from an untrusted file.

Each has the type that was asked for, or an error names the file and the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from talos_engine.artifacts import JSON
from talos_engine.artifacts.strict_json import read_json
from talos_engine.errors import CorruptFileError, WrongKindError

T = TypeVar("T")

MOST_ITEMS = 20_000  # of one list; a page with more would help nobody
MOST_TEXT = 20_000
_LARGEST = 1e300  # sums and differences of such numbers are still finite


def clean_text(text: str, *, lines: bool = False) -> str:
    """Text without characters that steer: control characters, direction marks, lone surrogates.

    Args:
        text: From anywhere.
        lines: Whether line ends and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        each if each.isprintable() or each in kept else "\N{REPLACEMENT CHARACTER}" for each in text
    )


class Fields:
    """An object of a JSON file.

    Args:
        path: The file, for messages.
        content: The object.
        where: Which object of the file; empty for the whole.

    Raises:
        CorruptFileError: ``content`` is no object.
    """

    def __init__(self, path: Path, content: JSON, where: str = "") -> None:
        self.path = path
        self.where = where
        if not isinstance(content, dict):
            raise CorruptFileError(f"{path}: {where or 'the file'} is no JSON object")
        self._content: dict[str, Any] = content

    def __contains__(self, key: str) -> bool:
        return self._content.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def fail(self, key: str, wanted: str) -> NoReturn:
        """Raise: the field is not what it should be."""
        place = f"{self.where}.{key}" if self.where else key
        what = "is missing" if key not in self._content else f"is not {wanted}"
        raise CorruptFileError(f"{self.path}: {clean_text(place[:200])!r} {what}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text, cleaned; with a default it may be missing or null."""
        value = self._content.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or len(value) > MOST_TEXT:
            self.fail(key, f"a text of at most {MOST_TEXT} characters")
        return clean_text(value)

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.number_or_none(key)
        if value is None:
            self.fail(key, "a number")
        return value

    def number_or_none(self, key: str) -> float | None:
        """A finite number, or ``None`` where it is missing or null."""
        value = self._content.get(key)
        return None if value is None else self._number(key, value)

    def count(self, key: str) -> int:
        """A whole number >= 0."""
        value = self._content.get(key)
        if type(value) is not int or not 0 <= value < 2**63:
            self.fail(key, "a whole number")
        return value

    def count_or_none(self, key: str) -> int | None:
        """A whole number >= 0, or ``None`` where it is missing or null."""
        return self.count(key) if key in self else None

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._content.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, "true or false")
        return value

    def choice(self, key: str, known: Sequence[str]) -> str | None:
        """One of ``known``, or ``None`` where it is missing or null."""
        value = self._content.get(key)
        if value is not None and value not in known:
            self.fail(key, f"one of {', '.join(known)}")
        return None if value is None else str(value)

    def inner(self, key: str) -> Fields:
        """An object."""
        if not isinstance(self._content.get(key), dict):
            self.fail(key, "an object")
        return Fields(self.path, self._content[key], f"{self.where}.{key}" if self.where else key)

    def inner_or_none(self, key: str) -> Fields | None:
        """An object, or ``None`` where it is missing or null."""
        return self.inner(key) if key in self else None

    def objects(self, key: str) -> list[Fields]:
        """A list of objects; missing is empty."""
        return [
            Fields(self.path, item, f"{self.where}.{key}[{i}]" if self.where else f"{key}[{i}]")
            for i, item in enumerate(self._list(key))
        ]

    def texts(self, key: str) -> list[str]:
        """A list of texts, cleaned; missing is empty."""
        items = self._list(key)
        if not all(isinstance(item, str) and len(item) <= MOST_TEXT for item in items):
            self.fail(key, "a list of texts")
        return [clean_text(item) for item in items]

    def numbers(self, key: str) -> list[float]:
        """A list of finite numbers; missing is empty."""
        return [self._number(key, item) for item in self._list(key)]

    def gaps(self, key: str) -> list[float | None]:
        """A list of finite numbers and nulls; missing is empty."""
        return [None if item is None else self._number(key, item) for item in self._list(key)]

    def matrix(self, key: str, height: int, width: int) -> list[list[float | None]]:
        """Rows of numbers and nulls, of a given size."""
        rows = self._list(key)
        if len(rows) != height or any(not isinstance(r, list) or len(r) != width for r in rows):
            self.fail(key, f"a matrix of {height} rows and {width} columns")
        if height * width > MOST_ITEMS:
            self.fail(key, f"a matrix of at most {MOST_ITEMS} cells")
        return [[None if v is None else self._number(key, v) for v in row] for row in rows]

    def table(self, key: str, value: Callable[[Fields, str], T]) -> dict[str, T]:
        """An object whose fields are all of one type; missing is empty.

        Args:
            key: The field.
            value: Reads one of them, such as ``Fields.number``.
        """
        inner = self.inner_or_none(key)
        return {} if inner is None else {clean_text(name): value(inner, name) for name in inner}

    def is_text(self, key: str) -> bool:
        """Whether the field is a text that is not empty."""
        value = self._content.get(key)
        return isinstance(value, str) and bool(value)

    def shown(self) -> list[tuple[str, str]]:
        """All fields as text, in the order of their names."""
        return [(clean_text(name), show(self._content[name])) for name in sorted(self._content)]

    def _list(self, key: str) -> list[Any]:
        value = self._content.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > MOST_ITEMS:
            self.fail(key, f"a list of at most {MOST_ITEMS}")
        return value

    def _number(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(key, "a number")
        if not abs(value) <= _LARGEST:
            self.fail(key, "a number of a size that can be drawn")
        return float(value)


def read_fields(path: Path, schema: int) -> Fields:
    """The object in a JSON file of a schema that this version knows.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: not strict JSON, no object, or without a schema.
        WrongKindError: a newer schema.
    """
    fields = Fields(path, read_json(path))
    found = fields.count("schema")
    if found > schema:
        raise WrongKindError(
            f"{path} has schema {found}, this version of talos reads up to {schema}",
            "upgrade talos",
        )
    return fields


def show(value: JSON) -> str:
    """A JSON value as text for people."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(show(item) for item in value)[:MOST_TEXT]
    if isinstance(value, dict):
        return ", ".join(f"{clean_text(k)} = {show(v)}" for k, v in sorted(value.items()))[
            :MOST_TEXT
        ]
    return clean_text(str(value)[:MOST_TEXT])
