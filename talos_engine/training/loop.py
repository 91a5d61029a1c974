"""The training loop that every fine-tuning method runs in: data order, loss, clipping, timing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talos_engine.configuration import check_at_least, check_choice, check_positive
from talos_engine.device import Runtime
from talos_engine.errors import TrainingError
from talos_engine.progress import Progress, silent
from talos_engine.seeding import derive_seed
from talos_engine.training.schedule import SCHEDULES, learning_rate_at
from talos_engine.training.sparse_adamw import AdamWConfig, SparseAdamW, clip_gradients


@dataclass(frozen=True)
class TrainConfig:
    """Hyper-parameters of a fine-tuning run.

    Args:
        steps: Optimizer steps.
        batch_size: Examples per step.
        lr: Peak learning rate.
        weight_decay: Decoupled decay of live entries.
        warmup: Linear warm-up steps.
        schedule: ``cosine`` or ``constant``.
        clip: Largest gradient norm over live entries; 0 for no clipping.
        seed: Key of the data order.
    """

    steps: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup: int
    schedule: str
    clip: float
    seed: int

    def __post_init__(self) -> None:
        check_at_least("steps", self.steps, 0)
        check_at_least("batch-size", self.batch_size, 1)
        check_positive("lr", self.lr)
        check_at_least("weight-decay", self.weight_decay, 0)
        check_at_least("warmup", self.warmup, 0)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_at_least("clip", self.clip, 0)


@dataclass(frozen=True)
class StepRecord:
    """What one step did and cost.

    Args:
        step: Counted from 1.
        loss: Mean cross-entropy of the batch.
        lr: Learning rate used.
        forward_backward_s: Seconds of forward and backward pass.
        optimizer_s: Seconds of clipping and update.
        total_s: Seconds of the whole step, batch assembly included.
    """

    step: int
    loss: float
    lr: float
    forward_backward_s: float
    optimizer_s: float
    total_s: float


@dataclass(frozen=True)
class TrainJob:
    """Everything a run needs.

    Args:
        classifier: Maps inputs to logits, shape (batch, classes).
        parameters: Parameters with at least one live entry, by name, updated in place.
        live: Flags of live entries; a parameter not named there is wholly live.
        inputs: Training inputs, shape (n, ...).
        labels: int64, shape (n,).
        config: Hyper-parameters.
        runtime: Device and precision.
        progress: Told after every step.
        observe: Called with each step's record.
    """

    classifier: nn.Module
    parameters: Mapping[str, Tensor]
    live: Mapping[str, Tensor]
    inputs: Tensor
    labels: Tensor
    config: TrainConfig
    runtime: Runtime = field(default_factory=Runtime)
    progress: Progress = silent
    observe: Callable[[StepRecord], None] = lambda record: None


def train(job: TrainJob) -> list[StepRecord]:
    """Records of all steps; the parameters have been updated in place (Eq. 8).

    Raises:
        TrainingError: the loss became NaN or infinite; says at which step and learning rate.
    """
    config = job.config
    job.classifier.requires_grad_(False)
    for parameter in job.parameters.values():
        parameter.requires_grad_(True)
    optimizer = SparseAdamW(job.parameters, job.live, AdamWConfig(weight_decay=config.weight_decay))
    order = batch_order(len(job.labels), config.batch_size, config.seed)
    records = []
    try:
        for step in range(config.steps):
            rate = learning_rate_at(
                step,
                steps=config.steps,
                peak=config.lr,
                warmup=config.warmup,
                schedule=config.schedule,
            )
            record = _take_step(job, optimizer, next(order), step, rate)
            records.append(record)
            job.observe(record)
            job.progress(f"fine-tuning, loss {record.loss:.3f}", step + 1, config.steps)
    finally:
        job.classifier.requires_grad_(False)
        for parameter in job.parameters.values():
            parameter.grad = None
    return records


def _take_step(
    job: TrainJob, optimizer: SparseAdamW, chosen: Tensor, step: int, rate: float
) -> StepRecord:
    runtime = job.runtime
    runtime.synchronize()
    began = time.perf_counter()
    inputs = job.inputs[chosen].to(runtime.device, non_blocking=True)
    labels = job.labels[chosen].to(runtime.device, non_blocking=True)
    for parameter in job.parameters.values():
        parameter.grad = None
    loaded = time.perf_counter()
    with runtime.autocast():
        logits = job.classifier(inputs)  # (batch, classes)
    loss = F.cross_entropy(logits.float() if logits.dtype.itemsize < 4 else logits, labels)
    loss.backward()
    value = loss.item()
    runtime.synchronize()
    differentiated = time.perf_counter()
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss became {value} at step {step + 1}, learning rate {rate:.3g}",
            "try a lower --lr or more --warmup",
        )
    gradients = optimizer.gather_gradients()
    clip_gradients(gradients, job.config.clip)
    optimizer.step(gradients, rate)
    runtime.synchronize()
    ended = time.perf_counter()
    return StepRecord(
        step + 1, value, rate, differentiated - loaded, ended - differentiated, ended - began
    )


def batch_order(count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of example positions: a new permutation per epoch, keyed by (seed, epoch).

    A batch larger than the data is the whole data; the incomplete batch at the end of an epoch is
    left out.
    """
    size = min(batch_size, count)
    epoch = 0
    while True:
        generator = torch.Generator().manual_seed(derive_seed(seed, "data order", epoch))
        permutation = torch.randperm(count, generator=generator)
        for start in range(0, count - size + 1, size):
            yield permutation[start : start + size]
        epoch += 1
