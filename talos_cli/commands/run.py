"""``talos run``: a whole experiment as one command that can be stopped and resumed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from talos_cli.options import Shared, command
from talos_cli.render import Terminal

if TYPE_CHECKING:
    from talos_engine.experiments.planning import GroupPlan
    from talos_engine.experiments.running import Prepared, RunResult
    from talos_engine.experiments.scheduling import Outcome
    from talos_engine.experiments.steps import Step


@command(computes=False, writes=False)
def run(
    *,
    recipe: Annotated[
        Path, typer.Argument(help="Recipe.", metavar="RECIPE.toml", show_default=False)
    ],
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Steps at a time.", min=1)] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Run the steps whose name or group fits this pattern, and what they need. "
            "Repeatable.",
            metavar="GLOB",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a setting of the recipe; the value is TOML, or a text. Repeatable.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", "-k", help="Where a step fails, go on with the others."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run and skipped, and stop.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder.", show_default="runs/NAME")
    ] = None,
    shared: Shared,
) -> None:
    """Run the steps of a recipe that are not done yet, and write its tables and figures.

    A step is skipped where its command, the content of its inputs and the versions that compute are
    those of the time when its outputs were made. A run that was stopped, or killed, goes on when it
    is started again.
    """
    from talos_engine.errors import StepError
    from talos_engine.experiments.running import RunRequest, prepare
    from talos_engine.experiments.running import run as run_prepared

    terminal = shared.terminal
    request = RunRequest(recipe, out, jobs, tuple(only or ()), _parse(settings or ()), keep_going)
    prepared = prepare(request, _checker())
    if dry_run:
        _show_plan(terminal, prepared, jobs)
        return
    from talos_cli.step_workers import StepWorkers

    workers = StepWorkers(max(1, _cores() // jobs))
    with _watched(terminal, prepared) as observe:
        result = run_prepared(prepared, request, workers, observe)
    for name in result.results:
        terminal.note(f"{result.folder}/results/{name}.md")
    if not result.all_done:
        raise StepError(*_failure(result))
    terminal.note(f"{result.count('done')} steps run, {result.count('done', skipped=True)} skipped")
    terminal.result(
        result.folder,
        {
            "path": str(result.folder),
            "run": result.count("done"),
            "skipped": result.count("done", skipped=True),
            "results": [f"results/{name}.json" for name in result.results],
        },
    )


def _parse(words: Sequence[str]) -> dict[str, Any]:
    """Settings from ``NAME=VALUE``; a value that is no TOML is a text."""
    import tomli

    found = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{word!r} is not NAME=VALUE", param_hint="'--set'")
        try:
            found[name] = tomli.loads(f"value = {text}")["value"]
        except tomli.TOMLDecodeError:
            found[name] = text
    return found


def _checker() -> Callable[[Step], None]:
    """A function that parses a step's command line as if to run it, and looks its tasks up."""
    from talos_cli.main import app
    from talos_engine.data.names import task_names
    from talos_engine.errors import RecipeError
    from talos_engine.registry import unknown_name

    root: Any = typer.main.get_command(app)
    known = task_names()

    def check(step: Step) -> None:
        words, found = step.trial(), root
        while hasattr(found, "commands"):
            found = found.commands[words.pop(0)]
        try:
            given = found.make_context(f"talos {step.command}", words).params
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            raise RecipeError(" ".join(error.format_message().split())) from None
        if given.get("data") or given.get("task_file"):  # which may declare tasks
            return
        tasks = given.get("task") or ()
        for name in (*([tasks] if isinstance(tasks, str) else tasks), given.get("control")):
            if name and name not in known:
                unknown = unknown_name("task", name, known)
                raise RecipeError(unknown.message, unknown.hint)

    return check


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _show_plan(terminal: Terminal, prepared: Prepared, jobs: int) -> None:
    plan = prepared.plan
    order = list(prepared.recipe.steps)
    terminal.table(
        f"{prepared.recipe.title}, in {prepared.folder}",
        ("steps", "command", "all", "done", "to run", "expected"),
        [
            (
                group.name,
                next(it.command for it in plan.steps.values() if it.group == group.name),
                group.total,
                group.done,
                group.total - group.done,
                _in_table(group),
            )
            for group in sorted(plan.groups, key=lambda it: order.index(it.name))
        ],
    )
    seconds, unknown = plan.estimate(jobs)
    total, done = len(plan.steps), len(plan.done)
    text = f"{total} steps: {done} done, {total - done} to run"
    if total > done:
        text += f"; {_expected(seconds, unknown, total - done, plan.guessed)} with --jobs {jobs}"
    terminal.result(
        text,
        {
            "path": str(prepared.folder),
            "steps": [
                {
                    "id": step.id,
                    "command": step.shown(),
                    "needs": sorted(step.needs),
                    "done": step.id in plan.done,
                }
                for step in plan.steps.values()
            ],
            "total": total,
            "done": done,
            "seconds": seconds,
            "unknown": unknown,
            "guessed": plan.guessed,
            "results": [result.name for result in prepared.expansion.results],
        },
    )


def _in_table(group: GroupPlan) -> str:
    """Few words, so that names are not cut: ``~`` marks what is guessed."""
    steps = group.total - group.done
    if steps == 0:
        return "–"
    if group.unknown:  # steps of a group have one command: all are known, or none
        return "unknown"
    return ("~" if group.guessed else "") + _duration(group.seconds)


def _expected(seconds: float, unknown: int, steps: int, guessed: int) -> str:
    if unknown == steps:
        return "time unknown"
    told = f"about {_duration(seconds)}"
    if guessed:
        told += f", {guessed} guessed"
    return told + (f", {unknown} unknown" if unknown else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _watched(
    terminal: Terminal, prepared: Prepared
) -> Iterator[Callable[[Step, Outcome | None], None]]:
    """An observer that draws a bar, or where standard error is no terminal writes a line a step."""
    total = len(prepared.plan.steps)
    ended: list[str] = []
    running: dict[str, None] = {}

    def count(step: Step, outcome: Outcome | None) -> None:
        if outcome is None:
            running[step.id] = None
        else:
            running.pop(step.id, None)
            ended.append(step.id)

    if terminal.quiet or not sys.stderr.isatty():

        def tell(step: Step, outcome: Outcome | None) -> None:
            count(step, outcome)
            if outcome is not None:
                terminal.note(f"[{len(ended)}/{total}] {step.id} {_told(outcome)}")

        yield tell
        return
    with terminal.progress() as progress:

        def draw(step: Step, outcome: Outcome | None) -> None:
            count(step, outcome)
            shown = " ".join(list(running)[:3]) + (" …" if len(running) > 3 else "")
            progress(f"steps, {shown}", len(ended), total)

        yield draw


def _told(outcome: Outcome) -> str:
    if outcome.skipped:
        return "done before"
    if outcome.state == "failed":
        return f"failed: {outcome.told}"
    return f"done in {outcome.seconds:.1f} s"


def _failure(result: RunResult) -> tuple[str, str]:
    failed = {name: it for name, it in result.outcomes.items() if it.state == "failed"}
    told = "; ".join(
        f"{name}: {it.told}" + (f", see {result.log(name)}" if result.log(name).is_file() else "")
        for name, it in failed.items()
    )
    plural = "s" if len(failed) > 1 else ""
    left = result.count("pending")
    return (
        f"{len(failed)} step{plural} failed: {told}",
        f"{result.count('done') + result.count('done', skipped=True)} done, {left} not run; "
        "started again, the run goes on from there",
    )
