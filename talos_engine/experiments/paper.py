"""The numbers that the TaLoS paper prints (arXiv:2504.02620, Tables 1 to 5), to set beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tomli

from talos_engine.errors import RecipeError
from talos_engine.registry import unknown_name

_FILE = Path(__file__).parent / "paper_results.toml"
_ALIASES = {"zero-shot": "pretrained"}
_MODELS = {  # of tables that do not name their models
    "merging_schemes": ("ViT-B-32", "t5-small"),
    "calibration_cost": ("ViT-L-14",),
    "calibration_accuracy": ("ViT-L-14",),
}


class PaperTable:
    """One table of the paper, for one model.

    Args:
        table: Its name in the data file, such as ``task_addition``; empty for none.
        model: The model's name.

    Raises:
        RecipeError: there is no such table, or no such model in it.
    """

    def __init__(self, table: str, model: str) -> None:
        self._rows: dict[str, Any] = {}
        self._position: int | None = None
        if not table:
            return
        rows = _table(table)
        known = _models(table)
        if model not in known:
            error = unknown_name(f"model in {table}", model, known)
            raise RecipeError(error.message, error.hint)
        self._rows = rows.get(model, rows)  # a table per model, or rows of numbers for each
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
        return float(found[place]) if isinstance(found, list) and place < len(found) else None


def beside(given: Mapping[str, Any]) -> tuple[PaperTable, str]:
    """The paper's numbers to set beside a result, and why there are none though it names some.

    Args:
        given: ``table``, ``model`` and, where only numbers of the very model may stand there,
            ``measured``: what was measured, by name, hub id or folder.

    Raises:
        RecipeError: no such table; without ``measured``, no such model in it.
    """
    table, model = str(given.get("table", "")), str(given.get("model", ""))
    if "measured" not in given:
        return PaperTable(table, model), ""
    _table(table)
    measured = str(given["measured"]).rstrip("/").rpartition("/")[2]
    if measured != model:
        told = f"those named are of {model}, and {measured} was measured"
    elif model not in _models(table):
        told = f"it has none of {model}, but of {', '.join(_models(table))}"
    else:
        return PaperTable(table, model), ""
    return PaperTable("", ""), f"the paper's numbers are left out: {told}"


def _table(name: str) -> Any:
    data = _read()
    tables = sorted(key for key in data if key != "models")
    if name not in tables:
        error = unknown_name("table of the paper", name, tables)
        raise RecipeError(error.message, error.hint)
    return data[name]


def _models(table: str) -> list[str]:
    """Models that a table has numbers of, in its order."""
    data = _read()
    own = [name for name in data[table] if name in data["models"]]
    return own or list(_MODELS.get(table, data["models"]))


@cache
def _read() -> dict[str, Any]:
    return tomli.loads(_FILE.read_text("utf-8"))
