"""The training loop that every fine-tuning method runs in: data order, loss, clipping, timing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talos_engine.configuration import (
    check_at_least,
    check_choice,
    check_fraction,
    check_positive,
)
from talos_engine.device import Runtime
from talos_engine.errors import OptionError, TrainingError
from talos_engine.interrupts import HeldSignals
from talos_engine.progress import Progress, silent
from talos_engine.seeding import derive_seed
from talos_engine.training.early_stopping import EarlyStopping
from talos_engine.training.resuming import Keeping, RunState, seeded_generators
from talos_engine.training.schedule import SCHEDULES, learning_rate_at
from talos_engine.training.sparse_adamw import AdamWConfig, SparseAdamW, clip_gradients


@dataclass(frozen=True)
class TrainConfig:
    """Hyper-parameters of a fine-tuning run.

    Args:
        steps: Optimizer steps.
        batch_size: Examples per forward and backward pass.
        lr: Peak learning rate.
        weight_decay: Decoupled decay of live entries.
        warmup: Linear warm-up steps.
        schedule: ``cosine`` or ``constant``.
        clip: Largest gradient norm over live entries; 0 for no clipping.
        seed: Key of the data order.
        grad_accum: Batches per step; their gradients make one mean over all their examples.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).
        early_stop: Validation measurements in a row without a new best after which the run ends,
            with the best state; 0 for no early stopping.
        validate_every: Steps between two measurements; 0 without early stopping.
    """

    steps: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup: int
    schedule: str
    clip: float
    seed: int
    grad_accum: int = 1
    label_smoothing: float = 0.0
    early_stop: int = 0
    validate_every: int = 0

    def __post_init__(self) -> None:
        check_at_least("steps", self.steps, 0)
        check_at_least("batch-size", self.batch_size, 1)
        check_positive("lr", self.lr)
        check_at_least("weight-decay", self.weight_decay, 0)
        check_at_least("warmup", self.warmup, 0)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_at_least("clip", self.clip, 0)
        check_at_least("grad-accum", self.grad_accum, 1)
        check_fraction("label-smoothing", self.label_smoothing, below_one=True)
        check_at_least("early-stop", self.early_stop, 0)
        if self.early_stop:
            check_at_least("validate-every", self.validate_every, 1)
        elif self.validate_every:
            raise OptionError("--validate-every only goes with --early-stop N")


@dataclass(frozen=True)
class StepRecord:
    """What one step did and cost.

    Args:
        step: Counted from 1.
        loss: Mean cross-entropy over the step's examples.
        lr: Learning rate used.
        forward_backward_s: Seconds of forward and backward pass.
        optimizer_s: Seconds of clipping and update.
        total_s: Seconds of the whole step, batch assembly included.
        examples: How many examples the step saw.
    """

    step: int
    loss: float
    lr: float
    forward_backward_s: float
    optimizer_s: float
    total_s: float
    examples: int


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
        stopping: Early stopping; its measurements are its own affair.
        keeping: How the state of the run is kept and where it starts, if it is kept.
        enter: Told when a step's ``forward``, ``backward`` or ``optimizer`` phase begins.
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
    stopping: EarlyStopping | None = None
    keeping: Keeping | None = None
    enter: Callable[[str], None] = lambda phase: None


def train(job: TrainJob) -> list[StepRecord]:
    """Records of the steps made; the parameters have been updated in place (Eq. 8).

    With early stopping the parameters end as they were at the best measurement. A run that goes on
    from a kept state makes the remaining steps, and ends with the same bits as if it had never
    been interrupted. SIGINT and SIGTERM act when the current step has ended and, where states are
    kept, has been saved.

    Raises:
        TrainingError: the loss or the gradient became NaN or infinite; says at which step and
            learning rate.
        MismatchError: the state to go on from is of other parameters.
    """
    job.classifier.requires_grad_(False)
    for parameter in job.parameters.values():
        parameter.requires_grad_(True)
    decay = AdamWConfig(weight_decay=job.config.weight_decay)
    optimizer = SparseAdamW(job.parameters, job.live, decay)
    try:
        with seeded_generators(job.runtime.device, derive_seed(job.config.seed, "training")):
            return _run(job, optimizer)
    finally:
        job.classifier.requires_grad_(False)
        for parameter in job.parameters.values():
            parameter.grad = None


def _run(job: TrainJob, optimizer: SparseAdamW) -> list[StepRecord]:
    config, keeping, stopping = job.config, job.keeping, job.stopping
    state = RunState(optimizer, stopping, job.runtime.device)
    done = 0
    if keeping is not None and keeping.start is not None:
        state.restore(keeping.start)
        done = keeping.start.step
    size = config.batch_size * config.grad_accum
    order = batch_order(len(job.labels), size, config.seed, done)
    records = []
    with HeldSignals() as signals:
        while done < config.steps and not (stopping is not None and stopping.over):
            record = _take_step(job, optimizer, next(order), done, _rate(config, done))
            done += 1
            records.append(record)
            job.observe(record)
            job.progress(_tell(record), done, config.steps)
            if stopping is not None:
                stopping.after_step(done, config.steps, optimizer.values)
            if keeping is not None and (signals.pending or keeping.due(done, config.steps)):
                keeping.save(state.gather(done))
            signals.deliver(keeping.told if keeping is not None else "")
        if stopping is not None and stopping.best_values is not None:
            optimizer.set_values(stopping.best_values)
    return records


def _rate(config: TrainConfig, step: int) -> float:
    return learning_rate_at(
        step,
        steps=config.steps,
        peak=config.lr,
        warmup=config.warmup,
        schedule=config.schedule,
    )


def _tell(record: StepRecord) -> str:
    speed = record.examples / record.total_s if record.total_s else math.inf
    return f"fine-tuning, loss {record.loss:.3f}, {speed:,.0f} examples/s"


def _take_step(
    job: TrainJob, optimizer: SparseAdamW, chosen: Tensor, step: int, rate: float
) -> StepRecord:
    runtime = job.runtime
    runtime.synchronize()
    began = time.perf_counter()
    for parameter in job.parameters.values():
        parameter.grad = None
    value, differentiating_s = 0.0, 0.0
    for part in chosen.split(job.config.batch_size):
        share = len(part) / len(chosen)  # of all examples of the step, whose mean is wanted
        loss, seconds = _differentiate(job, part, share)
        value += loss
        differentiating_s += seconds
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss became {value} at step {step + 1}, learning rate {rate:.3g}",
            "try a lower --lr or more --warmup",
        )
    differentiated = time.perf_counter()
    job.enter("optimizer")
    gradients = optimizer.gather_gradients()
    norm = float(clip_gradients(gradients, job.config.clip))
    if not math.isfinite(norm):  # before any entry moves
        raise TrainingError(
            f"the gradient became {norm} at step {step + 1}, learning rate {rate:.3g}",
            "try a lower --lr or more --warmup",
        )
    optimizer.step(gradients, rate)
    runtime.synchronize()
    ended = time.perf_counter()
    return StepRecord(
        step=step + 1,
        loss=value,
        lr=rate,
        forward_backward_s=differentiating_s,
        optimizer_s=ended - differentiated,
        total_s=ended - began,
        examples=len(chosen),
    )


def _differentiate(job: TrainJob, part: Tensor, share: float) -> tuple[float, float]:
    """Add the gradient of ``share`` times a batch's mean loss; that loss, and the seconds."""
    runtime = job.runtime
    job.enter("forward")
    inputs = job.inputs[part].to(runtime.device, non_blocking=True)
    labels = job.labels[part].to(runtime.device, non_blocking=True)
    loaded = time.perf_counter()
    with runtime.autocast():
        logits = job.classifier(inputs)  # (batch, classes)
    full = logits.float() if logits.dtype.itemsize < 4 else logits
    loss = share * _cross_entropy(full, labels, job.config.label_smoothing)
    job.enter("backward")
    loss.backward()
    value = loss.item()
    runtime.synchronize()
    return value, time.perf_counter() - loaded


