"""``talos finetune``: train a model on a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command
from talos_cli.render import Terminal

if TYPE_CHECKING:
    from talos_engine.workflows.finetune import FinetuneResult


@command()
def finetune(
    *,
    model: options.Model,
    task: options.TaskName,
    method: Annotated[
        str,
        typer.Option(
            help="talos trains the live entries of a mask (lota: of a lota mask), nonlinear "
            "everything, linearized everything in the first-order expansion at the base (talos "
            "evaluates what comes of it so too), l-lora low-rank updates of Q and V.",
            metavar="|".join(options.FINETUNE_METHODS),
            autocompletion=options.complete("talos_engine.training.methods"),
            callback=options.one_of("fine-tuning method", options.FINETUNE_METHODS),
        ),
    ],
    mask: Annotated[
        Path | None,
        typer.Option(help="Mask file; needed by talos, which takes any rule's, and by lota."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps.", show_default="model's")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Examples per forward and backward pass.", show_default="model's"),
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
    rank: Annotated[
        int | None, typer.Option(help="Of the updates of l-lora.", show_default="16")
    ] = None,
    lora_alpha: Annotated[
        float | None,
        typer.Option(help="l-lora scales its updates by this over the rank.", show_default="16"),
    ] = None,
    grad_accum: Annotated[
        int | None,
        typer.Option(
            help="Batches per step, the gradient being the mean over all their examples.",
            show_default="model's",
        ),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(
            help="Share of the target spread evenly over all classes, in [0, 1).",
            show_default="0",
        ),
    ] = None,
    early_stop: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Write the state of best validation accuracy; end after N measurements "
            "without a better one; 0: off.",
            show_default="model's",
        ),
    ] = None,
    validate_every: Annotated[
        int | None,
        typer.Option(
            help="Steps between measurements of --early-stop.",
            show_default="a twentieth of the steps",
        ),
    ] = None,
    checkpoint_every: Annotated[
        int,
        typer.Option(
            help="Steps between saves of the run's state beside the output, for --resume; 0: none."
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
    log: Annotated[
        Path | None,
        typer.Option(help="JSONL file: step, loss, learning rate and time, a line per step."),
    ] = None,
    log_drift: Annotated[
        int,
        typer.Option(
            help="Steps between measurements of how far per-example gradients have moved from "
            "those at the base; they go into the log. 0: none. Slow."
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Checkpoint; of T5 a folder.",
            show_default="TASK.METHOD.safetensors, of T5 TASK.METHOD.ckpt",
        ),
    ] = None,
    shared: Shared,
) -> None:
    """Fine-tune a model on a task; its library loads the checkpoint by itself."""
    from talos_engine.workflows.checkpoints import checkpoint_name
    from talos_engine.workflows.finetune import FinetuneRequest
    from talos_engine.workflows.finetune import finetune as run
    from talos_engine.workflows.unfinished import Persistence

    request = FinetuneRequest(
        model=model,
        task=task,
        method=method,
        out=out or Path(checkpoint_name(f"{task}.{method}", model, shared.pretrained)),
        mask=mask,
        training={
            "steps": steps,
            "batch_size": batch_size,
            "lr": lr,
            "weight_decay": weight_decay,
            "warmup": warmup,
            "schedule": schedule,
            "clip": clip,
            "grad_accum": grad_accum,
            "label_smoothing": label_smoothing,
            "early_stop": early_stop,
            "validate_every": validate_every,
        },
        common=shared.common(),
        options={"rank": rank, "lora_alpha": lora_alpha},
        kept=Persistence(checkpoint_every, resume, log, log_drift),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_finetune

        terminal.plan(plan_finetune(request))
        return
    with terminal.progress() as progress:
        result = run(request, progress)
    _report(shared.terminal, result, resume=resume)


def _report(terminal: Terminal, result: FinetuneResult, *, resume: bool) -> None:
    last = result.records[-1].loss if result.records else None
    if result.first:
        terminal.note(f"went on after step {result.first}")
    elif resume:
        terminal.note("there was no interrupted run to go on with: started at the first step")
    told = f", last loss {last:.4f}" if last is not None else ""
    terminal.note(
        f"trained {result.trained:,} entries for {result.steps} steps at "
        f"lr {result.config.lr:g}{told}"
    )
    facts = {
        "path": str(result.path),
        "trained": result.trained,
        "steps": result.steps,
        "resumed_at": result.first,
        "lr": result.config.lr,
        "last_loss": last,
    }
    stopping = result.stopping
    if stopping is not None:
        facts |= {"best_step": stopping.best_step, "stopped_early": result.stopped_early}
        terminal.note(
            f"wrote the state of step {stopping.best_step}, the best on validation data"
            + (
                f"; stopped at step {result.steps}: {stopping.waited} measurements without a better"
                if result.stopped_early
                else ""
            )
        )
    terminal.result(result.path, facts)
