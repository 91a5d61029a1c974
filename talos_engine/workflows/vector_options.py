"""Options of merging methods that may differ between vectors: counted, ordered, recorded.

On the command line such an option is given once, or once per vector in the vectors' order, as
``--coef`` is. Vectors are merged in another order, so the values move with them, and a file records
them with the vector that they belong to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from talos_engine.errors import OptionError
from talos_engine.merging.spec import MergeEntry


def configure(method: MergeEntry, options: Mapping[str, Any], count: int, hint: str = "") -> Any:
    """The configuration of a method; values that are given per vector are tuples, in their order.

    Values that are all equal are one value for all.

    Args:
        method: The method.
        options: What was given, by name: single values, or lists of them.
        count: How many vectors there are.
        hint: What a message about a wrong number of values adds.

    Raises:
        OptionError: an option that the method does not have, a value outside its range, or neither
            one value nor one per vector, or more vectors needed than there are.
    """
    given = {name: _counted(method, name, value, count, hint) for name, value in options.items()}
    config = method.configure(given)
    method.check_count(config, count)
    return config


def _counted(method: MergeEntry, name: str, value: Any, count: int, hint: str) -> Any:
    if not isinstance(value, (list, tuple)):
        return value
    if len(set(value)) == 1 and len(value) in (1, count):
        return value[0]
    flag = f"--{name.replace('_', '-')}"
    if name in {field.name for field in dataclasses.fields(method.config)}:
        if name not in _per_vector(method.config):
            raise OptionError(f"{flag} holds for all vectors: give it once, not {len(value)} times")
        if len(value) != count:
            raise OptionError(
                f"{flag} must be given once, or once per vector ({count}); got {len(value)} values",
                hint,
            )
    return tuple(value)


def _per_vector(config: Any) -> list[str]:
    """Names of the fields of a configuration that may hold a value per vector."""
    return [it.name for it in dataclasses.fields(config) if it.metadata.get("per_vector", False)]


def _apart(config: Any) -> dict[str, tuple[Any, ...]]:
    """The values of the options that differ between vectors, by name."""
    values = {name: getattr(config, name) for name in _per_vector(config)}
    return {name: value for name, value in values.items() if isinstance(value, tuple)}


def arrange(config: Any, order: Sequence[int]) -> Any:
    """The configuration for vectors in another order.

    Args:
        config: For vectors in the order given.
        order: Position among the vectors given of each vector in its new place.
    """
    moved = {name: tuple(value[it] for it in order) for name, value in _apart(config).items()}
    return dataclasses.replace(config, **moved) if moved else config


def shared_options(config: Any) -> dict[str, Any]:
    """The options that hold for all vectors, by name."""
    apart = _apart(config)
    return {name: value for name, value in asdict(config).items() if name not in apart}


def own_options(config: Any, position: int) -> dict[str, Any]:
    """The options that hold for the vector at a position alone, by name."""
    return {name: value[position] for name, value in _apart(config).items()}


def marks(config: Any, coefs: Sequence[float], count: int) -> list[tuple[float, ...]]:
    """What tells vectors of equal content apart: their coefficients and options.

    Args:
        config: The configuration, for vectors in the order given.
        coefs: One coefficient for each vector, or none.
        count: How many vectors there are.
    """
    return [
        (coefs[position] if coefs else 0.0, *own_options(config, position).values())
        for position in range(count)
    ]