def _cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy; what is smoothed away is spread evenly over the classes there are.

    Args:
        logits: Shape (batch, classes), −∞ where an example has no such class.
        labels: int64, shape (batch,).
        smoothing: Share of the target that is spread, in [0, 1).
    """
    missing = logits == -torch.inf
    if not smoothing or not bool(missing.any()):
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    log_p = torch.log_softmax(logits, dim=-1)
    even = log_p.masked_fill(missing, 0.0).sum(dim=-1) / (~missing).sum(dim=-1)
    right = log_p.gather(1, labels[:, None])[:, 0]
    return -((1 - smoothing) * right + smoothing * even).mean()


def batch_order(count: int, batch_size: int, seed: int, first: int = 0) -> Iterator[Tensor]:
    """Endless batches of example positions: a new permutation per epoch, keyed by (seed, epoch).

    A batch larger than the data is the whole data; the incomplete batch at the end of an epoch is
    left out.

    Args:
        count: Number of examples.
        batch_size: Positions per batch.
        seed: Key of the order.
        first: Number of the batch to begin with.
    """
    size = min(batch_size, count)
    epoch, place = divmod(first, count // size)
    while True:
        generator = torch.Generator().manual_seed(derive_seed(seed, "data order", epoch))
        permutation = torch.randperm(count, generator=generator)
        for start in range(place * size, count - size + 1, size):
            yield permutation[start : start + size]
        epoch, place = epoch + 1, 0
