"""``talos evaluate``: accuracy of checkpoints on tasks, absolute and normalized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talos_engine.artifacts import (
    LINEARIZED,
    PLAIN,
    BaseInfo,
    Header,
    artifact_hash,
    check_distinct,
    check_output,
    inspect_kind,
    open_tensors,
    open_vector,
    read_checkpoint,
    read_checkpoint_header,
    read_vector,
    recorded_evaluation,
    write_metrics,
)
from talos_engine.configuration import check_choice
from talos_engine.data.splits import SPLIT_NAMES
from talos_engine.errors import MismatchError, OptionError
from talos_engine.evaluation.accuracy import (
    Accuracy,
    EvaluationTask,
    mean_accuracy,
    measure_accuracy,
    normalize_accuracy,
)
from talos_engine.merging.ops import touched_names
from talos_engine.models.spec import BaseWeights
from talos_engine.models.structure import EncoderStructure
from talos_engine.progress import Progress, silent
from talos_engine.workflows.bases import (
    check_base,
    check_encoder_only,
    check_expansion_point,
    check_single_base,
)
from talos_engine.workflows.opening import Common, check_inputs, open_session, resolve_model
from talos_engine.workflows.vector_reading import apply_vector


@dataclass(frozen=True)
class EvaluateRequest:
    """What to evaluate.

    Args:
        checkpoints: Checkpoint or vector files; a vector stands for ``θ0 + 1·τ``. Empty evaluates
            the base itself.
        tasks: Tasks to evaluate on, at least one.
        out: JSON file to write, if any.
        model: The base; ``None`` takes the one that the files record.
        split: ``test``, ``val`` or ``train``.
        singles: Single-task checkpoints or vectors, one per task, whose accuracy normalizes.
        linearize: Evaluate every model linearized at the base, whatever its file records (Fig. 6
            of arXiv:2504.02620); without it, those whose file records it.
        common: Device, precision, overwriting.
    """

    checkpoints: tuple[Path, ...]
    tasks: tuple[str, ...]
    out: Path | None = None
    model: str | None = None
    split: str = "test"
    singles: tuple[Path, ...] = ()
    linearize: bool = False
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class EvaluatedModel:
    """Accuracies of one model.

    Args:
        path: Its file; ``None`` for the base.
        method: What made it; empty for the base.
        evaluation: ``plain`` or ``linearized``.
        accuracies: By task.
        mean: Mean accuracy over tasks.
        normalized: Mean normalized accuracy, where single-task models were given.
    """

    path: Path | None
    method: str
    evaluation: str
    accuracies: Mapping[str, Accuracy]
    mean: float
    normalized: float | None


@dataclass(frozen=True)
class EvaluateResult:
    """All models that were evaluated.

    Args:
        path: The JSON file, where one was asked for.
        models: In the order given.
        metrics: What the JSON file holds.
    """

    path: Path | None
    models: tuple[EvaluatedModel, ...]
    metrics: Mapping[str, Any]


def evaluate(request: EvaluateRequest, progress: Progress = silent) -> EvaluateResult:
    """Accuracy of each model on each task; normalized too where single-task models are given.

    Raises:
        OptionError: no task, a task twice, or single-task models that do not cover the tasks.
        MismatchError: a file belongs to another base.
        OutputError: the result cannot be written.
    """
    headers = check_evaluate(request)
    paths = (*request.checkpoints, *request.singles)
    recorded = [headers[path].base for path in paths]
    weights = resolve_model(request.model, recorded, request.common.pretrained)
    for path in paths:
        check_base(weights, headers[path].base, path)
        _check_layout(path, weights.tensors)
        if _evaluation(request, headers, path) == LINEARIZED:
            check_expansion_point(weights, headers[path].base, path)
    for path in request.singles:
        check_single_base(weights, headers[path].base, path)
    singles = _assign_singles(request, headers)
    session = open_session(weights, request.common.runtime())
    tasks = [session.evaluation_task(name, request.split) for name in request.tasks]
    total = max(1, len(request.checkpoints)) * len(tasks) + len(singles)
    meter = _Meter(progress, total)

    def load(path: Path | None) -> None:
        session.backbone.set_weights(weights.tensors)
        if path is not None:
            session.backbone.set_weights(_read_tensors(path, weights, session.backbone.structure))

    def measure(task: EvaluationTask, evaluation: str) -> Accuracy:
        shown = session.linearized(task) if evaluation == LINEARIZED else task
        accuracy = measure_accuracy(shown, session.runtime)
        meter.advance()
        return accuracy

    reference: dict[str, float] = {}
    for task in tasks:
        if task.name in singles:
            single = singles[task.name]
            load(single)
            reference[task.name] = measure(task, _evaluation(request, headers, single)).value
    models = []
    candidates: tuple[Path | None, ...] = request.checkpoints or (None,)
    for candidate in candidates:
        load(candidate)
        evaluation = _evaluation(request, headers, candidate)
        accuracies = {task.name: measure(task, evaluation) for task in tasks}
        values = {name: accuracy.value for name, accuracy in accuracies.items()}
        normalized = normalize_accuracy(values, reference) if reference else None
        method = headers[candidate].method if candidate is not None else ""
        models.append(
            EvaluatedModel(
                candidate, method, evaluation, accuracies, mean_accuracy(accuracies), normalized
            )
        )
    metrics = _metrics(request, models, reference, weights)
    if request.out is not None:
        write_metrics(request.out, metrics, force=request.common.force)
    return EvaluateResult(request.out, tuple(models), metrics)


def check_evaluate(
    request: EvaluateRequest, recorded: BaseInfo | None = None, *, weights: bool = True
) -> dict[Path, Header]:
    """Headers of all files, everything that needs no weights being checked.

    Args:
        request: What is asked for.
        recorded: The base if nothing else names it.
        weights: Whether the model's weights must be to be had.
    """
    check_choice("split", request.split, SPLIT_NAMES)
    if not request.tasks:
        raise OptionError("no task given", "say --task NAME, once per task")
    if len(set(request.tasks)) < len(request.tasks):
        raise OptionError("a task is given twice")
    request.common.runtime()
    if request.out is not None:
        check_distinct({"--out": request.out}, (*request.checkpoints, *request.singles))
        check_output(request.out, force=request.common.force)
    paths = (*request.checkpoints, *request.singles)
    headers = {path: _read_header(path) for path in paths}
    base = next((header.base for header in headers.values()), recorded)
    check_inputs(request.model, request.common, request.tasks, base, weights=weights)
    _assign_singles(request, headers)
    return headers


def _evaluation(request: EvaluateRequest, headers: Mapping[Path, Header], path: Path | None) -> str:
    if request.linearize:
        return LINEARIZED
    return PLAIN if path is None else recorded_evaluation(headers[path], path)


@dataclass
class _Meter:
    progress: Progress
    total: int
    done: int = 0

    def advance(self) -> None:
        self.done += 1
        self.progress("evaluating", self.done, self.total)


def _read_header(path: Path) -> Header:
    if inspect_kind(path) == "vector":
        with open_vector(path) as file:
            return file.header
    return read_checkpoint_header(path)


def _check_layout(path: Path, theta0: Mapping[str, Tensor]) -> None:
    """Raise unless names, shapes and dtypes are the base's; reads the header only."""
    if inspect_kind(path) == "vector":
        with open_vector(path) as file:
            found = {name: _describe(file.dtypes[name], file.shapes[name]) for name in file.shapes}
        names = sorted(found)
    else:
        with open_tensors(path) as tensors:
            found = {
                name: _describe(spec.dtype, spec.shape) for name, spec in tensors.specs.items()
            }
        names = sorted(found.keys() | theta0.keys())
    for name in names:
        base = theta0.get(name)
        expected = "nothing" if base is None else _describe(base.dtype, tuple(base.shape))
        if found.get(name, "nothing") != expected:
            raise MismatchError(
                f"{path} does not fit the model at {name!r}: "
                f"expected {expected}, found {found.get(name, 'nothing')}"
            )


