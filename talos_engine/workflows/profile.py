"""``talos profile``: seconds per step and peak memory of each fine-tuning method.

Each method is measured in a fresh process and its mask is calibrated in another, so that the
memory of one does not count for the other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from talos_engine.artifacts import check_output, write_metrics
from talos_engine.configuration import check_at_least, check_fraction
from talos_engine.errors import OptionError
from talos_engine.progress import Progress, silent
from talos_engine.training.spec import FINETUNE_METHODS
from talos_engine.workflows.apart import run_apart
from talos_engine.workflows.measuring import (
    WARMUP_STEPS,
    MethodCost,
    ProfileRequest,
    calibrate_mask,
    measure_steps,
)
from talos_engine.workflows.opening import check_inputs


@dataclass(frozen=True)
class ProfileResult:
    """What was measured.

    Args:
        path: The JSON file.
        costs: One per method, in the order asked for.
    """

    path: Path
    costs: tuple[MethodCost, ...]


def profile(request: ProfileRequest, progress: Progress = silent) -> ProfileResult:
    """A JSON file with step times and peak memory of each method.

    Raises:
        OptionError: an option outside its range.
        UnknownNameError: no such model, task or method.
        OutputError: the result cannot be written.
    """
    check_profile(request)
    request.common.runtime()
    costs = []
    for done, name in enumerate(request.methods):
        progress("profiling", done, len(request.methods))
        costs.append(_measure_apart(request, name))
    progress("profiling", len(request.methods), len(request.methods))
    write_metrics(
        request.out,
        {
            "schema": 1,
            "command": "profile",
            "model": request.model,
            "device": str(request.common.runtime().device),
            "threads": torch.get_num_threads(),
            "task": request.task,
            "iters": request.iters,
            "warmup": WARMUP_STEPS,
            "sparsity": request.sparsity,
            "gradient_checkpointing": request.gradient_checkpointing,
            "seed": request.common.seed,
            "dtype": request.common.dtype,
            "methods": [
                {**asdict(cost), "flops": cost.flops, "efficiency": cost.efficiency}
                for cost in costs
            ],
        },
        force=request.common.force,
    )
    return ProfileResult(request.out, tuple(costs))


def check_profile(request: ProfileRequest, *, weights: bool = True) -> None:
    """Check everything that needs no weights.

    Args:
        request: What is asked for.
        weights: Whether the model's weights must be to be had.
    """
    check_at_least("iters", request.iters, 1)
    check_fraction("sparsity", request.sparsity, below_one=True)
    if not request.methods or len(set(request.methods)) < len(request.methods):
        raise OptionError("--methods needs at least one name, each once")
    for name in request.methods:
        FINETUNE_METHODS.get(name)
    request.common.runtime()
    check_inputs(request.model, request.common, [request.task], weights=weights)
    check_output(request.out, force=request.common.force)


def _measure_apart(request: ProfileRequest, method: str) -> MethodCost:
    """The cost of a method, its mask and its steps measured in a fresh process each.

    Memory that calibration has used would otherwise count for the steps.
    """
    mask = None
    rule = FINETUNE_METHODS.get(method).mask_rule
    if rule:
        mask = run_apart(method, calibrate_mask, request, rule)
    cost: MethodCost = run_apart(method, measure_steps, request, method, mask)
    return cost
