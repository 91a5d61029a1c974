"""``talos export``: a folder that another library loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command
from talos_engine.registry import list_names

TARGETS = tuple(name.replace("-", "_") for name in list_names("talos_engine.models.exporters"))


@command(computes=False)
def export(
    *,
    artifact: Annotated[
        Path | None,
        typer.Argument(
            help="Checkpoint or task vector; left out: the model itself.",
            metavar="CKPT|VECTOR",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            help="The library that is to load it; peft: a LoRA adapter, of a low-rank change.",
            metavar="|".join(TARGETS),
            callback=options.one_of("export target", TARGETS),
        ),
    ],
    model: options.BaseModel = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    shared: Shared,
) -> None:
    """Write a folder that open_clip, transformers or peft loads without talos."""
    from talos_engine.workflows.export import ExportRequest, export

    done = export(ExportRequest(to, out, artifact, model, shared.common()))
    total = sum(done.files.values())
    shared.terminal.note(f"{len(done.files)} files, {total:,} bytes; {done.loads}")
    shared.terminal.result(
        done.path, {"path": str(done.path), "files": done.files, "loads": done.loads}
    )
