"""``talos add``: one model from several task vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.artifacts import TaskVector, file_hash
from talos_engine.data.splits import find_task
from talos_engine.errors import OptionError
from talos_engine.evaluation.coefficients import DEFAULT_GRID, coefficient_grid
from talos_engine.evaluation.editing import EditedEncoder, SearchResult, search_addition
from talos_engine.merging.methods.sum import SumConfig, sum_vectors
from talos_engine.merging.ops import apply_deltas
from talos_engine.merging.spec import MERGE_METHODS, MergeEntry
from talos_engine.models.spec import BaseWeights
from talos_engine.progress import Progress, silent
from talos_engine.workflows.editing import (
    EditResult,
    check_edit_outputs,
    write_edited,
    write_search_report,
)
from talos_engine.workflows.expansion import vectors_evaluation
from talos_engine.workflows.opening import (
    Common,
    apply_vector,
    check_base,
    check_encoder_only,
    check_single_base,
    merge_order,
    open_session,
    read_vectors,
)
from talos_engine.workflows.vector import header_sparsity


@dataclass(frozen=True)
class AddRequest:
    """What to add.

    Args:
        vectors: Vector files, at least one.
        out: The checkpoint file to write.
        model: The base; ``None`` takes the one that the vectors record.
        method: Name of the merging method.
        options: Options of that method by name; ``None`` means not given.
        coefs: One coefficient for all vectors or one per vector, any sign; empty with ``search``.
        search: Choose one coefficient for all on validation data.
        tasks: Tasks to search on; empty means those that the vectors were trained on.
        grid: Kind of grid to search, see ``coefficient_grid``; ``None`` is ``union``.
        common: Device, precision, overwriting.
    """

    vectors: tuple[Path, ...]
    out: Path
    model: str | None = None
    method: str = "sum"
    options: Mapping[str, Any] = field(default_factory=dict)
    coefs: tuple[float, ...] = ()
    search: bool = False
    tasks: tuple[str, ...] = ()
    grid: str | None = None
    common: Common = field(default_factory=Common)


def add_vectors(request: AddRequest, progress: Progress = silent) -> EditResult:
    """A checkpoint file of ``θ0 + α · combine(τ_1, τ_2, …)`` (Eq. 1 of arXiv:2504.02620).

    A single vector added with coefficient 1 gives back its fine-tuned model bit for bit.

    Raises:
        OptionError: options that contradict each other.
        MismatchError: vectors of different bases, names or shapes.
        OutputError: the result cannot be written.
    """
    method, config = check_add(request)
    vectors, weights = read_vectors(request.vectors, request.model)
    base = check_base(weights, vectors[0].header.base, request.vectors[0])
    evaluation = vectors_evaluation(request.vectors, [each.header for each in vectors], weights)
    order = merge_order(vectors)
    given = request.coefs if len(request.coefs) == len(vectors) > 1 else (1.0,) * len(vectors)
    ordered = [vectors[position] for position in order]
    combined = method.run(config, ordered, [given[position] for position in order])
    search, report, coef = None, None, 1.0
    if request.search:
        search = _search(request, vectors, weights, combined, progress)
        coef = search.chosen.coef
    elif len(request.coefs) == 1:
        coef = request.coefs[0]
    if method.exact_for_one and len(vectors) == 1 and coef * given[0] == 1.0:
        changed = apply_vector(weights, vectors[0])
    else:
        changed = apply_deltas(weights.tensors, combined, coef)
    coefs = tuple(value * coef for value in given)
    if search is not None:
        settings = {"method": request.method, "grid": request.grid or DEFAULT_GRID}
        report = write_search_report(
            request.out, "add", list(request.vectors), search, settings, request.common
        )
    write_edited(
        request.out,
        weights,
        base,
        changed,
        method=f"add:{request.method}",
        config=_config(request, config, order, vectors, coefs),
        common=request.common,
        evaluation=evaluation,
    )
    return EditResult(request.out, coefs, search, report)


def check_add(request: AddRequest) -> tuple[MergeEntry, Any]:
    """The merging method and its configuration, everything that needs no file being checked."""
    _check_options(request)
    method = MERGE_METHODS.get(request.method)
    config = method.configure(request.options)
    for name in request.tasks:
        find_task(name)
    request.common.runtime()
    check_edit_outputs(request.out, request.common, search=request.search)
    return method, config


def _check_options(request: AddRequest) -> None:
    count = len(request.vectors)
    if count == 0:
        raise OptionError("no vector given")
    if any(not math.isfinite(coef) for coef in request.coefs):
        raise OptionError("--coef must be a finite number")
    if request.search and request.coefs:
        raise OptionError("--search and --coef exclude each other")
    if not request.search and len(request.coefs) not in (1, count):
        how = "none" if not request.coefs else f"{len(request.coefs)} values"
        raise OptionError(
            f"--coef must be given once, or once per vector ({count}); got {how}",
            "or choose one on validation data with --search",
        )
    if (request.tasks or request.grid) and not request.search:
        raise OptionError("--task and --grid only go with --search")


def _search(
    request: AddRequest,
    vectors: Sequence[TaskVector],
    weights: BaseWeights,
    combined: Mapping[str, Tensor],
    progress: Progress,
) -> SearchResult:
    by_task = {vector.header.task: vector for vector in vectors}
    names = search_tasks(request, [vector.header.task for vector in vectors])
    check_single_base(weights, vectors[0].header.base, request.vectors[0])
    session = open_session(weights, request.common.runtime())
    check_encoder_only(combined, session.backbone.structure, "a vector")
    evaluation = vectors_evaluation(request.vectors, [each.header for each in vectors], weights)
    tasks = [session.evaluation_task(name, "val", evaluation=evaluation) for name in names]
    return search_addition(
        EditedEncoder(session.backbone, session.runtime),
        combined,
        {name: sum_vectors(SumConfig(), [by_task[name]], [1.0]) for name in names},
        tasks,
        coefficient_grid(
            request.grid or DEFAULT_GRID, [header_sparsity(vector.header) for vector in vectors]
        ),
        progress,
    )


def search_tasks(request: AddRequest, recorded: Sequence[str]) -> tuple[str, ...]:
    """The tasks to search on: those asked for, else those that the vectors record.

    Raises:
        OptionError: a task has no vector, or several vectors are of one task.
    """
    names = request.tasks or tuple(recorded)
    if len(set(recorded)) < len(recorded):
        raise OptionError("--search needs vectors of different tasks", "use --coef")
    for name in names:
        if name not in recorded or not name:
            raise OptionError(
                f"--search normalizes by single-task accuracy, but no vector is of task {name!r}",
                f"tasks of the vectors: {', '.join(sorted(filter(None, recorded))) or 'unknown'}",
            )
        find_task(name)
    return names


def _config(
    request: AddRequest,
    config: Any,
    order: Sequence[int],
    vectors: Sequence[TaskVector],
    coefs: Sequence[float],
) -> dict[str, Any]:
    return {
        "options": asdict(config),
        "inputs": [
            {
                "task": vectors[position].header.task,
                "method": vectors[position].header.method,
                "coef": coefs[position],
                "sha256": file_hash(request.vectors[position]),
            }
            for position in order
        ],
    }
