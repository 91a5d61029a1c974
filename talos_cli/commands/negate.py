"""``talos negate``: a model that has forgotten one task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli import merge_options, options
from talos_cli.options import Chosen, Shared, command
from talos_cli.render import percent


@command(method_options=merge_options.NEGATING)
def negate(
    *,
    vector: Annotated[Path, typer.Argument(help="Task vector.", metavar="V", show_default=False)],
    model: options.BaseModel = None,
    method: merge_options.MergeName = "sum",
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with", help="Vector of another task, for ties, tall, consensus; repeatable."
        ),
    ] = None,
    method_options: Chosen,
    coef: Annotated[
        float | None, typer.Option(help="Coefficient; the vector is subtracted times it.")
    ] = None,
    search: Annotated[
        bool,
        typer.Option(
            "--search", help="Choose the coefficient: lowest target accuracy, control kept."
        ),
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            help="Task to forget. Left out: the vector's own.",
            autocompletion=options.complete_tasks,
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(help="Task to keep.", autocompletion=options.complete_tasks),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            help="Share of the control accuracy that must remain, in [0, 1].", show_default="0.95"
        ),
    ] = None,
    grid: options.Grid = None,
    max_shard_size: merge_options.ShardSize = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Checkpoint; of T5 or sharded a folder.",
            show_default="edited.safetensors, a folder edited.ckpt",
        ),
    ] = None,
    shared: Shared,
) -> None:
    """Subtract a task vector from its base and write the edited checkpoint.

    A model card is written beside it, as NAME.md, and with --search the whole validation curve, as
    NAME.search.json.
    """
    from talos_engine.workflows.checkpoints import checkpoint_name
    from talos_engine.workflows.negate import NegateRequest, negate_vector

    merge_options.use_large_pages()
    sharded = max_shard_size is not None
    request = NegateRequest(
        vector=vector,
        out=out
        or Path(checkpoint_name("edited", model, shared.pretrained, vector, sharded=sharded)),
        model=model,
        method=method,
        others=tuple(others or ()),
        options=method_options,
        coef=coef,
        search=search,
        task=task,
        control=control,
        keep=keep,
        grid=grid,
        shard_bytes=merge_options.shard_bytes(max_shard_size),
        common=shared.common(),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_negate

        terminal.plan(plan_negate(request))
        return
    with terminal.progress() as progress:
        result = negate_vector(request, progress)
    values: dict[str, object] = {
        "path": str(result.path),
        "coef": result.coefs[0],
        "card": str(result.card),
    }
    if result.search is not None:
        chosen, curve = result.search.chosen, result.search.curve
        before = curve[0].accuracy
        terminal.table(
            f"chosen on validation data: coefficient {chosen.coef:g}",
            ("task", "before %", "after %"),
            [
                (name, percent(before[name]), percent(value))
                for name, value in chosen.accuracy.items()
            ],
        )
        only_zero = not any(point.feasible for point in curve if point.coef != 0)
        if only_zero:
            terminal.note("no coefficient but 0 keeps the control task: nothing was subtracted")
        values |= {
            "only_zero_feasible": only_zero,
            "validation_accuracy": dict(chosen.accuracy),
            "search": str(result.report),
        }
    terminal.result(result.path, values)
