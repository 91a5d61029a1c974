"""``talos profile``: what each fine-tuning method costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command


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
    "train s" is what the model's usual number of steps would take.
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
            "flops": {cost.method: cost.flops for cost in costs},
        },
    )
