"""What one fine-tuning method costs: its mask, its steps, their memory and their arithmetic."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from talos_engine.artifacts import Header, Mask
from talos_engine.device import Runtime
from talos_engine.masking.spec import MASK_RULES
from talos_engine.models.loading import load_weights
from talos_engine.profiling.allocations import PhasePeak
from talos_engine.profiling.flops import count_flops, matmul_speed
from talos_engine.profiling.memory import PeakMemory
from talos_engine.profiling.timing import TimingSummary, summarize_timings
from talos_engine.progress import silent
from talos_engine.training.loop import TrainJob, train
from talos_engine.training.spec import FINETUNE_METHODS
from talos_engine.workflows.allocating import (
    AllocatorCost,
    measure_allocator,
    measure_calibration,
)
from talos_engine.workflows.calibrate import CalibrateRequest, make_context
from talos_engine.workflows.finetune import (
    FinetuneRequest,
    count_live,
    make_job,
    make_trainee,
    resolve_training,
)
from talos_engine.workflows.opening import Common, Session, open_session

WARMUP_STEPS = 3
_Flags: TypeAlias = "dict[str, NDArray[np.bool_]]"


@dataclass(frozen=True)
class ProfileRequest:
    """What to measure.

    Args:
        model: Catalog name or checkpoint path.
        task: Task whose data feeds the steps.
        out: The JSON file to write.
        methods: Fine-tuning methods.
        iters: Measured steps per method, after three that are not counted.
        batch_size: Examples per step; ``None`` takes the model's default.
        sparsity: Of the mask calibrated for methods that need one.
        gradient_checkpointing: Whether masks are calibrated so, where their rule has the option.
        common: Seed, device, precision, overwriting.
    """

    model: str
    task: str
    out: Path
    methods: tuple[str, ...] = ("talos", "nonlinear")
    iters: int = 20
    batch_size: int | None = None
    sparsity: float = 0.9
    gradient_checkpointing: bool = False
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class MethodCost:
    """What one method costs (Tables 3 and 4 of arXiv:2504.02620).

    Args:
        method: Its name.
        live: Number of entries that train.
        forward_backward: Seconds of forward and backward pass per step.
        optimizer: Seconds of clipping and update per step.
        total: Seconds per step.
        mask_s: Seconds to calibrate the mask; 0 without one.
        mask_peak_bytes: Peak memory of that; 0 without one.
        train_s: Seconds that a whole run of the model's usual length would take: as many updates as
            it has steps, and what is left of ``total`` for each of their batches.
        start_bytes: Memory before the first step, those that are not counted included.
        peak_bytes: Peak memory from the first forward pass to the end of the loop.
        memory_source: ``rss`` or ``nvml``.
        allocator: Peaks of the bytes in tensors by phase, from two steps after the timed ones.
        batch_size: Examples per step.
        forward_flops: Operations of the matrix products of a step's forward pass.
        backward_flops: The same of its backward pass.
        matmul_speed: Operations per second of a large matrix product on this device.
    """

    method: str
    live: int
    forward_backward: TimingSummary
    optimizer: TimingSummary
    total: TimingSummary
    mask_s: float
    mask_peak_bytes: int
    train_s: float
    start_bytes: int
    peak_bytes: int
    memory_source: str
    allocator: AllocatorCost
    batch_size: int
    forward_flops: int
    backward_flops: int
    matmul_speed: float

    @property
    def flops(self) -> int:
        """Operations of a step's matrix products."""
        return self.forward_flops + self.backward_flops

    @property
    def efficiency(self) -> float:
        """Least time of a step's matrix products over the time of its two passes."""
        return self.flops / self.matmul_speed / self.forward_backward.mean


@dataclass(frozen=True)
class CalibratedMask:
    """A mask and what it cost.

    Args:
        flags: Live entries by parameter name.
        seconds: What calibration took.
        peak_bytes: Its peak memory.
        allocator: The peak of the bytes in tensors, as a phase; empty where it cannot be had.
    """

    flags: _Flags
    seconds: float
    peak_bytes: int
    allocator: Mapping[str, PhasePeak]


