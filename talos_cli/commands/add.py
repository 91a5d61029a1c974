"""``talos add``: one model from several task vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command
from talos_cli.render import percent


@command(draws=False)
def add(
    *,
    vectors: Annotated[
        list[Path], typer.Argument(help="Task vectors.", metavar="V1 V2 …", show_default=False)
    ],
    model: options.BaseModel = None,
    method: options.MergeName = "sum",
    coef: Annotated[
        list[float] | None,
        typer.Option(help="Coefficient: once for all vectors, or once per vector, any sign."),
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="Choose the coefficient by normalized validation accuracy."),
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            help="Task to search on; repeatable. Left out: the vectors' own tasks.",
            autocompletion=options.complete_tasks,
        ),
    ] = None,
    grid: options.Grid = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint.")] = Path(
        "merged.safetensors"
    ),
    shared: Shared,
) -> None:
    """Add task vectors to their base and write the merged checkpoint.

    With --search the whole validation curve is written beside it, as NAME.search.json.
    """
    from talos_engine.workflows.add import AddRequest, add_vectors

    request = AddRequest(
        vectors=tuple(vectors),
        out=out,
        model=model,
        method=method,
        coefs=tuple(coef or ()),
        search=search,
        tasks=tuple(task or ()),
        grid=grid,
        common=shared.common(),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_add

        terminal.plan(plan_add(request))
        return
    with terminal.progress() as progress:
        result = add_vectors(request, progress)
    values: dict[str, object] = {"path": str(result.path), "coefs": list(result.coefs)}
    if result.search is not None:
        chosen = result.search.chosen
        terminal.table(
            f"chosen on validation data: coefficient {chosen.coef:g}",
            ("task", "merged %", "single-task %"),
            [
                (name, percent(value), percent(result.search.reference[name]))
                for name, value in chosen.accuracy.items()
            ],
        )
        terminal.note(f"normalized validation accuracy {percent(chosen.objective)}%")
        values |= {
            "coef": chosen.coef,
            "validation_normalized": chosen.objective,
            "search": str(result.report),
        }
    terminal.result(result.path, values)
