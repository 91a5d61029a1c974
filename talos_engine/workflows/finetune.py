"""``talos finetune``: a checkpoint of the model trained on one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from talos_engine.artifacts import (
    LINEARIZED,
    PLAIN,
    Header,
    Mask,
    file_hash,
    read_mask,
    reserve_output,
)
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import OptionError
from talos_engine.models.loading import find_spec, load_weights, open_skeleton
from talos_engine.models.spec import BaseWeights
from talos_engine.progress import Progress, silent
from talos_engine.training.early_stopping import EarlyStopping
from talos_engine.training.loop import StepRecord, TrainConfig, TrainJob, train
from talos_engine.training.resuming import kept_bytes
from talos_engine.training.spec import FINETUNE_METHODS, FinetuneEntry, Trainable, Trainee
from talos_engine.workflows.bases import check_base, check_flags
from talos_engine.workflows.checkpoints import check_model_output, write_model
from talos_engine.workflows.observing import log_steps, validate_with
from talos_engine.workflows.opening import (
    Common,
    Session,
    check_inputs,
    named_paths,
    open_session,
)
from talos_engine.workflows.training_log import open_log
from talos_engine.workflows.unfinished import (
    Persistence,
    check_persistence,
    check_places,
    forget_unfinished,
    hints_about_state,
    make_keeping,
)

MEASUREMENTS = 20  # of early stopping over a whole run, unless said otherwise


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
        options: Options of the method by name; ``None`` means not given.
        kept: What is written while the run trains.
    """

    model: str
    task: str
    method: str
    out: Path
    mask: Path | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    common: Common = field(default_factory=Common)
    options: Mapping[str, Any] = field(default_factory=dict)
    kept: Persistence = field(default_factory=Persistence)


