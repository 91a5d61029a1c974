"""Masks as sets of live entries: union, intersection, difference. No paper describes these.

A mask is given as bool tensors by parameter name; a parameter that is not named has no live entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from torch import Tensor

Flags: TypeAlias = Mapping[str, Tensor]


def unite(first: Flags, second: Flags) -> dict[str, Tensor]:
    """Entries that are live in either mask."""
    both = first.keys() & second.keys()
    alone = {**first, **second}
    return {name: first[name] | second[name] if name in both else alone[name] for name in alone}


def intersect(first: Flags, second: Flags) -> dict[str, Tensor]:
    """Entries that are live in both masks."""
    found = {name: first[name] & second[name] for name in first if name in second}
    return _without_empty(found)


def subtract(first: Flags, second: Flags) -> dict[str, Tensor]:
    """Entries that are live in the first mask and not in the second."""
    found = {
        name: flags & ~second[name] if name in second else flags for name, flags in first.items()
    }
    return _without_empty(found)


def _without_empty(flags: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in flags.items() if bool(tensor.any())}


# By the name that headers record. Several masks are taken one after the other, from the left.
OPERATIONS: Mapping[str, Callable[[Flags, Flags], dict[str, Tensor]]] = MappingProxyType(
    {"union": unite, "intersect": intersect, "subtract": subtract}
)
