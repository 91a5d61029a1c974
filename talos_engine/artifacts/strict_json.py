"""JSON that is read with suspicion and written the same way every time.

Reading refuses what Python's ``json`` lets through (duplicate keys, NaN, Infinity, endless digits,
bottomless nesting); writing refuses what is not plain JSON and sorts every key. Which fields a
document must have is decided by the modules that use it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeAlias

from talos_engine.artifacts.files import StrPath, atomic_write, open_regular
from talos_engine.errors import CorruptFileError, OutputError

JSON: TypeAlias = Any  # None, bool, int, float, str, list[JSON] or dict[str, JSON]

MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 64
MAX_DIGITS = 40


def plain_json(value: object, where: str = "value") -> JSON:
    """Deep copy of ``value`` made of plain JSON types only; tuples become lists.

    Args:
        value: What is to be stored.
        where: Name of the value, the start of the path in messages.

    Returns:
        Fresh dicts, lists, strings, finite floats, ints, bools and None.

    Raises:
        ValueError: something in it cannot be told exactly in JSON; the message says where.
    """
    return _plain(value, where, 0)


def _plain(value: object, where: str, depth: int) -> JSON:
    if depth > MAX_DEPTH:
        raise ValueError(f"{where} is nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which JSON cannot hold")
        return float(value)
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"{where} is not valid Unicode text") from error
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r}, which is not a string")
            _plain(key, f"a key of {where}", depth + 1)
        return {str(key): _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    raise ValueError(f"{where} is a {type(value).__name__}, which JSON cannot hold")


def compact_json(value: JSON) -> str:
    """One-line text of ``value`` with sorted keys: equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def parse_json(data: bytes, path: StrPath, what: str) -> JSON:
    """Value of the JSON text ``data``.

    Args:
        data: UTF-8 text from an untrusted file.
        path: That file, for messages.
        what: Which part of the file it is, for messages (``"the header"``).

    Raises:
        CorruptFileError: not JSON, or JSON with duplicate keys, non-finite or endless numbers,
            or nesting too deep to follow.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_short_int,
        )
    except RecursionError as error:
        raise CorruptFileError(f"{path}: {what} is nested too deeply") from error
    except ValueError as error:  # also JSONDecodeError and UnicodeDecodeError
        raise CorruptFileError(f"{path}: {what} is not valid JSON: {error}") from error


def _unique_keys(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"duplicate key {twice[:80]!r}")
    return result


def _refuse_constant(text: str) -> JSON:
    raise ValueError(f"{text} is not a JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


def _short_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def write_json(path: StrPath, obj: object, *, force: bool) -> None:
    """Write ``obj`` as JSON: sorted keys, indented by 2, newline at the end.

    Args:
        path: Target file.
        obj: Plain JSON value; tuples are written as lists.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: ``obj`` holds NaN, Inf or something that is not JSON, or the file cannot be
            written.
    """
    try:
        plain = plain_json(obj)
    except ValueError as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    text = json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_bytes(text.encode("utf-8"))

    atomic_write(path, write, force=force)


def read_json(path: StrPath) -> JSON:
    """Value stored in a JSON file of at most ``MAX_JSON_BYTES``.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is too large, not a regular file or not strict JSON.
    """
    file, size = open_regular(path)
    with file:
        if size > MAX_JSON_BYTES:
            raise CorruptFileError(
                f"{path}: {size} bytes of JSON, at most {MAX_JSON_BYTES} are accepted"
            )
        data = file.read(MAX_JSON_BYTES)
    return parse_json(data, path, "the file")
