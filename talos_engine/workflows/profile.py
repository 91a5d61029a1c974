"""``talos profile``: seconds per step and peak memory of each fine-tuning method.

Each method is measured in a fresh process and its mask is calibrated in another, so that the
memory of one does not count for the other.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from talos_engine.artifacts import Header, Mask, check_output, write_metrics
from talos_engine.configuration import check_at_least, check_fraction
from talos_engine.data.settings import DataSettings, current_data, use_data
from talos_engine.device import Runtime
from talos_engine.errors import DeviceError, OptionError, TalosError
from talos_engine.masking.spec import MASK_RULES
from talos_engine.models.loading import load_weights
from talos_engine.profiling.memory import PeakMemory
from talos_engine.profiling.timing import TimingSummary, summarize_timings
from talos_engine.progress import Progress, silent
from talos_engine.training.loop import train
from talos_engine.training.spec import FINETUNE_METHODS
from talos_engine.workflows.calibrate import CalibrateRequest, make_context
from talos_engine.workflows.finetune import (
    FinetuneRequest,
    count_live,
    make_job,
    make_trainee,
    resolve_training,
)
from talos_engine.workflows.opening import Common, Session, check_inputs, open_session

WARMUP_STEPS = 3
_PackedMask: TypeAlias = "dict[str, NDArray[np.bool_]]"


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
        common: Seed, device, precision, overwriting.
    """

    model: str
    task: str
    out: Path
    methods: tuple[str, ...] = ("talos", "nonlinear")
    iters: int = 20
    batch_size: int | None = None
    sparsity: float = 0.9
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
        start_bytes: Memory before the first step, those that are not counted included.
        peak_bytes: Peak memory from the first forward pass to the end of the loop.
        memory_source: ``rss`` or ``nvml``.
        batch_size: Examples per step.
    """

    method: str
    live: int
    forward_backward: TimingSummary
    optimizer: TimingSummary
    total: TimingSummary
    mask_s: float
    start_bytes: int
    peak_bytes: int
    memory_source: str
    batch_size: int


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
            "seed": request.common.seed,
            "dtype": request.common.dtype,
            "methods": [asdict(cost) for cost in costs],
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
    mask, mask_s = None, 0.0
    rule = FINETUNE_METHODS.get(method).mask_rule
    if rule:
        mask, mask_s = _run_apart(method, _calibrate, request, rule)
    cost: MethodCost = _run_apart(method, _measure, request, method, mask, mask_s)
    return cost


def _run_apart(method: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work`` for a method returns in a fresh process; its error is raised here."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    data = current_data().settings
    worker = context.Process(target=_worker, args=(sender, data, work, arguments), daemon=True)
    with _interrupts_blocked():
        worker.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        worker.join()
        raise DeviceError(
            f"the process that measured {method!r} ended with code {worker.exitcode}",
            "if it ran out of memory, try a smaller --batch-size",
        ) from None
    finally:
        receiver.close()
        worker.kill()  # it has answered, or nobody waits for it any more
        worker.join()
    if isinstance(answer, TalosError):
        raise answer
    return answer


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """SIGINT waits, and a process started here never gets it, not even while it imports."""
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _worker(
    sender: Connection, data: DataSettings, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    try:
        with use_data(data):
            sender.send(work(*arguments))
    except TalosError as error:
        sender.send(error)
    except Exception as error:  # the parent reports it; a traceback here would reach the terminal
        told = str(error).strip().split("\n")[0]
        sender.send(DeviceError(f"measuring failed: {type(error).__name__}: {told}"))
    finally:
        sender.close()


def _measure(
    request: ProfileRequest, name: str, packed: _PackedMask | None, mask_s: float
) -> MethodCost:
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
    method = FINETUNE_METHODS.get(name)
    mask = _unpack(request, session, method.mask_rule, packed) if packed is not None else None
    job = make_job(
        session, make_trainee(session, method, asked, mask), request.task, config, silent
    )
    live = count_live(job)
    with PeakMemory(runtime.device) as memory:
        records = train(job)[WARMUP_STEPS:]
    return MethodCost(
        method=name,
        live=live,
        forward_backward=summarize_timings([record.forward_backward_s for record in records]),
        optimizer=summarize_timings([record.optimizer_s for record in records]),
        total=summarize_timings([record.total_s for record in records]),
        mask_s=mask_s,
        start_bytes=memory.start_bytes,
        peak_bytes=memory.peak_bytes,
        memory_source=memory.source,
        batch_size=min(config.batch_size, len(job.labels)),
    )


def _calibrate(request: ProfileRequest, rule_name: str) -> tuple[_PackedMask, float]:
    """The task's mask by a rule with its default options, and the seconds that it took."""
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
    began = time.perf_counter()
    live = rule.run(rule.configure({}), context).select(context, request.sparsity)
    seconds = time.perf_counter() - began
    return {name: flags.numpy() for name, flags in live.items()}, seconds


def _unpack(request: ProfileRequest, session: Session, rule: str, packed: _PackedMask) -> Mask:
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
    live = {name: torch.from_numpy(flags) for name, flags in packed.items() if flags.any()}
    return Mask(header, live, {name: structure.shapes[name] for name in structure.maskable})
