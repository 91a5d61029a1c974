"""``talos mask union|intersect|subtract``: one mask from several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli.options import Shared, command
from talos_cli.render import percent

Masks = Annotated[
    list[Path],
    typer.Argument(help="Two or more masks of one base.", metavar="MASK", show_default=False),
]


@command(computes=False)
def union(
    *,
    masks: Masks,
    out: Annotated[Path, typer.Option("--out", "-o", help="Mask file.")] = Path(
        "union.mask.safetensors"
    ),
    shared: Shared,
) -> None:
    """Write the mask of entries that are live in any of the masks."""
    _combine("union", masks, out, shared)


@command(computes=False)
def intersect(
    *,
    masks: Masks,
    out: Annotated[Path, typer.Option("--out", "-o", help="Mask file.")] = Path(
        "intersect.mask.safetensors"
    ),
    shared: Shared,
) -> None:
    """Write the mask of entries that are live in all of the masks."""
    _combine("intersect", masks, out, shared)


@command(computes=False)
def subtract(
    *,
    masks: Masks,
    out: Annotated[Path, typer.Option("--out", "-o", help="Mask file.")] = Path(
        "subtract.mask.safetensors"
    ),
    shared: Shared,
) -> None:
    """Write the mask of entries that are live in the first mask and in none of the others."""
    _combine("subtract", masks, out, shared)


def _combine(operation: str, masks: list[Path], out: Path, shared: Shared) -> None:
    from talos_engine.workflows.mask_sets import MaskSetRequest, combine_masks

    request = MaskSetRequest(operation, tuple(masks), out, shared.common())
    result = combine_masks(request)
    shared.terminal.table(
        f"{operation} of {len(masks)} masks",
        ("mask", "live", "% of maskable"),
        [
            (path, f"{live:,}", percent(live / result.total))
            for path, live in zip([*masks, result.path], [*result.inputs, result.live], strict=True)
        ],
    )
    shared.terminal.result(
        result.path,
        {
            "path": str(result.path),
            "live": result.live,
            "total": result.total,
            "inputs": [
                {"path": str(path), "live": live}
                for path, live in zip(masks, result.inputs, strict=True)
            ],
        },
    )
