"""The folder of ``talos run``: its results, and how each of its steps ended."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talos_engine.artifacts.files import open_regular
from talos_engine.errors import ArtifactError, CorruptFileError
from talos_engine.reporting.document import Block, Document, Listing, Log, Remark, Section, Table
from talos_engine.reporting.fields import clean_text
from talos_engine.reporting.origins import Origin, Origins, told_of
from talos_engine.reporting.provenance import provenance
from talos_engine.reporting.results import read_beside, read_result
from talos_engine.reporting.runs import (
    DONE,
    FAILED,
    PENDING,
    RecordedRun,
    RunStep,
    counted,
    read_recorded,
)

RUN_FILE = "run.json"
_MOST_LOGS = 12
_LOG_BYTES = 8_000
_LOG_LINES = 25


def read_run(folder: Path) -> Document:
    """The report of a folder that has a ``run.json``.

    Args:
        folder: The folder.

    Raises:
        ArtifactError: a file of it is missing or malformed.
    """
    newest = read_recorded(folder / RUN_FILE)
    origins = Origins(folder, newest)
    found = _in_order([_result(path, folder, origins) for path in _result_files(folder)])
    made = {each.origin.hash: each.origin for each in found if each.origin is not None}
    unknown = any(each.origin is None for each in found)
    title, description = _headings(folder, newest, list(made.values()), unknown)
    models = {each.model for each in made.values()} if made else {newest.model}
    recipes = [each.recipe for each in made.values()] or [newest.name]
    facts = [
        ("model", ", ".join(sorted(filter(None, models))) or "–"),
        ("steps" if len(made) < 2 and not unknown else f"steps of {newest.name}",
         counted(newest.steps)),
        ("recipe" if len(recipes) == 1 else "recipes", ", ".join(filter(None, recipes)) or "–"),
        ("talos", ", ".join(sorted({each.engine for each in made.values()} or {newest.engine}))
         or "–"),
    ]  # fmt: skip
    sections = []
    state = _state_block(newest)
    if state is not None:
        sections.append(Section("state", "Not finished", [state, *_trouble(folder, newest.steps)]))
    sections += [
        Section(
            f"result-{number}",
            _title(each.block, each.name),
            [each.block, *each.beside, *told_of(each.origin, newest)],
        )
        for number, each in enumerate(found, start=1)
    ] or [Section("results", "Results", [Remark("The folder holds no results yet.", urgent=True)])]
    others = [each.run for each in made.values() if each.hash != newest.hash]
    sections.append(Section("provenance", "How it was made", provenance([newest, *others])))
    return Document(title, description, facts, sections)


@dataclass(frozen=True)
class _Result:
    name: str
    block: Block
    beside: Sequence[Block]
    origin: Origin | None


def _result_files(folder: Path) -> list[Path]:
    found = folder / "results"
    if not found.is_dir():
        return []
    return sorted(path for path in found.glob("*.json") if not path.name.startswith("."))


def _result(path: Path, folder: Path, origins: Origins) -> _Result:
    origin = origins.of(path)
    block = read_result(path, folder, "" if origin is None else origin.model)
    return _Result(path.stem, block, read_beside(path, block), origin)


def _in_order(found: Sequence[_Result]) -> list[_Result]:
    """As their recipes list them, recipes with tables before others; at the end, tables first."""
    tables = {each.origin.hash for each in found if each.origin and isinstance(each.block, Table)}

    def place(each: _Result) -> tuple[Any, ...]:
        origin, table = each.origin, isinstance(each.block, Table)
        if origin is None:
            return (True, not table)
        listed = origin.run.results
        at = listed.index(each.name) if each.name in listed else len(listed)
        return (False, origin.hash not in tables, origin.recipe, origin.hash, at, not table)

    return sorted(found, key=place)


def _headings(
    folder: Path, newest: RecordedRun, made: Sequence[Origin], unknown: bool
) -> tuple[str, str]:
    """Title and description of the page: of the one recipe that made all, or of several."""
    name = folder.resolve().name
    if unknown:
        return f"Results in {name}", "Not all of them say which recipe made them."
    if not made or {each.hash for each in made} == {newest.hash}:
        return newest.title or newest.name or name, newest.description
    if len(made) == 1:
        return made[0].title or made[0].recipe, made[0].run.description
    models = {each.model for each in made}
    on = f" on {models.pop()}" if len(models) == 1 and "" not in models else ""
    told = "; ".join(dict.fromkeys(each.title or each.recipe for each in made))
    return f"Results of {len(made)} recipes{on}", f"In one run folder: {told}."


def _title(block: Block, name: str) -> str:
    return getattr(block, "title", "") or clean_text(name)


def _state_block(run: RecordedRun) -> Remark | None:
    if all(step.state == DONE for step in run.steps):
        return None
    of = f" of {run.name}" if run.name else ""
    return Remark(
        f"Of {len(run.steps)} steps{of} {counted(run.steps)}: "
        "tables and figures below may be incomplete.",
        urgent=True,
    )


def _trouble(folder: Path, steps: Sequence[RunStep]) -> list[Block]:
    """Failed steps with the end of their logs, and the names of those that did not run."""
    blocks: list[Block] = []
    failed = [step for step in steps if step.state == FAILED]
    if failed:
        rows = [[step.id, _shown(step.exit_code), step.command] for step in failed]
        blocks.append(
            Listing("Failed steps", ("step", "exit code", "command"), rows, code=frozenset({2}))
        )
    for step in failed[:_MOST_LOGS]:
        text = read_log(folder, step.log) if step.log else ""
        if text:
            blocks.append(Log(f"End of the log of {step.id}", text))
    if len(failed) > _MOST_LOGS:
        blocks.append(Remark(f"Logs of {len(failed) - _MOST_LOGS} more failed steps are left out."))
    pending = [step for step in steps if step.state == PENDING]
    if pending:
        listed = [[step.id, step.command] for step in pending]
        blocks.append(
            Listing(
                f"Pending steps ({len(pending)})",
                ("step", "command"),
                listed,
                folded=True,
                code=frozenset({1}),
            )
        )
    return blocks


def read_log(folder: Path, name: str) -> str:
    """The last lines of a log; a sentence where it cannot be read.

    Raises:
        CorruptFileError: its path leaves the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise CorruptFileError(f"{folder / RUN_FILE}: the log {name!r} is outside the folder")
    try:
        file, size = open_regular(path)
    except ArtifactError:
        return "The log cannot be read."
    with file:
        file.seek(max(0, size - _LOG_BYTES), os.SEEK_SET)
        data = file.read(_LOG_BYTES)
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").splitlines()
    return "\n".join(clean_text(line, lines=True) for line in lines[-_LOG_LINES:])


def _shown(value: int | None) -> str:
    return "–" if value is None else str(value)
