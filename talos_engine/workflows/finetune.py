"""``talos finetune``: a checkpoint of the model trained on one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.artifacts import (
    Checkpoint,
    Header,
    Mask,
    check_output,
    file_hash,
    read_mask,
    write_checkpoint,
)
from talos_engine.data.splits import find_task, load_split
from talos_engine.models.loading import architecture_name, check_model_name, load_weights
from talos_engine.models.spec import MODELS
from talos_engine.progress import Progress, silent
from talos_engine.training.loop import StepRecord, TrainConfig, TrainJob, train
from talos_engine.training.spec import FINETUNE_METHODS, FinetuneEntry
from talos_engine.workflows.opening import Common, Session, check_base, open_session


@dataclass(frozen=True)
class FinetuneRequest:
    """What to fine-tune.

    Args:
        model: Catalog name or checkpoint path.
        task: Task whose training split is used.
        method: Name of the fine-tuning method.
        out: The checkpoint file to write.
        mask: Mask file, for methods that need one.
        training: Hyper-parameters by name of ``TrainConfig`` field; ``None`` means the model's
            default for the method.
        common: Seed, device, precision, overwriting.
    """

    model: str
    task: str
    method: str
    out: Path
    mask: Path | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class FinetuneResult:
    """What was trained.

    Args:
        path: The checkpoint file.
        trained: Number of live entries.
        config: The resolved hyper-parameters.
        records: One record per step.
    """

    path: Path
    trained: int
    config: TrainConfig
    records: tuple[StepRecord, ...]


def finetune(request: FinetuneRequest, progress: Progress = silent) -> FinetuneResult:
    """A checkpoint file for one task; frozen entries have θ0's bits.

    Raises:
        OptionError: an option outside its range or missing.
        UnknownNameError: no such model, task or method.
        MismatchError: the mask belongs to another base.
        OutputError: the result cannot be written.
        TrainingError: the loss became NaN or infinite.
    """
    method, mask, config = check_finetune(request)
    spec = find_task(request.task)
    weights = load_weights(request.model)
    if mask is not None and request.mask is not None:
        check_base(weights, mask.header.base, request.mask)
    session = open_session(weights, request.common.runtime())
    job = make_job(session, method, mask, request.task, config, progress)
    records = train(job)
    state = {name: value.cpu() for name, value in session.backbone.encoder_state().items()}
    examples = load_split(spec, "train")
    header = Header(
        kind="checkpoint",
        base=weights.info,
        method=request.method,
        task=request.task,
        config={
            **asdict(config),
            **request.common.recorded(),
            "mask": _describe_mask(request.mask, mask),
        },
        seed=request.common.seed,
        data=examples.fingerprint,
    )
    tensors = {**weights.tensors, **state}
    write_checkpoint(request.out, Checkpoint(header, tensors), force=request.common.force)
    return FinetuneResult(request.out, count_live(job), config, tuple(records))


def check_finetune(request: FinetuneRequest) -> tuple[FinetuneEntry, Mask | None, TrainConfig]:
    """Method, mask and hyper-parameters, everything that needs no weights being checked."""
    method = FINETUNE_METHODS.get(request.method)
    check_model_name(request.model)
    find_task(request.task)
    check_output(request.out, force=request.common.force)
    request.common.runtime()
    config = resolve_training(request)
    mask = read_mask(request.mask) if request.mask is not None else None
    return method, mask, config


def resolve_training(request: FinetuneRequest) -> TrainConfig:
    """The hyper-parameters: what was given, else the model's defaults for the method.

    Raises:
        OptionError: a value outside its range.
    """
    known = MODELS.get(architecture_name(request.model)).training_defaults
    defaults = {**known[""], **known.get(request.method, {})}
    given = {name: value for name, value in request.training.items() if value is not None}
    resolved = {**defaults, **given, "seed": request.common.seed}
    if "warmup" not in given:  # a short run must still reach its learning rate
        resolved["warmup"] = min(defaults["warmup"], max(resolved["steps"], 0) // 10)
    return TrainConfig(**resolved)


def make_job(
    session: Session,
    method: FinetuneEntry,
    mask: Mask | None,
    task: str,
    config: TrainConfig,
    progress: Progress,
) -> TrainJob:
    """The training job of a method on a task."""
    trains = method.run(method.configure({}), session.backbone.structure, mask)
    state = session.backbone.encoder_state()
    inputs, labels = session.prepare(load_split(find_task(task), "train"))
    return TrainJob(
        classifier=session.classifier(task),
        parameters={name: state[name] for name in state if name in trains},
        live={name: flags for name, flags in trains.items() if isinstance(flags, Tensor)},
        inputs=inputs,
        labels=labels,
        config=config,
        runtime=session.runtime,
        progress=progress,
    )


def count_live(job: TrainJob) -> int:
    """Number of entries that the job trains."""
    return sum(
        int(job.live[name].sum()) if name in job.live else parameter.numel()
        for name, parameter in job.parameters.items()
    )


def _describe_mask(path: Path | None, mask: Mask | None) -> dict[str, Any] | None:
    if path is None or mask is None:
        return None
    return {
        "method": mask.header.method,
        "task": mask.header.task,
        "sparsity": mask.sparsity,
        "hash": file_hash(path),
    }
