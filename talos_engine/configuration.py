"""Method options as frozen dataclasses: built from what was given, refused when misplaced.

A method declares its options as the fields of a frozen dataclass whose ``__post_init__`` checks
their ranges. Options reach it as a dictionary; one that the method does not have is an error.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from talos_engine.errors import OptionError

R = TypeVar("R", bound=Callable[..., Any])
N = TypeVar("N", int, float)

OneOrEach: TypeAlias = "N | tuple[N, ...]"
"""One value for all vectors, or one for each of them."""

PER_VECTOR: Mapping[str, Any] = {"per_vector": True}
"""Metadata of a field of a config dataclass that may hold one value, or one for each vector."""


@dataclass(frozen=True)
class Method(Generic[R]):
    """A named method: what it is, its options and what it runs.

    Args:
        name: Name on the command line.
        paper: Where it was published.
        config: Frozen dataclass of its options; every field has a default.
        run: The function; its first argument is an instance of ``config``.
    """

    name: str
    paper: str
    config: type[Any]
    run: R

    def configure(self, given: Mapping[str, Any]) -> Any:
        """An instance of ``config`` from the options that are not ``None``.

        Raises:
            OptionError: an option that this method does not have, or a value outside its range.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        known = {field.name for field in dataclasses.fields(self.config)}
        for name in sorted(chosen):
            if name not in known:
                flags = ", ".join(f"--{field.replace('_', '-')}" for field in sorted(known))
                raise OptionError(
                    f"--{name.replace('_', '-')} is not an option of method {self.name!r}",
                    f"its options: {flags}" if flags else "it has none",
                )
        return self.config(**chosen)


def check_fraction(name: str, value: float, *, below_one: bool = False) -> None:
    """Raise unless ``value`` lies in [0, 1], or in [0, 1) with ``below_one``.

    Raises:
        OptionError: it does not.
    """
    if not (0.0 <= value <= 1.0) or (below_one and value == 1.0):
        closing = ")" if below_one else "]"
        raise OptionError(f"--{name} must lie in [0, 1{closing}, not {value}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise unless ``value`` is a finite number of at least ``least``.

    Raises:
        OptionError: it is not.
    """
    if not (least <= value < float("inf")):
        raise OptionError(f"--{name} must be at least {least:g}, not {value}")


def check_positive(name: str, value: float) -> None:
    """Raise unless ``value`` is a finite number above 0.

    Raises:
        OptionError: it is not.
    """
    if not (0.0 < value < float("inf")):
        raise OptionError(f"--{name} must be above 0, not {value}")


def parse_size(name: str, text: str) -> int:
    """Bytes that a text such as ``500MB``, ``2GB``, ``1.5GiB`` or ``1000000`` stands for.

    Raises:
        OptionError: it is none of these, or less than a byte.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    size = 0
    if found is not None and (found[2] or not found[3]):
        step = 1024 if found[3] else 1000
        size = int(float(found[1]) * step ** " kmgt".index(found[2].lower() or " "))
    if size < 1:
        raise OptionError(
            f"--{name} must be a size above 0, not {text!r}",
            "write 500MB, 2GB or a number of bytes",
        )
    return size


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise unless ``value`` is one of ``choices``.

    Raises:
        OptionError: it is not.
    """
    if value not in choices:
        raise OptionError(f"--{name} must be one of {', '.join(choices)}, not {value!r}")


def recorded_options(config: Any) -> dict[str, Any]:
    """The fields of a config dataclass that change tensors, for an artifact's header.

    Fields whose metadata say ``recorded: False`` change none.
    """
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.metadata.get("recorded", True)
    }


def values_of(value: OneOrEach[N]) -> tuple[N, ...]:
    """All values of a ``PER_VECTOR`` field."""
    return value if isinstance(value, tuple) else (value,)


def value_at(value: OneOrEach[N], position: int) -> N:
    """The value of a ``PER_VECTOR`` field for the vector at a position."""
    return value[position] if isinstance(value, tuple) else value
