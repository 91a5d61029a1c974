"""``talos compare``: where two files differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli.options import Shared, command


@command(computes=False, writes=False)
def compare(
    *,
    first: Annotated[
        Path,
        typer.Argument(help="Checkpoint, task vector or mask.", metavar="A", show_default=False),
    ],
    second: Annotated[
        Path, typer.Argument(help="Another of the same kind.", metavar="B", show_default=False)
    ],
    shared: Shared,
) -> None:
    """Compare two checkpoints, task vectors or masks tensor by tensor, bit by bit.

    The exit code is 0 whether they are equal or not; --json tells which.
    """
    from talos_engine.workflows.compare import compare_files

    found = compare_files(first, second)
    if found.same_base is False:
        shared.terminal.note("the files were made from different bases")
    if not found.equal:
        shared.terminal.table(
            "tensors that differ",
            ("tensor", "entries", "differing", "largest difference"),
            [
                (each.name, f"{each.entries:,}", f"{each.differing:,}", _number(each.largest))
                for each in found.differing
            ],
        )
    text = "equal, bit for bit"
    if not found.equal:
        text = (
            f"different: {len(found.differing)} of {len(found.tensors)} tensors, "
            f"by {_number(found.largest)} at most"
        )
    shared.terminal.result(
        text,
        {
            "kind": found.kind,
            "equal": found.equal,
            "same_base": found.same_base,
            "max_abs_difference": found.largest,
            "tensors": {
                each.name: {
                    "equal": each.equal,
                    "entries": each.entries,
                    "differing": each.differing,
                    "max_abs_difference": each.largest,
                }
                for each in found.tensors
            },
        },
    )


def _number(value: float | None) -> str:
    return "no finite number" if value is None else f"{value:.6g}"