def measure_steps(request: ProfileRequest, name: str, made: CalibratedMask | None) -> MethodCost:
    """The cost of a method's steps.

    Args:
        request: What is measured.
        name: The method.
        made: Its mask, where it needs one.
    """
    runtime = request.common.runtime()
    session = open_session(load_weights(request.model, request.common.pretrained), runtime)
    training: Mapping[str, Any] = {
        "steps": WARMUP_STEPS + request.iters,
        "batch_size": request.batch_size,
        "grad_accum": 1,  # what one batch costs
    }
    asked = FinetuneRequest(
        request.model, request.task, name, request.out, training=training, common=request.common
    )
    config = resolve_training(asked)
    usual = resolve_training(replace(asked, training={}))
    method = FINETUNE_METHODS.get(name)
    mask = None if made is None else _unpack(request, session, method.mask_rule, made.flags)
    job = make_job(
        session, make_trainee(session, method, asked, mask), request.task, config, silent
    )
    live = count_live(job)
    with PeakMemory(runtime.device) as memory:
        records = train(job)[WARMUP_STEPS:]
    total = summarize_timings([record.total_s for record in records])
    optimizer = summarize_timings([record.optimizer_s for record in records])
    forward_flops, backward_flops = count_step(job)
    return MethodCost(
        method=name,
        live=live,
        forward_backward=summarize_timings([record.forward_backward_s for record in records]),
        optimizer=optimizer,
        total=total,
        mask_s=0.0 if made is None else made.seconds,
        mask_peak_bytes=0 if made is None else made.peak_bytes,
        train_s=usual.steps * (usual.grad_accum * (total.mean - optimizer.mean) + optimizer.mean),
        start_bytes=memory.start_bytes,
        peak_bytes=memory.peak_bytes,
        memory_source=memory.source,
        allocator=measure_allocator(job, {} if made is None else made.allocator),
        batch_size=min(config.batch_size, len(job.labels)),
        forward_flops=forward_flops,
        backward_flops=backward_flops,
        matmul_speed=matmul_speed(runtime),
    )


def count_step(job: TrainJob) -> tuple[int, int]:
    """Operations of the matrix products of a step, forward and backward."""
    size = job.config.batch_size
    inputs, labels = (part[:size].to(job.runtime.device) for part in (job.inputs, job.labels))
    job.classifier.requires_grad_(False)
    for parameter in job.parameters.values():
        parameter.requires_grad_(True)

    def loss() -> Tensor:
        with job.runtime.autocast():
            return F.cross_entropy(job.classifier(inputs), labels)

    try:
        value, forward = count_flops(loss)
        _, backward = count_flops(value.backward)
    finally:
        for parameter in job.parameters.values():
            parameter.requires_grad_(False)
            parameter.grad = None
    return forward, backward


def calibrate_mask(request: ProfileRequest, rule_name: str) -> CalibratedMask:
    """The task's mask by a rule with default options but the one asked for, and what that costs."""
    runtime = Runtime(request.common.runtime().device)
    session = open_session(load_weights(request.model, request.common.pretrained), runtime)
    rule = MASK_RULES.get(rule_name)
    asked = CalibrateRequest(
        request.model,
        request.task,
        request.sparsity,
        request.out,
        rule_name,
        common=request.common,
    )
    context = make_context(session, rule, asked)
    asked_of_rule = {"gradient_checkpointing": request.gradient_checkpointing or None}
    own = {it.name: asked_of_rule.get(it.name) for it in fields(rule.config)}
    config = rule.configure(own)
    with PeakMemory(runtime.device) as memory:
        began = time.perf_counter()
        live = rule.run(config, context).select(context, request.sparsity)
        seconds = time.perf_counter() - began
    flags = {name: value.numpy() for name, value in live.items()}
    allocator = measure_calibration(
        rule, context, request.sparsity, {n: v for n, v in own.items() if v is not None}
    )
    return CalibratedMask(flags, seconds, memory.peak_bytes, allocator)


def _unpack(request: ProfileRequest, session: Session, rule: str, flags: _Flags) -> Mask:
    structure = session.backbone.structure
    header = Header(
        kind="mask",
        base=session.weights.info,
        method=rule,
        task=request.task,
        config={"sparsity": request.sparsity},
        seed=request.common.seed,
        data="",
    )
    live = {name: torch.from_numpy(found) for name, found in flags.items() if found.any()}
    return Mask(header, live, {name: structure.shapes[name] for name in structure.maskable})
