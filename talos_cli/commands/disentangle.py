"""``talos disentangle``: how much two task vectors interfere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command


@command()
def disentangle(
    *,
    vectors: Annotated[
        tuple[Path, Path],
        typer.Argument(help="Two task vectors.", metavar="V1 V2", show_default=False),
    ],
    model: options.BaseModel = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            help="Their tasks, in order. Left out: the ones that the vectors record.",
            autocompletion=options.complete_tasks,
        ),
    ] = None,
    grid: Annotated[int, typer.Option(help="Points per axis.")] = 20,
    reach: Annotated[float, typer.Option("--range", help="Both axes cover [-X, X].")] = 3.0,
    points: Annotated[int, typer.Option(help="Random test examples per task, at most.")] = 2048,
    plot: Annotated[
        Path | None, typer.Option(help="Draw a heatmap into this PNG.", callback=options.png)
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            "-j",
            help="Processes that share the grid, each with --threads threads; the result has the "
            "same bytes.",
        ),
    ] = 1,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            help="Models of the grid between saves of what is measured beside the output, for "
            "--resume; 0: none."
        ),
    ] = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with an interrupted run of the same command, if there is one; "
            "the result has the same bytes.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file.")] = Path("xi.json"),
    shared: Shared,
) -> None:
    """Measure the disentanglement error of two task vectors over a grid of coefficients."""
    from talos_engine.workflows.disentangle import DisentangleRequest
    from talos_engine.workflows.disentangle import disentangle as run
    from talos_engine.workflows.unfinished import Persistence

    request = DisentangleRequest(
        vectors=vectors,
        out=out,
        model=model,
        tasks=tuple(task or ()),
        grid=grid,
        reach=reach,
        points=points,
        plot=plot,
        jobs=jobs,
        kept=Persistence(checkpoint_every, resume),
        common=shared.common(),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_disentangle

        terminal.plan(plan_disentangle(request))
        return
    with terminal.progress() as progress:
        result = run(request, progress)
    found = result.map
    flat = [value for row in found.error for value in row]
    mean = sum(flat) / len(flat)
    if plot is not None:
        from talos_cli.plots import draw_disentanglement

        draw_disentanglement(result.tasks, found, plot, force=shared.force)
    if result.first:
        terminal.note(f"went on after {result.first} models of the grid")
    elif resume:
        terminal.note("there was no interrupted run to go on with: this one began anew")
    terminal.note(
        f"mean disentanglement error {mean:.3f} (0 to 2) over {len(found.coefs)}×"
        f"{len(found.coefs)} coefficients in [-{reach:g}, {reach:g}]"
    )
    terminal.result(
        result.path,
        {
            "path": str(result.path),
            "plot": None if plot is None else str(plot),
            "mean_error": mean,
            "max_error": max(flat),
            "points": dict(found.points),
            "resumed_at": result.first,
        },
    )
