"""The numbers that the TaLoS paper prints (arXiv:2504.02620, Tables 1 to 5), to set beside ours."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import tomli

from talos_engine.errors import RecipeError
from talos_engine.registry import unknown_name

_FILE = Path(__file__).parent / "paper_results.toml"
_ALIASES = {"zero-shot": "pretrained"}


class PaperTable:
    """One table of the paper, for one model.

    Args:
        table: Its name in the data file, such as ``task_addition``; empty for none.
        model: The model's name; ignored where the table is of one model only.

    Raises:
        RecipeError: there is no such table, or no such model in it.
    """

    def __init__(self, table: str, model: str) -> None:
        self._rows: dict[str, Any] = {}
        self._position: int | None = None
        if not table:
            return
        data = _read()
        tables = sorted(name for name in data if name != "models")
        if table not in tables:
            error = unknown_name("table of the paper", table, tables)
            raise RecipeError(error.message, error.hint)
        rows = data[table]
        models = [name for name in rows if name in data["models"]]
        if models:  # a table per model
            if model not in models:
                error = unknown_name(f"model in {table}", model, models)
                raise RecipeError(error.message, error.hint)
            self._rows = rows[model]
            return
        self._rows = rows
        if all(isinstance(row, dict) for row in rows.values()):
            known = ["ViT-B-32", "t5-small"] if table == "merging_schemes" else data["models"]
            if model not in known:
                error = unknown_name(f"model in {table}", model, known)
                raise RecipeError(error.message, error.hint)
            self._position = known.index(model)

    def share(self, row: str, column: str) -> float | None:
        """An accuracy as a share, where the paper has it."""
        found = self._rows.get(_ALIASES.get(row, row))
        if not isinstance(found, dict) or column not in found or self._position is None:
            return None
        return float(found[column][self._position]) / 100

    def number(self, row: str, place: int) -> float | None:
        """A cost, where the paper has it: the number at a place of a row."""
        found = self._rows.get(_ALIASES.get(row, row))
        return float(found[place]) if isinstance(found, list) else None


@cache
def _read() -> dict[str, Any]:
    return tomli.loads(_FILE.read_text("utf-8"))
