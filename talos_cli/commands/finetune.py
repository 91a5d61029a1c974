"""``talos finetune``: train a model on a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command


@command()
def finetune(
    *,
    model: options.Model,
    task: options.TaskName,
    method: Annotated[
        str,
        typer.Option(
            help="talos trains the live entries of a mask, nonlinear everything.",
            metavar="|".join(options.FINETUNE_METHODS),
            autocompletion=options.complete("talos_engine.training.methods"),
            callback=options.one_of("fine-tuning method", options.FINETUNE_METHODS),
        ),
    ],
    mask: Annotated[
        Path | None, typer.Option(help="Mask file; needed by talos. Any mask rule's will do.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps.", show_default="model's")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples per step.", show_default="model's")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate.", show_default="model's, by method")
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(help="Decoupled decay of live entries.", show_default="model's"),
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Linear warm-up steps.", show_default="model's")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="After warm-up.", metavar="cosine|constant", show_default="model's"),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(help="Largest gradient norm; 0: no clipping.", show_default="model's"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Checkpoint.", show_default="TASK.METHOD.safetensors"),
    ] = None,
    shared: Shared,
) -> None:
    """Fine-tune a model on a task and write a checkpoint that open_clip loads by itself."""
    from talos_engine.workflows.finetune import FinetuneRequest
    from talos_engine.workflows.finetune import finetune as run

    request = FinetuneRequest(
        model=model,
        task=task,
        method=method,
        out=out or Path(f"{task}.{method}.safetensors"),
        mask=mask,
        training={
            "steps": steps,
            "batch_size": batch_size,
            "lr": lr,
            "weight_decay": weight_decay,
            "warmup": warmup,
            "schedule": schedule,
            "clip": clip,
        },
        common=shared.common(),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_finetune

        terminal.plan(plan_finetune(request))
        return
    with terminal.progress() as progress:
        result = run(request, progress)
    last = result.records[-1].loss if result.records else None
    told = f", last loss {last:.4f}" if last is not None else ""
    terminal.note(
        f"trained {result.trained:,} entries for {len(result.records)} steps at "
        f"lr {result.config.lr:g}{told}"
    )
    terminal.result(
        result.path,
        {
            "path": str(result.path),
            "trained": result.trained,
            "steps": len(result.records),
            "lr": result.config.lr,
            "last_loss": last,
        },
    )
