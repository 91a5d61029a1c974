"""``talos negate``: a model that has forgotten one task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talos_engine.configuration import check_fraction
from talos_engine.data.splits import find_task
from talos_engine.errors import OptionError
from talos_engine.evaluation.coefficients import DEFAULT_GRID, coefficient_grid
from talos_engine.evaluation.editing import EditedEncoder, SearchResult, search_negation
from talos_engine.merging.ops import apply_combined
from talos_engine.merging.spec import MERGE_METHODS, Combine, MergeContext, MergeEntry
from talos_engine.progress import Progress, silent
from talos_engine.workflows.bases import check_encoder_only
from talos_engine.workflows.editing import (
    Card,
    EditResult,
    card_path,
    check_edit_outputs,
    flags_of,
    report_path,
    shard_words,
    write_card,
    write_search_report,
)
from talos_engine.workflows.merging import MergeInputs, materialize, open_inputs, write_edited
from talos_engine.workflows.opening import Common, named_paths, open_session
from talos_engine.workflows.vector import header_sparsity
from talos_engine.workflows.vector_options import (
    arrange,
    configure,
    marks,
    own_options,
    shared_options,
)

DEFAULT_KEEP = 0.95


@dataclass(frozen=True)
class NegateRequest:
    """What to subtract.

    Args:
        vector: Vector file.
        out: The checkpoint file to write.
        model: The base; ``None`` takes the one that the vector records.
        method: Name of the merging method that processes the vector first.
        options: Options of that method by name; ``None`` means not given, a list is one value for
            all vectors or one per vector, the others after the one to subtract.
        others: Vectors of the other tasks, for methods whose result depends on them.
        coef: Coefficient, any sign; ``None`` with ``search``.
        search: Choose the coefficient on validation data.
        task: Task to forget; ``None`` means the one that the vector was trained on.
        control: Task to keep; needed with ``search``.
        keep: Share of the pre-trained control accuracy that must remain, in [0, 1];
            ``None`` is 0.95.
        grid: Kind of grid to search, see ``coefficient_grid``; ``None`` is ``union``.
        shard_bytes: Divide the weights into files of at most this size, in a folder; ``None`` does
            not, or as the model's library does.
        common: Seed (of methods that draw), device, precision, overwriting.
    """

    vector: Path
    out: Path
    model: str | None = None
    method: str = "sum"
    options: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[Path, ...] = ()
    coef: float | None = None
    search: bool = False
    task: str | None = None
    control: str | None = None
    keep: float | None = None
    grid: str | None = None
    shard_bytes: int | None = None
    common: Common = field(default_factory=Common)


def negate_vector(request: NegateRequest, progress: Progress = silent) -> EditResult:
    """A checkpoint file of ``θ0 − α·τ``; the result's coefficient is α, not −α.

    Of methods that process vectors, τ is what they make of this one (in the light of the others).

    Raises:
        OptionError: options that contradict each other.
        MismatchError: a vector is of another base.
        OutputError: the result cannot be written.
    """
    method, config = check_negate(request)
    files = [request.vector, *request.others]
    apart = marks(config, (), len(files))
    with open_inputs(files, request.model, apart, request.common.pretrained) as inputs:
        config = arrange(config, inputs.order)
        own = inputs.order.index(0)
        recorded = inputs.vectors[own].header.task
        if request.search:
            search_tasks(request, recorded)
        weights = [1.0] * len(inputs.vectors)
        merge = method.run(config, inputs.vectors, weights, MergeContext(request.common.seed))
        part = merge.parts[own]
        search, coef = None, request.coef
        if request.search:
            search = _search(request, inputs, own, part, progress)
            coef = search.chosen.coef
        assert coef is not None
        found = _Found(part, coef, search)
        _write(request, method, config, inputs, found)
        report = None if search is None else report_path(request.out)
        return EditResult(request.out, (coef,), search, report, card_path(request.out))


@dataclass(frozen=True)
class _Found:
    """What is subtracted, and how its coefficient was chosen."""

    part: Combine
    coef: float
    search: SearchResult | None


def _write(
    request: NegateRequest,
    method: MergeEntry,
    config: Any,
    inputs: MergeInputs,
    found: _Found,
) -> None:
    """Write the checkpoint, with its card and the report of its search."""
    coef = found.coef
    described = [
        inputs.describe(position, -coef if place == 0 else 0.0, config)
        for position, place in enumerate(inputs.order)
    ]
    own = inputs.order.index(0)
    others = [item for position, item in enumerate(described) if position != own]
    options = shared_options(config)
    listed = sorted(zip(inputs.order, inputs.paths, described, strict=True), key=lambda it: it[0])
    words = ["talos", "negate", str(request.vector)]
    words += [f"--with={path}" for path in request.others]
    words += [f"--model={request.model or inputs.base.name}", *request.common.words()]
    words.append(f"--method={request.method}")
    words += [*flags_of(request.options), f"--coef={coef!r}"]
    if method.draws:
        words.append(f"--seed={request.common.seed}")
    words += shard_words(request.shard_bytes)
    card = Card(
        inputs.base,
        f"negate:{request.method}",
        options,
        [(path, item) for _, path, item in listed],
        [*words, f"--out={request.out}"],
    )

    def write_companions() -> None:
        if found.search is not None:
            vectors = [
                (path, own_options(config, position))
                for _, path, position in sorted(
                    zip(inputs.order, inputs.paths, range(len(inputs.order)), strict=True)
                )
            ]
            task = inputs.vectors[own].header.task
            _write_report(request, task, vectors, options, found.search)
        write_card(request.out, card, force=request.common.force)

    write_edited(
        request.out,
        inputs,
        lambda name, theta0: apply_combined(theta0, found.part, name, -coef),
        header={
            "method": f"negate:{request.method}",
            "config": {
                "options": options,
                "inputs": [described[own]],
                **({"with": others} if others else {}),
            },
            "seed": request.common.seed if method.draws else 0,
        },
        companions=write_companions,
        common=request.common,
        shard_bytes=request.shard_bytes,
    )


def _write_report(
    request: NegateRequest,
    recorded: str,
    vectors: Sequence[tuple[Path, Mapping[str, Any]]],
    options: Mapping[str, Any],
    search: SearchResult,
) -> None:
    settings = {
        "method": request.method,
        "options": dict(options),
        "grid": request.grid or DEFAULT_GRID,
        "keep": _keep(request),
        "task": request.task or recorded,
        "control": request.control,
    }
    write_search_report(request.out, "negate", vectors, search, settings, request.common)


def check_negate(request: NegateRequest) -> tuple[MergeEntry, Any]:
    """The merging method and its configuration, everything that needs no file being checked."""
    _check_options(request)
    method = MERGE_METHODS.get(request.method)
    config = configure(
        method,
        request.options,
        1 + len(request.others),
        "the vector to subtract comes first, then those of --with" if request.others else "",
    )
    if method.learns:
        raise OptionError(
            f"--method {request.method} learns how to add vectors; it does not go with negate"
        )
    if request.others and not method.uses_others:
        raise OptionError(
            f"--with does not go with --method {request.method}, which looks at one vector alone"
        )
    for name in (request.task, request.control):
        if name is not None:
            find_task(name)
    request.common.runtime()
    check_edit_outputs(
        request.out,
        (
            request.vector,
            *request.others,
            *named_paths(request.model, request.common.pretrained),
        ),
        request.common,
        search=request.search,
        sharded=request.shard_bytes is not None,
    )
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
    inputs: MergeInputs,
    own: int,
    part: Combine,
    progress: Progress,
) -> SearchResult:
    header = inputs.vectors[own].header
    target, control = search_tasks(request, header.task)
    session = open_session(inputs.resident(), request.common.runtime())
    difference = materialize(part, inputs.names)
    check_encoder_only(difference, session.backbone.structure, "the vector")
    return search_negation(
        EditedEncoder(session.backbone, session.runtime),
        difference,
        session.evaluation_task(target, "val", evaluation=inputs.evaluation),
        session.evaluation_task(control, "val", evaluation=inputs.evaluation),
        coefficient_grid(request.grid or DEFAULT_GRID, [header_sparsity(header)]),
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
