"""``talos negate``: a model that has forgotten one task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from talos_engine.artifacts import TaskVector, file_hash
from talos_engine.configuration import check_fraction
from talos_engine.data.splits import find_task
from talos_engine.errors import OptionError
from talos_engine.evaluation.coefficients import DEFAULT_GRID, coefficient_grid
from talos_engine.evaluation.editing import EditedEncoder, SearchResult, search_negation
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
    check_base,
    check_encoder_only,
    open_session,
    read_vectors,
)
from talos_engine.workflows.vector import header_sparsity

DEFAULT_KEEP = 0.95


@dataclass(frozen=True)
class NegateRequest:
    """What to subtract.

    Args:
        vector: Vector file.
        out: The checkpoint file to write.
        model: The base; ``None`` takes the one that the vector records.
        method: Name of the merging method that processes the vector first.
        options: Options of that method by name; ``None`` means not given.
        coef: Coefficient, any sign; ``None`` with ``search``.
        search: Choose the coefficient on validation data.
        task: Task to forget; ``None`` means the one that the vector was trained on.
        control: Task to keep; needed with ``search``.
        keep: Share of the pre-trained control accuracy that must remain, in [0, 1];
            ``None`` is 0.95.
        grid: Kind of grid to search, see ``coefficient_grid``; ``None`` is ``union``.
        common: Device, precision, overwriting.
    """

    vector: Path
    out: Path
    model: str | None = None
    method: str = "sum"
    options: Mapping[str, Any] = field(default_factory=dict)
    coef: float | None = None
    search: bool = False
    task: str | None = None
    control: str | None = None
    keep: float | None = None
    grid: str | None = None
    common: Common = field(default_factory=Common)


def negate_vector(request: NegateRequest, progress: Progress = silent) -> EditResult:
    """A checkpoint file of ``θ0 − α·τ``; the result's coefficient is α, not −α.

    Raises:
        OptionError: options that contradict each other.
        MismatchError: the vector is of another base.
        OutputError: the result cannot be written.
    """
    method, config = check_negate(request)
    (vector,), weights = read_vectors([request.vector], request.model)
    base = check_base(weights, vector.header.base, request.vector)
    evaluation = vectors_evaluation([request.vector], [vector.header], weights)
    difference = method.run(config, [vector], [1.0])
    search, report = None, None
    coef = request.coef
    if request.search:
        search = _search(request, vector, weights, difference, progress)
        coef = search.chosen.coef
    assert coef is not None
    changed = apply_deltas(weights.tensors, difference, -coef)
    described = {
        "task": vector.header.task,
        "method": vector.header.method,
        "coef": -coef,
        "sha256": file_hash(request.vector),
    }
    if search is not None:
        settings = {
            "method": request.method,
            "grid": request.grid or DEFAULT_GRID,
            "keep": _keep(request),
        }
        settings |= {"task": request.task or vector.header.task, "control": request.control}
        report = write_search_report(
            request.out, "negate", [request.vector], search, settings, request.common
        )
    write_edited(
        request.out,
        weights,
        base,
        changed,
        method=f"negate:{request.method}",
        config={"options": asdict(config), "inputs": [described]},
        common=request.common,
        evaluation=evaluation,
    )
    return EditResult(request.out, (coef,), search, report)


def check_negate(request: NegateRequest) -> tuple[MergeEntry, Any]:
    """The merging method and its configuration, everything that needs no file being checked."""
    _check_options(request)
    method = MERGE_METHODS.get(request.method)
    config = method.configure(request.options)
    for name in (request.task, request.control):
        if name is not None:
            find_task(name)
    request.common.runtime()
    check_edit_outputs(request.out, request.common, search=request.search)
    return method, config


def _check_options(request: NegateRequest) -> None:
    if request.keep is not None:
        check_fraction("keep", request.keep)
    if request.coef is not None and not math.isfinite(request.coef):
        raise OptionError("--coef must be a finite number")
    if request.search == (request.coef is not None):
        raise OptionError("give either --coef X or --search with --control TASK")
    if request.search and request.control is None:
        raise OptionError("--search needs --control TASK, the task whose accuracy must be kept")
    only_search = (request.task, request.control, request.keep, request.grid)
    if not request.search and any(value is not None for value in only_search):
        raise OptionError("--task, --control, --keep and --grid only go with --search")


def _keep(request: NegateRequest) -> float:
    return DEFAULT_KEEP if request.keep is None else request.keep


def _search(
    request: NegateRequest,
    vector: TaskVector,
    weights: BaseWeights,
    difference: Mapping[str, Any],
    progress: Progress,
) -> SearchResult:
    target, control = search_tasks(request, vector.header.task)
    session = open_session(weights, request.common.runtime())
    check_encoder_only(difference, session.backbone.structure, "the vector")
    evaluation = vectors_evaluation([request.vector], [vector.header], weights)
    return search_negation(
        EditedEncoder(session.backbone, session.runtime),
        difference,
        session.evaluation_task(target, "val", evaluation=evaluation),
        session.evaluation_task(control, "val", evaluation=evaluation),
        coefficient_grid(request.grid or DEFAULT_GRID, [header_sparsity(vector.header)]),
        _keep(request),
        progress,
    )


def search_tasks(request: NegateRequest, recorded: str) -> tuple[str, str]:
    """Target and control of the search.

    Args:
        request: What was asked for.
        recorded: The task that the vector records.

    Raises:
        OptionError: no target is known, no control given, or both are the same.
    """
    target = request.task or recorded
    if not target:
        raise OptionError(f"{request.vector} records no task", "say --task TASK")
    if request.control is None:
        raise OptionError("--search needs --control TASK, the task whose accuracy must be kept")
    if target == request.control:
        raise OptionError(f"target and control are both {target!r}")
    find_task(target)
    find_task(request.control)
    return target, request.control
