"""``talos evaluate --prune-lowest`` and ``--perturb-lowest``: are insensitive parameters shared?

Each scores file names a task; its lowest-scored entries are zeroed or disturbed in the base, and
the accuracy on every task evaluated is compared with the untouched base's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.artifacts import (
    Header,
    check_distinct,
    check_output,
    file_hash,
    open_tensors,
    read_scores,
    read_scores_header,
    write_metrics,
)
from talos_engine.configuration import check_choice
from talos_engine.errors import CorruptFileError, DataError, MismatchError, OptionError
from talos_engine.evaluation.accuracy import (
    Accuracy,
    EvaluationTask,
    mean_accuracy,
    measure_accuracy,
)
from talos_engine.evaluation.pruning import EDITS, ChosenEntries, choose_lowest_scored
from talos_engine.models.spec import BaseWeights
from talos_engine.models.structure import EncoderStructure
from talos_engine.progress import Progress, silent
from talos_engine.workflows.bases import check_same_base
from talos_engine.workflows.evaluate import EvaluateRequest, check_evaluate
from talos_engine.workflows.opening import Common, Session, open_session, resolve_model


@dataclass(frozen=True)
class LowestEdit:
    """One edit of the base.

    Args:
        edit: ``prune`` or ``perturb``.
        scores: Scores file, of exactly this base.
        fraction: Share of the entries ranked there, lowest first, in (0, 1].
    """

    edit: str
    scores: Path
    fraction: float


@dataclass(frozen=True)
class PruneRequest:
    """What to prune or perturb, and where to measure it.

    Args:
        edits: One row of the result each, at least one.
        tasks: Tasks to evaluate on, at least one.
        out: JSON file to write, if any.
        model: The base; ``None`` takes the one that the scores record.
        split: ``test``, ``val`` or ``train``.
        plot: Picture that will be drawn from the result, checked for writability here.
        common: Seed of the noise, device, precision, overwriting.
    """

    edits: tuple[LowestEdit, ...]
    tasks: tuple[str, ...]
    out: Path | None = None
    model: str | None = None
    split: str = "test"
    plot: Path | None = None
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class EditedModel:
    """What one edit did.

    Args:
        edit: What was asked for.
        task: Task of the scores.
        method: Rule that made the scores.
        chosen: The entries edited.
        accuracies: By task.
        ratios: Accuracy divided by the untouched base's, by task.
    """

    edit: LowestEdit
    task: str
    method: str
    chosen: ChosenEntries
    accuracies: Mapping[str, Accuracy]
    ratios: Mapping[str, float]

    @property
    def mean_ratio(self) -> float:
        """Mean accuracy ratio over tasks."""
        return sum(self.ratios.values()) / len(self.ratios)


@dataclass(frozen=True)
class PruneResult:
    """What was measured.

    Args:
        path: The JSON file, where one was asked for.
        base: Accuracies of the untouched base, by task.
        models: One per edit, in the order given.
        metrics: What the JSON file holds.
    """

    path: Path | None
    base: Mapping[str, Accuracy]
    models: tuple[EditedModel, ...]
    metrics: Mapping[str, Any]


def prune(request: PruneRequest, progress: Progress = silent) -> PruneResult:
    """Accuracy of the base after each edit, absolute and relative to the untouched base.

    Raises:
        OptionError: no edit or task, a task twice, or a fraction outside (0, 1].
        MismatchError: scores were made for another base, or do not have its shapes.
        DataError: the untouched base has accuracy 0 on a task.
        OutputError: the result cannot be written.
    """
    headers = check_prune(request)
    weights = resolve_model(request.model, [headers[0].base], request.common.pretrained)
    for edit, header in zip(request.edits, headers, strict=True):
        _check_exact_base(weights, header, edit.scores)
    session = open_session(weights, request.common.runtime())
    for edit in request.edits:
        _check_shapes(edit.scores, session.backbone.structure)
    tasks = [session.evaluation_task(name, request.split) for name in request.tasks]
    total = 1 + len(request.edits)
    base = _measure(session, tasks)
    progress("evaluating", 1, total)
    for name, accuracy in base.items():
        if accuracy.correct == 0:
            raise DataError(f"no accuracy ratio: the base has accuracy 0 on {name!r}")
    models = []
    for done, (edit, header) in enumerate(zip(request.edits, headers, strict=True), start=2):
        models.append(_measure_edit(edit, header, session, tasks, base, request.common.seed))
        progress("evaluating", done, total)
    metrics = _metrics(request, weights, base, models)
    if request.out is not None:
        write_metrics(request.out, metrics, force=request.common.force)
    return PruneResult(request.out, base, tuple(models), metrics)


def check_prune(request: PruneRequest, *, weights: bool = True) -> list[Header]:
    """Headers of the scores, in the order of the edits; what needs no weights is checked.

    Args:
        request: What is asked for.
        weights: Whether the model's weights must be to be had.
    """
    if not request.edits:
        raise OptionError("nothing to prune or perturb", "say --prune-lowest SCORES F")
    for edit in request.edits:
        check_choice("edit", edit.edit, tuple(EDITS))
        if not 0.0 < edit.fraction <= 1.0:
            raise OptionError(
                f"--{edit.edit}-lowest takes a fraction in (0, 1], not {edit.fraction}"
            )
    scores = [edit.scores for edit in request.edits]
    check_distinct({"--out": request.out, "--plot": request.plot}, scores)
    if request.plot is not None:
        check_output(request.plot, force=request.common.force)
    headers = [read_scores_header(edit.scores) for edit in request.edits]
    for edit, header in zip(request.edits, headers, strict=True):
        _read_exclude(header, edit.scores)
    check_same_base(scores, [header.base for header in headers])
    asked = EvaluateRequest(
        (), request.tasks, request.out, request.model, request.split, common=request.common
    )
    check_evaluate(asked, headers[0].base, weights=weights)
    return headers


def _check_exact_base(weights: BaseWeights, header: Header, path: Path) -> None:
    """Raise unless the scores were made at exactly these weights, edited ones included."""
    if header.base.hash != weights.info.hash:
        raise MismatchError(
            f"{path} was made for another base: it records {header.base.name} "
            f"{header.base.hash[:12]}, the model given is {weights.info.name} "
            f"{weights.info.hash[:12]}",
            "scores hold for the weights at which they were taken; make them for this model",
        )


def _check_shapes(path: Path, structure: EncoderStructure) -> None:
    """Raise unless every maskable parameter has its scores; reads the header only."""
    with open_tensors(path) as file:
        found = {name: tuple(spec.shape) for name, spec in file.specs.items()}
    expected = {name: structure.shapes[name] for name in structure.maskable}
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise MismatchError(
                f"{path} does not fit the model at {name!r}: expected shape "
                f"{expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
            )


def _read_exclude(header: Header, path: Path) -> tuple[str, ...]:
    """Patterns of what the scores' ranking leaves out."""
    patterns = header.config.get("exclude", [])
    if not isinstance(patterns, list) or not all(isinstance(item, str) for item in patterns):
        raise CorruptFileError(f"{path}: config has an exclude that is no list of patterns")
    return tuple(str(item) for item in patterns)


