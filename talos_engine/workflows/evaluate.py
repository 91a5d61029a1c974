"""``talos evaluate``: accuracy of checkpoints on tasks, absolute and normalized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.artifacts import (
    LINEARIZED,
    PLAIN,
    BaseInfo,
    Header,
    artifact_hash,
    check_distinct,
    check_output,
    recorded_evaluation,
    write_metrics,
)
from talos_engine.configuration import check_at_least, check_choice
from talos_engine.data.splits import SPLIT_NAMES
from talos_engine.errors import OptionError
from talos_engine.evaluation.accuracy import (
    Accuracy,
    EvaluationTask,
    mean_accuracy,
    measure_accuracy,
    normalize_accuracy,
)
from talos_engine.evaluation.localization import LocalizationBound, measure_localization
from talos_engine.models.spec import BaseWeights
from talos_engine.progress import Progress, silent
from talos_engine.workflows.bases import (
    check_base,
    check_expansion_point,
    check_single_base,
)
from talos_engine.workflows.edited_files import (
    check_layout,
    read_edit_header,
    read_edited_tensors,
)
from talos_engine.workflows.evaluated import EvaluatedModel, accuracy_ratios, describe_model
from talos_engine.workflows.opening import (
    Common,
    Session,
    check_inputs,
    open_session,
    resolve_model,
)


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
        matrix: Evaluate the base as well and say each model's accuracies as ratios to its (Fig. 3).
        bound: With so many examples of each task, measure how local each model's change is (Eq. 9);
            0 leaves it.
        common: Device, precision, overwriting.
    """

    checkpoints: tuple[Path, ...]
    tasks: tuple[str, ...]
    out: Path | None = None
    model: str | None = None
    split: str = "test"
    singles: tuple[Path, ...] = ()
    linearize: bool = False
    matrix: bool = False
    bound: int = 0
    common: Common = field(default_factory=Common)


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
        check_layout(path, weights.tensors)
        if _evaluation(request, headers, path) == LINEARIZED:
            check_expansion_point(weights, headers[path].base, path)
    for path in request.singles:
        check_single_base(weights, headers[path].base, path)
    singles = _assign_singles(request, headers)
    session = open_session(weights, request.common.runtime())
    tasks = [session.evaluation_task(name, request.split) for name in request.tasks]
    rounds = max(1, len(request.checkpoints)) * (2 if request.bound else 1) + request.matrix
    meter = _Meter(session, tasks, progress, rounds * len(tasks) + len(singles))
    reference: dict[str, float] = {}
    for task in tasks:
        if task.name in singles:
            single = singles[task.name]
            meter.load(single)
            evaluation = _evaluation(request, headers, single)
            reference[task.name] = meter.measure(task, evaluation).value
    before: dict[str, float] = {}
    if request.matrix:
        meter.load(None)
        before = {task.name: meter.measure(task, PLAIN).value for task in tasks}
    models = []
    candidates: tuple[Path | None, ...] = request.checkpoints or (None,)
    for candidate in candidates:
        edited = meter.load(candidate)
        evaluation = _evaluation(request, headers, candidate)
        accuracies = {task.name: meter.measure(task, evaluation) for task in tasks}
        values = {name: accuracy.value for name, accuracy in accuracies.items()}
        bounds = None
        if request.bound:
            bounds = meter.localize(edited, request.bound, request.common.seed)
        models.append(
            EvaluatedModel(
                path=candidate,
                method=headers[candidate].method if candidate is not None else "",
                evaluation=evaluation,
                accuracies=accuracies,
                mean=mean_accuracy(accuracies),
                normalized=normalize_accuracy(values, reference) if reference else None,
                ratios=accuracy_ratios(values, before),
                bounds=bounds,
            )
        )
    metrics = _metrics(request, models, reference, before, weights)
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
    check_at_least("bound", request.bound, 0)
    if (request.matrix or request.bound) and not request.checkpoints:
        what = "--matrix compares" if request.matrix else "--bound measures"
        raise OptionError(f"{what} checkpoints or vectors with the base, and none is given")
    request.common.runtime()
    if request.out is not None:
        check_distinct({"--out": request.out}, (*request.checkpoints, *request.singles))
        check_output(request.out, force=request.common.force)
    paths = (*request.checkpoints, *request.singles)
    headers = {path: read_edit_header(path) for path in paths}
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
    """One model after another in one session, measured on all tasks."""

    session: Session
    tasks: Sequence[EvaluationTask]
    progress: Progress
    total: int
    done: int = 0

    def load(self, path: Path | None) -> Mapping[str, Tensor]:
        """Tensors in which a model differs from the base, now in the backbone."""
        weights, backbone = self.session.weights, self.session.backbone
        backbone.set_weights(weights.tensors)
        edited = {} if path is None else read_edited_tensors(path, weights, backbone.structure)
        backbone.set_weights(edited)
        return edited

    def measure(self, task: EvaluationTask, evaluation: str) -> Accuracy:
        """Accuracy of what is in the backbone."""
        shown = self.session.linearized(task) if evaluation == LINEARIZED else task
        accuracy = measure_accuracy(shown, self.session.runtime)
        self._advance()
        return accuracy

    def localize(
        self, edited: Mapping[str, Tensor], points: int, seed: int
    ) -> dict[str, LocalizationBound]:
        """How local a change is on each task; the backbone is at θ0 afterwards."""
        self.load(None)
        theta0 = self.session.weights.tensors
        change = {name: value - theta0[name] for name, value in edited.items()}
        bounds = {}
        for task in self.tasks:
            part = task.sample(points, seed)
            bounds[task.name] = measure_localization(
                part.classifier, change, part.inputs, part.labels, self.session.runtime
            )
            self._advance()
        return bounds

    def _advance(self) -> None:
        self.done += 1
        self.progress("evaluating", self.done, self.total)


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
    before: Mapping[str, float],
    weights: BaseWeights,
) -> dict[str, Any]:
    results = [describe_model(model) for model in models]
    metrics: dict[str, Any] = {
        "schema": 1,
        "command": "evaluate",
        "model": {"name": weights.info.name, "hash": weights.info.hash},
        "split": request.split,
        **request.common.recorded(),
        "results": results,
    }
    if before:
        metrics["base_accuracy"] = dict(before)
    if request.bound:
        metrics["bound_points"] = request.bound
        metrics["seed"] = request.common.seed
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
