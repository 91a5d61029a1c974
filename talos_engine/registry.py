"""One small generic registry: a package in which each module is one named thing.

The name of a thing is the name of its file (``-`` written as ``_``), so listing the names reads a
directory and imports nothing; looking one up imports that one file. Modules whose name starts with
``_`` are not entries.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from talos_engine.errors import UnknownNameError

T = TypeVar("T")


def list_names(package: str) -> tuple[str, ...]:
    """Names of the entries of a package in alphabetical order; none of them is imported.

    Args:
        package: Dotted name of the package whose modules are the entries.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ValueError(f"{package} is not a package")
    found = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
    return tuple(sorted(name.replace("_", "-") for name in found if not name.startswith("_")))


def unknown_name(kind: str, name: str, known: Sequence[str]) -> UnknownNameError:
    """The error that says what there is, with the closest name as a guess.

    Args:
        kind: What was looked for, in the singular.
        name: The name that was asked for.
        known: The names there are.
    """
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return UnknownNameError(
        f"there is no {kind} named {name!r}", f"{guess}known: {', '.join(known)}"
    )


class Registry(Generic[T]):
    """Named things of one kind, each in one module of a package.

    Args:
        kind: What the things are, in the singular, for messages (``"mask rule"``).
        package: Dotted name of the package whose modules are the entries.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that stores the decorated thing under ``name``.

        Raises:
            ValueError: ``name`` is taken.
        """

        def store(thing: T) -> T:
            if name in self._entries:
                raise ValueError(f"duplicate {self.kind} {name!r}")
            self._entries[name] = thing
            return thing

        return store

    def names(self) -> tuple[str, ...]:
        """All names in alphabetical order, found without importing any entry."""
        return list_names(self.package)

    def __contains__(self, name: object) -> bool:
        """Whether something is called ``name``; nothing is imported."""
        return name in self._entries or name in self.names()

    def get(self, name: str) -> T:
        """The thing called ``name``; its module is imported on first use.

        Raises:
            UnknownNameError: there is none; the message lists the alternatives.
        """
        if name not in self._entries:
            known = self.names()
            if name not in known:
                raise unknown_name(self.kind, name, known)
            importlib.import_module(f"{self.package}.{name.replace('-', '_')}")
            if name not in self._entries:
                raise ValueError(f"{self.package}.{name} does not register {self.kind} {name!r}")
        return self._entries[name]
