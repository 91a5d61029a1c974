"""``talos evaluate``: accuracy of checkpoints on tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command
from talos_cli.render import percent

SPLITS = ("test", "val", "train")


@command(draws=False)
def evaluate(
    *,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Checkpoints or task vectors (a vector: the base plus it). None: the base.",
            metavar="[CKPT …]",
            show_default=False,
        ),
    ] = None,
    model: options.BaseModel = None,
    task: Annotated[
        list[str],
        typer.Option(
            "--task",
            "-t",
            help="Task; repeatable.",
            autocompletion=options.complete_tasks,
        ),
    ],
    split: Annotated[
        str,
        typer.Option(
            help="Split.", metavar="|".join(SPLITS), callback=options.one_of("split", SPLITS)
        ),
    ] = "test",
    single: Annotated[
        list[Path] | None,
        typer.Option(
            help="Single-task checkpoint or vector, one per task: adds normalized accuracy."
        ),
    ] = None,
    linearize: Annotated[
        bool,
        typer.Option(
            "--linearize",
            help="Evaluate every model's first-order expansion at the base. Models whose file "
            "records that they were trained so are evaluated so anyway.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="JSON file.", show_default="none written")
    ] = None,
    shared: Shared,
) -> None:
    """Measure accuracy, absolute and normalized, of checkpoints or of the base itself.

    Without --out the result on standard output is the mean accuracy of each model, a line each.
    """
    from talos_engine.workflows.evaluate import EvaluateRequest
    from talos_engine.workflows.evaluate import evaluate as run

    request = EvaluateRequest(
        checkpoints=tuple(checkpoints or ()),
        tasks=tuple(task),
        out=out,
        model=model,
        split=split,
        singles=tuple(single or ()),
        linearize=linearize,
        common=shared.common(),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_evaluate

        terminal.plan(plan_evaluate(request))
        return
    with terminal.progress() as progress:
        result = run(request, progress)
    columns = ["model", *task, "mean"]
    rows = []
    for entry in result.models:
        name = "base" if entry.path is None else entry.path.name
        name += " (linearized)" if entry.evaluation == "linearized" else ""
        cells = [percent(entry.accuracies[each].value) for each in task]
        row = [name, *cells, percent(entry.mean)]
        if entry.normalized is not None:
            row.append(percent(entry.normalized))
        rows.append(row)
    if single:
        columns.append("normalized")
    terminal.table(f"accuracy on {split}, %", columns, rows)
    text = result.path or "\n".join(f"{entry.mean:.6f}" for entry in result.models)
    terminal.result(text, result.metrics)
