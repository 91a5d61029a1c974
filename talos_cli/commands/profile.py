"""``talos profile``: what each fine-tuning method costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command

if TYPE_CHECKING:
    from talos_cli.render import Terminal
    from talos_engine.workflows.measuring import MethodCost

_PHASES = ("forward", "backward", "optimizer", "calibration")


@command()
def profile(
    *,
    model: options.Model,
    task: options.TaskName,
    methods: Annotated[
        str, typer.Option(help=f"Comma-separated: {', '.join(options.FINETUNE_METHODS)}.")
    ] = "talos,nonlinear",
    iters: Annotated[int, typer.Option(help="Measured steps per method.")] = 20,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples per step.", show_default="model's")
    ] = None,
    sparsity: Annotated[
        float, typer.Option(help="Of the mask calibrated for methods that need one.")
    ] = 0.9,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing",
            help="Calibrate masks so, where their rule can: slower, less memory.",
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the costs into this PNG.", callback=options.png)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file.")] = Path("cost.json"),
    shared: Shared,
) -> None:
    """Measure seconds per training step and peak memory, each method in a fresh process.

    GFLOP counts the matrix products of a step. "of bound" is the least time that they could take,
    at the speed of a large matrix product on this device, over the time of the two passes.
    "train s" is what the model's usual number of steps would take. Peaks of the allocator are bytes
    in tensors beside the model's own, from two more steps that are not timed: "kept" is what the
    optimizer keeps between steps.
    """
    from talos_engine.artifacts import check_distinct, check_output
    from talos_engine.workflows.measuring import ProfileRequest
    from talos_engine.workflows.profile import profile as run

    names = tuple(name.strip() for name in methods.split(",") if name.strip())
    for name in names:
        options.one_of("fine-tuning method", options.FINETUNE_METHODS)(name)
    check_distinct({"--out": out, "--plot": plot})
    if plot is not None:
        check_output(plot, force=shared.force)
    request = ProfileRequest(
        model=model,
        task=task,
        out=out,
        methods=names,
        iters=iters,
        batch_size=batch_size,
        sparsity=sparsity,
        gradient_checkpointing=gradient_checkpointing,
        common=shared.common(),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_profile

        terminal.plan(plan_profile(request))
        return
    with terminal.progress() as progress:
        result = run(request, progress)
    costs = result.costs
    terminal.table(
        f"cost per step, batch {costs[0].batch_size}, ms (mean ± std of {iters})",
        ("method", "live", "fwd-bwd", "optimizer", "total"),
        [
            (
                cost.method,
                f"{cost.live:,}",
                f"{1e3 * cost.forward_backward.mean:.1f} ± {1e3 * cost.forward_backward.std:.1f}",
                f"{1e3 * cost.optimizer.mean:.1f} ± {1e3 * cost.optimizer.std:.1f}",
                f"{1e3 * cost.total.mean:.1f} ± {1e3 * cost.total.std:.1f}",
            )
            for cost in costs
        ],
    )
    terminal.table(
        "arithmetic, memory in MiB, whole runs in s",
        ("method", "GFLOP", "of bound", "peak", "added", "mask peak", "mask s", "train s"),
        [
            (
                cost.method,
                f"{cost.flops / 1e9:.1f}",
                f"{100 * cost.efficiency:.0f}%",
                f"{cost.peak_bytes / 2**20:.0f}",
                f"{(cost.peak_bytes - cost.start_bytes) / 2**20:.0f}",
                f"{cost.mask_peak_bytes / 2**20:.0f}",
                f"{cost.mask_s:.1f}",
                f"{cost.train_s:.1f}",
            )
            for cost in costs
        ],
    )
    _show_allocations(terminal, costs)
    if plot is not None:
        from talos_cli.plots import draw_costs

        draw_costs(costs, plot, force=shared.force)
    terminal.result(
        result.path,
        {
            "path": str(result.path),
            "plot": None if plot is None else str(plot),
            "total_s": {cost.method: cost.total.mean for cost in costs},
            "peak_bytes": {cost.method: cost.peak_bytes for cost in costs},
            "allocator_peak_bytes": {
                cost.method: {name: peak.peak_bytes for name, peak in cost.allocator.phases.items()}
                for cost in costs
            },
            "flops": {cost.method: cost.flops for cost in costs},
        },
    )


def _show_allocations(terminal: Terminal, costs: Sequence[MethodCost]) -> None:
    """A table of the allocator's peaks by phase; none where the device tells of none."""
    if not any(cost.allocator.phases for cost in costs):
        return
    rows = []
    for cost in costs:
        phases = cost.allocator.phases
        peaks = [phases[name].peak_bytes if name in phases else None for name in _PHASES]
        kept = phases["forward"].start_bytes
        cells = (cost.allocator.model_bytes, kept, *peaks)
        rows.append((cost.method, *("–" if n is None else f"{n / 2**20:.1f}" for n in cells)))
    terminal.table(
        "peaks of torch's allocator beside the model, MiB",
        ("method", "model", "kept", *_PHASES),
        rows,
    )
