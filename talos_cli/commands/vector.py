"""``talos vector``: a task vector from a fine-tuned checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command

SPARSE = ("auto", "always", "never")


@command(computes=False)
def vector(
    *,
    finetuned: Annotated[
        Path,
        typer.Option(
            help="Fine-tuned model: a checkpoint of talos; with --model also a state dict of its "
            "architecture (safetensors, .pt) or the folder of a LoRA adapter of peft."
        ),
    ],
    model: options.BaseModel = None,
    sparse: Annotated[
        str,
        typer.Option(
            help="Store changed entries only where that is smaller, always or never.",
            metavar="|".join(SPARSE),
            callback=options.one_of("choice", SPARSE),
        ),
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Vector file.", show_default="TASK.vector.safetensors"),
    ] = None,
    shared: Shared,
) -> None:
    """Subtract a base from a fine-tuned checkpoint; adding it again gives the same bits."""
    from talos_engine.workflows.finetuned import recorded_task
    from talos_engine.workflows.vector import VectorRequest, make_vector

    name = recorded_task(finetuned) or finetuned.name.split(".")[0]
    result = make_vector(
        VectorRequest(
            finetuned=finetuned,
            out=out or Path(f"{name}.vector.safetensors"),
            model=model,
            sparse=sparse,
            common=shared.common(),
        )
    )
    for note in result.notes:
        shared.terminal.note(note)
    shared.terminal.note(
        f"{result.changed:,} of {result.total:,} entries changed, norm {result.norm:.4g}, "
        f"{result.file_bytes:,} bytes"
    )
    shared.terminal.result(
        result.path,
        {
            "path": str(result.path),
            "changed": result.changed,
            "total": result.total,
            "norm": result.norm,
            "bytes": result.file_bytes,
        },
    )
