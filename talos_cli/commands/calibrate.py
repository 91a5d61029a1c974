"""``talos calibrate``: find the entries that a task may train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command
from talos_cli.render import percent


@command(precision=False)
def calibrate(
    *,
    model: options.Model,
    task: options.TaskName,
    sparsity: Annotated[
        float, typer.Option(help="Fraction of the maskable entries to freeze, in [0, 1).")
    ],
    method: Annotated[
        str,
        typer.Option(
            help="Mask rule.",
            metavar="|".join(options.MASK_RULES),
            autocompletion=options.complete("talos_engine.masking.rules"),
            callback=options.one_of("mask rule", options.MASK_RULES),
        ),
    ] = "talos",
    rounds: Annotated[
        int | None, typer.Option(help="talos: rounds over which sparsity grows.", show_default="4")
    ] = None,
    batches: Annotated[
        int | None, typer.Option(help="talos: batches scored per round.", show_default="10")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="talos: examples per batch.", show_default="128")
    ] = None,
    fisher: Annotated[
        str | None,
        typer.Option(
            help="talos: labels drawn from the model, all weighted by probability, or the data's.",
            metavar="mc|type-2|empirical",
            show_default="mc",
        ),
    ] = None,
    mc_samples: Annotated[
        int | None, typer.Option(help="talos: label draws per example for mc.", show_default="1")
    ] = None,
    soft_mask: Annotated[
        float | None,
        typer.Option(
            help="talos: what frozen entries are multiplied with while scoring, in [0, 1].",
            show_default="0.01",
        ),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            help="talos: mean square (Eq. 7) or mean magnitude of the gradient.",
            metavar="square|abs",
            show_default="square",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Never select parameters matching this pattern; '*in_proj_bias#k' names key "
            "biases. Repeatable."
        ),
    ] = None,
    save_scores: Annotated[
        Path | None, typer.Option(help="Write the first round's scores to this file too.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Mask file.", show_default="TASK.mask.safetensors"),
    ] = None,
    shared: Shared,
) -> None:
    """Find the least sensitive entries of a model on a task and write them as a mask."""
    from talos_engine.workflows.calibrate import CalibrateRequest
    from talos_engine.workflows.calibrate import calibrate as run

    request = CalibrateRequest(
        model=model,
        task=task,
        sparsity=sparsity,
        out=out or Path(f"{task}.mask.safetensors"),
        method=method,
        options={
            "rounds": rounds,
            "batches": batches,
            "batch_size": batch_size,
            "fisher": fisher,
            "mc_samples": mc_samples,
            "soft_mask": soft_mask,
            "score": score,
        },
        exclude=tuple(exclude or ()),
        save_scores=save_scores,
        common=shared.common(),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_calibrate

        terminal.plan(plan_calibrate(request))
        return
    with terminal.progress() as progress:
        result = run(request, progress)
    terminal.table(
        f"{method} mask of {task}: {result.live:,} of {result.total:,} entries live",
        ("kind", "live", "of", "% of kind", "% of mask"),
        [
            (kind, f"{live:,}", f"{total:,}", percent(live / total), percent(live / result.live))
            for kind, (live, total) in result.live_by_kind.items()
        ],
    )
    if "examples" in result.notes:
        used, available = result.notes["examples"], result.notes["available_examples"]
        terminal.note(f"scored {used} of {available} validation examples per round")
    if result.notes.get("live_zero_score"):
        terminal.note(
            f"{result.notes['live_zero_score']:,} live entries are key biases, which change no "
            "output; --exclude '*in_proj_bias#k' leaves them out"
        )
    terminal.result(
        result.path,
        {
            "path": str(result.path),
            "live": result.live,
            "total": result.total,
            "live_by_kind": {kind: live for kind, (live, _) in result.live_by_kind.items()},
            **result.notes,
        },
    )