def _measure(session: Session, tasks: Sequence[EvaluationTask]) -> dict[str, Accuracy]:
    return {task.name: measure_accuracy(task, session.runtime) for task in tasks}


def _measure_edit(
    edit: LowestEdit,
    header: Header,
    session: Session,
    tasks: Sequence[EvaluationTask],
    base: Mapping[str, Accuracy],
    seed: int,
) -> EditedModel:
    theta0: Mapping[str, Tensor] = session.weights.tensors
    candidates = session.backbone.structure.candidates(_read_exclude(header, edit.scores))
    scores = read_scores(edit.scores).tensors
    chosen = choose_lowest_scored(theta0, scores, candidates, edit.fraction)
    session.backbone.set_weights(EDITS[edit.edit](theta0, chosen, seed))
    accuracies = _measure(session, tasks)
    session.backbone.set_weights({name: theta0[name] for name in chosen.flags})
    ratios = {name: accuracy.value / base[name].value for name, accuracy in accuracies.items()}
    return EditedModel(edit, header.task, header.method, chosen, accuracies, ratios)


def _metrics(
    request: PruneRequest,
    weights: BaseWeights,
    base: Mapping[str, Accuracy],
    models: Sequence[EditedModel],
) -> dict[str, Any]:
    return {
        "schema": 1,
        "command": "evaluate",
        "model": {"name": weights.info.name, "hash": weights.info.hash},
        "split": request.split,
        "seed": request.common.seed,
        **request.common.recorded(),
        "base": {"tasks": _describe(base), "mean": mean_accuracy(base)},
        "edits": [
            {
                "edit": model.edit.edit,
                "scores": {
                    "path": str(model.edit.scores),
                    "sha256": file_hash(model.edit.scores),
                    "task": model.task,
                    "method": model.method,
                },
                "fraction": model.edit.fraction,
                "count": model.chosen.count,
                "mean_magnitude": model.chosen.mean_magnitude,
                "std": model.chosen.std,
                "tasks": _describe(model.accuracies),
                "mean": mean_accuracy(model.accuracies),
                "ratio": dict(model.ratios),
                "mean_ratio": model.mean_ratio,
            }
            for model in models
        ],
    }


def _describe(accuracies: Mapping[str, Accuracy]) -> dict[str, Any]:
    return {
        name: {"accuracy": accuracy.value, "correct": accuracy.correct, "n": accuracy.n}
        for name, accuracy in accuracies.items()
    }
