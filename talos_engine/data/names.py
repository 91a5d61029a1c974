"""Names of the tasks there are, found by reading folders: nothing of them is imported or parsed."""

from __future__ import annotations

from pathlib import Path

from talos_engine.registry import list_names

CATALOG = Path(__file__).parent / "catalog"


def catalog_names() -> tuple[str, ...]:
    """Names of the tasks whose data must be fetched or given, in alphabetical order."""
    return tuple(sorted(path.stem for path in CATALOG.glob("*.toml")))


def task_names() -> tuple[str, ...]:
    """Names of all tasks that ship with the package, in alphabetical order."""
    return tuple(sorted({*list_names("talos_engine.data.embedded"), *catalog_names()}))
