"""Results of a run: computed from the files that its steps left, written as JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from talos_engine.artifacts import atomic_write, discard_output, read_json, write_json
from talos_engine.errors import ArtifactError, CorruptFileError, RecipeError, UnknownNameError
from talos_engine.experiments.expansion import ResultPlan, SourceFile
from talos_engine.experiments.markdown import to_markdown
from talos_engine.experiments.paper import PaperTable, beside
from talos_engine.experiments.planning import done_steps
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind, Source
from talos_engine.experiments.states import StateFolder
from talos_engine.experiments.steps import Step

SCHEMA = 1
FOLDER = "results"


def check_results(plans: Sequence[ResultPlan]) -> None:
    """Raise before any work if a result's kind, sources or options cannot be meant.

    Raises:
        RecipeError: they cannot.
    """
    for plan in plans:
        _kind(plan).check(plan.sources, plan.table.options, plan.table.where)
        _paper(plan)


def write_results(
    folder: Path,
    plans: Sequence[ResultPlan],
    states: StateFolder,
    steps: Mapping[str, Step],
    made: Mapping[str, Any],
) -> list[str]:
    """Write ``results/NAME.json`` and ``results/NAME.md`` for each plan; names of those written.

    Files of steps that are not done count as missing: they may be of another recipe. A result
    without any source is not written, and an old one of its name removed.

    Args:
        folder: The run folder.
        plans: The results.
        states: Records of its steps.
        steps: All steps of the recipe, what a step needs before it.
        made: What each result says of the recipe and settings that it comes from.

    Raises:
        CorruptFileError: a metrics file does not hold what it should.
        OutputError: a result cannot be written.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    written, done = [], done_steps(steps, states)
    for plan in plans:
        files = [file for files in plan.sources.values() for file in files]
        if not any(file.step.id in done for file in files):
            for ending in (".json", ".md"):
                discard_output(folder / FOLDER / f"{plan.name}{ending}")
            continue
        written.append(plan.name)
        ids = _rests_on({file.step.id for file in files} & done, steps)
        content = {**compute(folder, plan, done), "made": {**made, "steps": ids}}
        write_json(folder / FOLDER / f"{plan.name}.json", content, force=True)
        text = to_markdown(content).encode("utf-8")
        atomic_write(
            folder / FOLDER / f"{plan.name}.md",
            lambda temporary, text=text: temporary.write_bytes(text),  # type: ignore[misc]
            force=True,
        )
    return written


def compute(folder: Path, plan: ResultPlan, done: Set[str]) -> dict[str, Any]:
    """What ``results/NAME.json`` holds, from the files of steps that are done."""
    table = plan.table
    kind = _kind(plan)
    config = kind.check(plan.sources, table.options, table.where)
    paper, left_out = _paper(plan)
    given = Given(
        {
            role: [_read(folder, file, done) for file in files]
            for role, files in plan.sources.items()
        },
        paper,
    )
    found = kind.run(config, given)
    alt = f"{table.title}. {table.caption} {found.pop('told', '')}".strip()
    return {
        **found,
        "notes": [*found["notes"], *([left_out] if left_out else ())],
        "schema": SCHEMA,
        "name": plan.name,
        "title": table.title,
        "caption": table.caption,
        "alt": alt,
        "variables": dict(plan.variables),
        "paper": _named(table.paper) if table.paper and not left_out else None,
        "sources": [file.path for files in plan.sources.values() for file in files],
    }


def _rests_on(sources: Set[str], steps: Mapping[str, Step]) -> list[str]:
    """Ids of some steps and of all that these need, in the order of the recipe."""
    wanted = set(sources)
    for name in reversed(list(steps)):
        if name in wanted:
            wanted |= steps[name].needs
    return [name for name in steps if name in wanted]


def _kind(plan: ResultPlan) -> ResultKind:
    try:
        return RESULTS.get(plan.table.kind)
    except UnknownNameError as error:
        raise RecipeError(f"{plan.table.where}: {error.message}", error.hint) from None


def _named(paper: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in paper.items() if key != "measured"}


def _paper(plan: ResultPlan) -> tuple[PaperTable, str]:
    try:
        return beside(plan.table.paper)
    except RecipeError as error:
        raise RecipeError(f"{plan.table.where} paper: {error.message}", error.hint) from None


def _read(folder: Path, file: SourceFile, done: Set[str]) -> Source:
    content = _content(folder / file.path) if file.step.id in done else None
    return Source(file.path, file.step.variables, file.step.inputs, content)


def _content(path: Path) -> Any:
    if path.suffix != ".jsonl":
        return read_json(path)
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CorruptFileError(f"{path}: {error}") from None