@dataclass(frozen=True)
class FinetuneResult:
    """What was trained.

    Args:
        path: The checkpoint file.
        trained: Number of live entries.
        config: The resolved hyper-parameters.
        records: One record per step made by this call.
        first: Steps that an earlier, interrupted run had made.
        stopping: Early stopping as the run left it, where it was asked for.
    """

    path: Path
    trained: int
    config: TrainConfig
    records: tuple[StepRecord, ...]
    first: int = 0
    stopping: EarlyStopping | None = None

    @property
    def steps(self) -> int:
        """Steps made in all."""
        return self.first + len(self.records)

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping spared steps; patience may also run out with the last one."""
        over = self.stopping is not None and self.stopping.over
        return over and self.steps < self.config.steps


def finetune(request: FinetuneRequest, progress: Progress = silent) -> FinetuneResult:
    """A checkpoint file for one task; frozen entries have θ0's bits.

    Raises:
        OptionError: an option outside its range or missing.
        UnknownNameError: no such model, task or method.
        MismatchError: the mask belongs to another base, or the state to go on with to another run.
        OutputError: the result cannot be written, or another run is making it.
        TrainingError: the loss became NaN or infinite.
    """
    method, mask, config = check_finetune(request)
    with reserve_output(request.out):
        check_persistence(request.out, request.kept, force=request.common.force)
        return _finetune(request, method, mask, config, progress)


def _finetune(
    request: FinetuneRequest,
    method: FinetuneEntry,
    mask: Mask | None,
    config: TrainConfig,
    progress: Progress,
) -> FinetuneResult:
    weights = load_weights(request.model, request.common.pretrained)
    if mask is not None and request.mask is not None:
        check_base(weights, mask.header.base, request.mask)
    session = open_session(weights, request.common.runtime())
    header = _make_header(request, method, mask, config, weights)
    trainee = make_trainee(session, method, request, mask)
    job = make_job(session, trainee, request.task, config, progress)
    _check_space(request, weights, job)
    stops = config.early_stop > 0
    keeping = make_keeping(request.out, request.kept, header, session.runtime, stops_early=stops)
    first = keeping.start.step if keeping is not None and keeping.start is not None else 0
    with open_log(request.kept.log, first) as log, hints_about_state(request.out):
        observe = log_steps(log, session, request.task, request.kept.log_drift, config.seed)
        stopping = validate_with(log, session, trainee, request.task, config) if stops else None
        records = train(replace(job, stopping=stopping, keeping=keeping, observe=observe))
    trainee.settle()
    state = {name: value.cpu() for name, value in session.backbone.encoder_state().items()}
    tensors = {**weights.tensors, **state}
    write_model(request.out, weights, header, tensors, force=request.common.force)
    forget_unfinished(request.out)
    return FinetuneResult(
        path=request.out,
        trained=count_live(job),
        config=config,
        records=tuple(records),
        first=first,
        stopping=stopping,
    )


def check_finetune(
    request: FinetuneRequest, *, weights: bool = True
) -> tuple[FinetuneEntry, Mask | None, TrainConfig]:
    """Method, mask and hyper-parameters, everything that needs no weights being checked.

    Args:
        request: What is asked for.
        weights: Whether the model's weights must be to be had.
    """
    method = FINETUNE_METHODS.get(request.method)
    method.configure(request.options)
    if request.kept.log_drift and not method.in_place:
        raise OptionError(
            f"--log-drift does not go with --method {method.name}",
            "it needs a method that trains the encoder's own parameters as they are",
        )
    check_inputs(request.model, request.common, [request.task], weights=weights)
    read = named_paths(request.model, request.common.pretrained)
    check_places(request.out, request.kept, [*read, *([request.mask] if request.mask else [])])
    check_model_output(
        request.out, request.model, request.common.pretrained, force=request.common.force
    )
    request.common.runtime()
    config = resolve_training(request)
    mask = read_mask(request.mask) if request.mask is not None else None
    structure = open_skeleton(request.model, request.common.pretrained).structure
    check_flags(method, request.options, structure, mask, request.mask)
    return method, mask, config


def resolve_training(request: FinetuneRequest) -> TrainConfig:
    """The hyper-parameters: what was given, else the model's defaults for the method.

    Raises:
        OptionError: a value outside its range.
    """
    known = find_spec(request.model, request.common.pretrained).training_defaults
    defaults = {**known[""], **known.get(request.method, {})}
    given = {name: value for name, value in request.training.items() if value is not None}
    resolved = {**defaults, **given, "seed": request.common.seed}
    steps = max(resolved["steps"], 0)
    if "warmup" not in given:  # a short run must still reach its learning rate
        resolved["warmup"] = min(defaults["warmup"], steps // 10)
    if resolved.get("early_stop") and "validate_every" not in given:
        resolved["validate_every"] = max(1, steps // MEASUREMENTS)
    return TrainConfig(**resolved)


def make_trainee(
    session: Session, method: FinetuneEntry, request: FinetuneRequest, mask: Mask | None
) -> Trainee:
    """What the loop works on for a method and a task."""
    options = method.configure(request.options)
    return method.adapt(
        options,
        Trainable(
            backbone=session.backbone,
            classifier=session.classifier(request.task),
            flags=method.run(options, session.backbone.structure, mask),
            seed=request.common.seed,
        ),
    )


def make_job(
    session: Session, trainee: Trainee, task: str, config: TrainConfig, progress: Progress
) -> TrainJob:
    """The training job on a task."""
    inputs, labels = session.prepare(load_split(find_task(task), "train"))
    return TrainJob(
        classifier=trainee.classifier,
        parameters=trainee.parameters,
        live=trainee.live,
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


def _make_header(
    request: FinetuneRequest,
    method: FinetuneEntry,
    mask: Mask | None,
    config: TrainConfig,
    weights: BaseWeights,
) -> Header:
    return Header(
        kind="checkpoint",
        base=weights.info,
        method=request.method,
        task=request.task,
        config={
            **asdict(config),
            **request.common.recorded(),
            "mask": _describe_mask(request.mask, mask),
            "options": asdict(method.configure(request.options)),
            "evaluation": LINEARIZED if method.linearized else PLAIN,
        },
        seed=request.common.seed,
        data=load_split(find_task(request.task), "train").fingerprint,
    )


def _check_space(request: FinetuneRequest, weights: BaseWeights, job: TrainJob) -> None:
    """Raise before the first step if the results would not fit on their disk."""
    needed = sum(tensor.nbytes for tensor in weights.tensors.values())
    if request.kept.checkpoint_every:
        needed += kept_bytes(count_live(job))
    check_model_output(
        request.out,
        request.model,
        request.common.pretrained,
        force=request.common.force,
        needed_bytes=needed,
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