def _describe(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"{dtype} of shape {tuple(shape)}"


def _read_tensors(
    path: Path, weights: BaseWeights, structure: EncoderStructure
) -> Mapping[str, Tensor]:
    """The tensors in which a file differs from the base, all of them in the encoder."""
    if inspect_kind(path) == "vector":
        vector = read_vector(path)
        check_encoder_only(touched_names([vector]), structure, str(path))
        return apply_vector(weights, vector)
    changed = {
        name: tensor
        for name, tensor in read_checkpoint(path).tensors.items()
        if not torch.equal(tensor, weights.tensors[name])
    }
    check_encoder_only(changed, structure, str(path))
    return changed


def _assign_singles(request: EvaluateRequest, headers: Mapping[Path, Header]) -> dict[str, Path]:
    if not request.singles:
        return {}
    by_task = {headers[path].task: path for path in request.singles}
    extra = sorted(by_task.keys() - set(request.tasks))
    if extra or len(by_task) < len(request.singles):
        what = f"of task {extra[0]!r}, which is not evaluated" if extra else "of one task twice"
        raise OptionError(f"--single gives a model {what}")
    missing = [name for name in request.tasks if name not in by_task]
    if missing:
        raise OptionError(
            f"--single gives no model of task {missing[0]!r}",
            f"tasks given: {', '.join(sorted(by_task))}",
        )
    return {name: by_task[name] for name in request.tasks}


def _metrics(
    request: EvaluateRequest,
    models: list[EvaluatedModel],
    reference: Mapping[str, float],
    weights: BaseWeights,
) -> dict[str, Any]:
    results = []
    for model in models:
        tasks = {
            name: {"accuracy": accuracy.value, "correct": accuracy.correct, "n": accuracy.n}
            for name, accuracy in model.accuracies.items()
        }
        result: dict[str, Any] = {
            "input": None
            if model.path is None
            else {"path": str(model.path), "sha256": artifact_hash(model.path)},
            "method": model.method,
            "evaluation": model.evaluation,
            "tasks": tasks,
            "mean": model.mean,
        }
        if model.normalized is not None:
            result["normalized"] = model.normalized
        results.append(result)
    metrics: dict[str, Any] = {
        "schema": 1,
        "command": "evaluate",
        "model": {"name": weights.info.name, "hash": weights.info.hash},
        "split": request.split,
        **request.common.recorded(),
        "results": results,
    }
    if reference:
        metrics["single"] = dict(reference)
        metrics["single_inputs"] = [
            {"path": str(path), "sha256": artifact_hash(path)} for path in request.singles
        ]
    if len(results) == 1:  # so that scripts can say .mean
        metrics |= {
            key: results[0][key] for key in ("tasks", "mean", "normalized") if key in results[0]
        }
    return metrics
