"""``talos run``: a recipe from its file to its results."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talos_engine.artifacts import atomic_write, reserve_output
from talos_engine.configuration import check_at_least
from talos_engine.errors import OutputError, RecipeError
from talos_engine.experiments.expansion import Expansion, expand
from talos_engine.experiments.planning import RunPlan, done_steps, make_plan, only
from talos_engine.experiments.reading import read_recipe
from talos_engine.experiments.recipe import Recipe
from talos_engine.experiments.record import FILE, keep_record, write_run
from talos_engine.experiments.scheduling import LOGS, Launcher, Observer, Outcome, Scheduler
from talos_engine.experiments.states import DONE, StateFolder
from talos_engine.experiments.steps import Step
from talos_engine.experiments.summing import FOLDER as RESULTS
from talos_engine.experiments.summing import check_results, write_results

CheckStep = Callable[[Step], None]


@dataclass(frozen=True)
class RunRequest:
    """What to run.

    Args:
        recipe: TOML file.
        out: The run folder; made where it is not there, gone on with where it is.
        jobs: Steps at a time.
        only: Patterns of ids or groups; empty for everything.
        settings: Values that beat the recipe's settings.
        keep_going: After a failure, go on with what does not need the failed step.
    """

    recipe: Path
    out: Path | None = None
    jobs: int = 1
    only: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    keep_going: bool = False


@dataclass(frozen=True)
class Prepared:
    """A recipe that is fit to run.

    Args:
        recipe: As read.
        expansion: All its steps and results.
        folder: The run folder.
        plan: What takes part in this run, and what of it is done.
        states: Records of the run folder.
    """

    recipe: Recipe
    expansion: Expansion
    folder: Path
    plan: RunPlan
    states: StateFolder


@dataclass(frozen=True)
class RunResult:
    """What came out.

    Args:
        folder: The run folder.
        outcomes: How each step of this run ended, by id.
        results: Names of the results written.
    """

    folder: Path
    outcomes: Mapping[str, Outcome]
    results: tuple[str, ...]

    @property
    def all_done(self) -> bool:
        """Whether no step failed or was left."""
        return all(outcome.state == DONE for outcome in self.outcomes.values())

    def log(self, step_id: str) -> Path:
        """The file that has what a step told people."""
        return self.folder / LOGS / f"{step_id}.log"

    def count(self, state: str, *, skipped: bool = False) -> int:
        """How many steps ended so."""
        return sum(it.state == state and it.skipped == skipped for it in self.outcomes.values())


def prepare(request: RunRequest, check: CheckStep) -> Prepared:
    """Everything about a run that can be known before it; nothing is written.

    Args:
        request: What is asked for.
        check: Raises where a step's command line cannot be meant.

    Raises:
        RecipeError: the recipe cannot be meant.
        OutputError: the run folder is something else.
    """
    check_at_least("jobs", request.jobs, 1)
    recipe = read_recipe(request.recipe, request.settings)
    expansion = expand(recipe)
    check_results(expansion.results)
    for step in expansion.steps.values():
        if step.choice is None:
            _check_words(recipe, step, check)
    folder = request.out or Path("runs") / recipe.name
    _check_folder(folder)
    steps = only(expansion.steps, request.only) if request.only else expansion.steps
    states = StateFolder(folder)
    return Prepared(recipe, expansion, folder, make_plan(steps, states), states)


def run(
    prepared: Prepared, request: RunRequest, launcher: Launcher, observe: Observer
) -> RunResult:
    """Run what is not done, write the results, tell how each step ended.

    Failed steps do not raise: their outcomes tell. Whatever happens, what is done stays done, and
    another run goes on from there.

    Raises:
        OutputError: another run works in this folder, or it cannot be written to.
    """
    folder, recipe = prepared.folder, prepared.recipe
    try:
        for name in ("", LOGS, "artifacts"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the run folder {folder}: {error.strerror}") from error
    with ExitStack() as stack:
        stack.enter_context(reserve_output(folder / FILE))
        states = StateFolder(folder)
        _keep_recipe(folder, recipe)

        names = [plan.name for plan in prepared.expansion.results]

        def record(done: Set[str] | None = None) -> None:
            there = [name for name in names if (folder / RESULTS / f"{name}.json").is_file()]
            write_run(folder, recipe, prepared.expansion.steps, states, there, done)

        def told(step: Step, outcome: Outcome | None) -> None:
            if outcome is not None and outcome.state == DONE:
                done.add(step.id)
            if outcome is not None and not outcome.skipped:
                record(done)
            observe(step, outcome)

        done = set(done_steps(prepared.expansion.steps, states))
        record(done)
        scheduler = Scheduler(folder, states, launcher, request.jobs, request.keep_going, told)
        outcomes = scheduler.run(prepared.plan.steps)
        expansion = prepared.expansion
        made = keep_record(folder, recipe, expansion.steps, states, names)
        results = tuple(write_results(folder, expansion.results, states, expansion.steps, made))
        record()
    return RunResult(folder, outcomes, results)


def _check_words(recipe: Recipe, step: Step, check: CheckStep) -> None:
    try:
        check(step)
    except RecipeError as error:
        where = recipe.steps[step.group].where
        line = f"the command line: {shlex.join(step.shown())}"
        hint = f"{error.hint}; {line}" if error.hint else line
        raise RecipeError(f"{where}: {error.message}", hint) from None


def _keep_recipe(folder: Path, recipe: Recipe) -> None:
    """Copy the recipe into the run folder, and what it includes into ``included/``."""
    atomic_write(folder / "recipe.toml", lambda new: new.write_bytes(recipe.text), force=True)
    for number, path in enumerate(recipe.included, start=1):
        (folder / "included").mkdir(exist_ok=True)
        text = path.read_bytes()
        target = folder / "included" / f"{number:02d}-{path.name}"
        atomic_write(target, lambda new, text=text: new.write_bytes(text), force=True)  # type: ignore[misc]


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"cannot run in {folder}: it is no folder")
    if any(folder.iterdir()) and not any(
        (folder / name).exists() for name in (FILE, "recipe.toml")
    ):
        raise OutputError(
            f"cannot run in {folder}: it holds something else than a run", "choose another folder"
        )
