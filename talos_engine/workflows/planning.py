"""``--dry-run``: what a command would do and need. Inputs are checked; no weight is read.

Memory is counted, not measured: parameters, gradients and moments by entries, activations by what
autograd would keep of a forward pass on torch's meta device. The interpreter and libraries, about
500 MB, come on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from talos_engine.artifacts import BaseInfo
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import ModelError, OptionError
from talos_engine.evaluation.coefficients import DEFAULT_GRID
from talos_engine.masking.selection import count_entries, rank_units, unit_counts
from talos_engine.masking.spec import PlanContext
from talos_engine.models.loading import (
    check_model_name,
    open_skeleton,
)
from talos_engine.training.resuming import kept_bytes
from talos_engine.training.spec import FINETUNE_METHODS
from talos_engine.workflows import add, negate
from talos_engine.workflows.add import AddRequest, check_add
from talos_engine.workflows.calibrate import (
    CalibrateRequest,
    check_calibrate,
    dense_defaults,
)
from talos_engine.workflows.disentangle import (
    DisentangleRequest,
    check_disentangle,
    choose_tasks,
)
from talos_engine.workflows.evaluate import EvaluateRequest, check_evaluate
from talos_engine.workflows.evaluation_plan import bound_memory, count_evaluation
from talos_engine.workflows.finetune import FinetuneRequest, check_finetune, resolve_training
from talos_engine.workflows.measuring import WARMUP_STEPS, ProfileRequest
from talos_engine.workflows.negate import NegateRequest, check_negate
from talos_engine.workflows.opening import Common
from talos_engine.workflows.profile import check_profile
from talos_engine.workflows.prune import PruneRequest, check_prune
from talos_engine.workflows.unfinished import check_persistence
from talos_engine.workflows.vector_plan import (
    check_recorded,
    count_edit,
    evaluation_memory,
    plan_inputs,
    vector_memory,
)

_FLOAT = 4  # bytes


@dataclass(frozen=True)
class Plan:
    """What a command would do.

    Args:
        facts: Counts and sizes by name; names ending in ``_bytes`` are bytes.
    """

    facts: Mapping[str, int | str]

    @property
    def memory(self) -> int:
        """Expected peak of memory in bytes, libraries apart."""
        return int(self.facts["memory_bytes"])


def plan_calibrate(request: CalibrateRequest) -> Plan:
    """Entries, examples, memory and disk of a calibration."""
    rule, config = check_calibrate(request, weights=False)
    skeleton = open_skeleton(request.model, request.common.pretrained)
    candidates = skeleton.structure.candidates(request.exclude)
    units = rank_units(skeleton.structure, request.scope)
    live = [sum(unit_counts(candidates, units, sparsity)) for sparsity in request.sparsities]
    total = count_entries(candidates)
    facts: dict[str, int | str] = {
        "method": request.method,
        "scope": request.scope,
        "maskable_entries": total,
        "live_entries": live[0] if len(live) == 1 else ", ".join(map(str, live)),
        "masks": len(live),
        "tensors": len(skeleton.structure.maskable),
        "disk_bytes": len(live) * (total // 8) + (total * _FLOAT if request.save_scores else 0),
    }
    examples = len(load_split(find_task(request.task), rule.split)) if rule.split else 0
    training = dense_defaults(request.model, request.common.pretrained)
    planned = dict(rule.plan(config, PlanContext(skeleton, total, examples, training)))
    memory = skeleton.total_entries * _FLOAT + 2 * total * _FLOAT + planned.pop("memory_bytes", 0)
    facts |= _missing_weights(request.model, request.common)
    return Plan({**facts, **planned, "memory_bytes": memory})


def plan_finetune(request: FinetuneRequest) -> Plan:
    """Entries, steps, memory and disk of a fine-tuning run."""
    method, mask, config = check_finetune(request, weights=False)
    skeleton = open_skeleton(request.model, request.common.pretrained)
    if mask is not None and request.mask is not None:
        check_recorded(request.model, request.common.pretrained, mask.header, request.mask)
    check_persistence(request.out, request.kept, force=request.common.force)
    options = method.configure(request.options)
    trains = method.run(options, skeleton.structure, mask)
    entries = method.count(options, skeleton.structure, trains)
    gradients = sum(math.prod(skeleton.structure.shapes[name]) for name in trains)
    memory = _FLOAT * (2 * skeleton.total_entries + gradients + 4 * entries)
    memory += 8 * sum(int(flags.sum()) for flags in trains.values() if flags is not None)  # where
    if config.early_stop:
        memory += _FLOAT * entries  # the best state
    if method.linearized:  # θ0 beside θ, and their difference
        memory += 2 * skeleton.encoder_entries * _FLOAT
    memory += skeleton.saved_bytes(config.batch_size, list(trains), linearized=method.linearized)
    return Plan(
        {
            "method": request.method,
            "trained_entries": entries,
            "examples": len(load_split(find_task(request.task), "train")),
            "steps": config.steps,
            "batch_size": config.batch_size,
            "grad_accum": config.grad_accum,
            "memory_bytes": memory,
            "disk_bytes": skeleton.total_bytes
            + (kept_bytes(entries) if request.kept.checkpoint_every else 0),
            **_missing_weights(request.model, request.common),
        }
    )


def plan_add(request: AddRequest) -> Plan:
    """Vectors, coefficients to try, memory and disk of an addition."""
    method, config = check_add(request)
    inputs = plan_inputs(request.vectors, request.model, request.common.pretrained)
    add.check_tasks(request, method, inputs.tasks)
    tasks = add.search_tasks(request, inputs.tasks) if request.search else ()
    models = len(inputs.vectors) if method.one_model_per_task else 1
    facts = count_edit(inputs, tasks, request.grid or DEFAULT_GRID, method.passes, models)
    memory = int(facts["memory_bytes"])
    if method.learns:
        skeleton = inputs.skeleton
        memory += vector_memory(inputs.vectors) + evaluation_memory(skeleton)
        memory += skeleton.saved_bytes(config.batch_size, skeleton.structure.trainable)
    return Plan({**facts, "models": models, "memory_bytes": memory})


def plan_negate(request: NegateRequest) -> Plan:
    """Coefficients to try, memory and disk of a negation."""
    method, _ = check_negate(request)
    files = [request.vector, *request.others]
    inputs = plan_inputs(files, request.model, request.common.pretrained)
    tasks = negate.search_tasks(request, inputs.tasks[0]) if request.search else ()
    return Plan(count_edit(inputs, tasks, request.grid or DEFAULT_GRID, method.passes))


def plan_evaluate(request: EvaluateRequest) -> Plan:
    """Models, passes, memory and disk of an evaluation, with its matrix and its bound."""
    headers = check_evaluate(request, weights=False)
    base = next((header.base for header in headers.values()), None)
    for path, header in headers.items():
        check_recorded(request.model, request.common.pretrained, header, path)
    skeleton = open_skeleton(request.model, request.common.pretrained, base)
    parameters = skeleton.total_entries * _FLOAT
    memory = max(
        evaluation_memory(skeleton) + parameters,
        2 * parameters + bound_memory(request, headers, skeleton),
    )
    return Plan(
        {
            **count_evaluation(request, headers, skeleton),
            "memory_bytes": memory,
            **_missing_weights(request.model, request.common, base),
        }
    )


def plan_prune(request: PruneRequest) -> Plan:
    """Models, examples and memory of pruning or perturbing by scores."""
    headers = check_prune(request, weights=False)
    for edit, header in zip(request.edits, headers, strict=True):
        check_recorded(request.model, request.common.pretrained, header, edit.scores)
    skeleton = open_skeleton(request.model, request.common.pretrained, headers[0].base)
    examples = sum(len(load_split(find_task(name), request.split)) for name in request.tasks)
    scored = count_entries(skeleton.structure.candidates())
    return Plan(
        {
            "models": 1 + len(request.edits),
            "tasks": len(request.tasks),
            "examples": examples,
            "memory_bytes": evaluation_memory(skeleton) + 3 * scored * _FLOAT,
            "disk_bytes": 0,
        }
    )


def plan_disentangle(request: DisentangleRequest) -> Plan:
    """Grid points, examples and memory of a disentanglement map."""
    check_disentangle(request)
    check_persistence(request.out, request.kept, force=request.common.force)
    inputs = plan_inputs(request.vectors, request.model, request.common.pretrained)
    tasks = choose_tasks(request, inputs.tasks)
    each = evaluation_memory(inputs.skeleton) + vector_memory(inputs.vectors)
    points = [min(request.points, len(load_split(find_task(name), "test"))) for name in tasks]
    return Plan(
        {
            "grid_points": request.grid**2,
            "examples": sum(points),
            "predictions": request.grid * (request.grid + 1) * sum(points),
            "memory_bytes": request.jobs * each,
            "disk_bytes": 40 * request.grid**2,
        }
    )


def plan_profile(request: ProfileRequest) -> Plan:
    """Steps and the largest memory of a profile."""
    check_profile(request, weights=False)
    skeleton = open_skeleton(request.model, request.common.pretrained)
    structure = skeleton.structure
    methods = {name: FINETUNE_METHODS.get(name) for name in request.methods}
    training = {"batch_size": request.batch_size}
    asked = [
        FinetuneRequest(
            request.model,
            request.task,
            name,
            request.out,
            training=training,
            common=request.common,
        )
        for name in request.methods
    ]
    batch = max(resolve_training(each).batch_size for each in asked)
    saved = max(
        skeleton.saved_bytes(
            batch,
            structure.maskable if method.mask_rule else structure.trainable,
            linearized=method.linearized,
        )
        for method in methods.values()
    )
    return Plan(
        {
            "methods": ", ".join(request.methods),
            "steps_per_method": WARMUP_STEPS + request.iters,
            "memory_bytes": 5 * skeleton.encoder_entries * _FLOAT + saved,
            "disk_bytes": 2_000,
            **_missing_weights(request.model, request.common),
        }
    )


def _missing_weights(
    model: str | None, common: Common, recorded: BaseInfo | None = None
) -> dict[str, int | str]:
    """A word about the model's weights where the command could not run for want of them."""
    try:
        check_model_name(model, common.pretrained, recorded)
    except (ModelError, OptionError):
        return {"weights": "missing"}
    return {}
