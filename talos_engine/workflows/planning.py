"""``--dry-run``: what a command would do and need. Inputs are checked; no weight is read.

Memory is counted, not measured: parameters, gradients and moments by entries, activations by what
autograd would keep of a forward pass on torch's meta device. The interpreter and libraries, about
500 MB, come on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from talos_engine.artifacts import BaseInfo, Header, common_evaluation, open_vector
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import MismatchError, ModelError, OptionError
from talos_engine.evaluation.accuracy import BATCH_SIZE
from talos_engine.evaluation.coefficients import DEFAULT_GRID, coefficient_grid
from talos_engine.masking.selection import count_entries, rank_units, unit_counts
from talos_engine.masking.spec import PlanContext
from talos_engine.models.loading import (
    check_model_name,
    find_spec,
    is_checkpoint_path,
    open_skeleton,
)
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.spec import MODELS
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
from talos_engine.workflows.vector import header_sparsity

_FLOAT = 4  # bytes
_START_SECONDS = 2.5
_BYTES_PER_SECOND = 5e8
"""What ``add`` reads and writes in a second, once started: measured with four sparse vectors of
ViT-L/14, files in memory, one thread (3.7 GB in 5 to 6 seconds of processor time), rounded down."""


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


@dataclass(frozen=True)
class _VectorFacts:
    header: Header
    shapes: Mapping[str, tuple[int, ...]]
    size: int  # of the file, bytes


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
        _check_recorded(request.model, request.common.pretrained, mask.header, request.mask)
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
            "disk_bytes": skeleton.total_entries * _FLOAT
            + (kept_bytes(entries) if request.kept.checkpoint_every else 0),
            **_missing_weights(request.model, request.common),
        }
    )


def plan_add(request: AddRequest) -> Plan:
    """Vectors, coefficients to try, memory and disk of an addition."""
    method, config = check_add(request)
    vectors, skeleton = _open_vectors(request.vectors, request.model, request.common.pretrained)
    recorded = [vector.header.task for vector in vectors]
    add.check_tasks(request, method, recorded)
    tasks = add.search_tasks(request, recorded) if request.search else ()
    plan = _plan_edit(vectors, skeleton, tasks, request.grid or DEFAULT_GRID)
    memory = plan.memory
    if method.learns:
        memory += _vector_memory(vectors) + _evaluation_memory(skeleton)
        memory += skeleton.saved_bytes(config.batch_size, skeleton.structure.trainable)
    models = len(vectors) if method.one_model_per_task else 1
    disk = models * skeleton.total_entries * _FLOAT
    facts = {"models": models, "memory_bytes": memory, "disk_bytes": disk}
    time = _merging_time(vectors, disk, models * method.passes)
    return Plan({**plan.facts, **facts, **time})


def plan_negate(request: NegateRequest) -> Plan:
    """Coefficients to try, memory and disk of a negation."""
    method, _ = check_negate(request)
    vectors, skeleton = _open_vectors(
        [request.vector, *request.others], request.model, request.common.pretrained
    )
    recorded = vectors[0].header.task
    tasks = negate.search_tasks(request, recorded) if request.search else ()
    plan = _plan_edit(vectors, skeleton, tasks, request.grid or DEFAULT_GRID)
    time = _merging_time(vectors, skeleton.total_entries * _FLOAT, method.passes)
    return Plan({**plan.facts, **time})


def plan_evaluate(request: EvaluateRequest) -> Plan:
    """Models, passes, memory and disk of an evaluation, with its matrix and its bound."""
    headers = check_evaluate(request, weights=False)
    base = next((header.base for header in headers.values()), None)
    for path, header in headers.items():
        _check_recorded(request.model, request.common.pretrained, header, path)
    skeleton = open_skeleton(request.model, request.common.pretrained, base)
    parameters = skeleton.total_entries * _FLOAT
    memory = max(
        _evaluation_memory(skeleton) + parameters,
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
        _check_recorded(request.model, request.common.pretrained, header, edit.scores)
    skeleton = open_skeleton(request.model, request.common.pretrained, headers[0].base)
    examples = sum(len(load_split(find_task(name), request.split)) for name in request.tasks)
    scored = count_entries(skeleton.structure.candidates())
    return Plan(
        {
            "models": 1 + len(request.edits),
            "tasks": len(request.tasks),
            "examples": examples,
            "memory_bytes": _evaluation_memory(skeleton) + 3 * scored * _FLOAT,
            "disk_bytes": 0,
        }
    )


def plan_disentangle(request: DisentangleRequest) -> Plan:
    """Grid points, examples and memory of a disentanglement map."""
    check_disentangle(request)
    check_persistence(request.out, request.kept, force=request.common.force)
    vectors, skeleton = _open_vectors(request.vectors, request.model, request.common.pretrained)
    tasks = choose_tasks(request, [vector.header.task for vector in vectors])
    points = [min(request.points, len(load_split(find_task(name), "test"))) for name in tasks]
    return Plan(
        {
            "grid_points": request.grid**2,
            "examples": sum(points),
            "predictions": request.grid * (request.grid + 1) * sum(points),
            "memory_bytes": request.jobs * (_evaluation_memory(skeleton) + _vector_memory(vectors)),
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


def _check_recorded(model: str | None, pretrained: str | None, header: Header, path: Path) -> None:
    """Raise if a file records another architecture, or tag of a catalog's model, than the model's.

    The hash itself takes the model's bytes and is compared when the command runs.
    """
    if model is None or is_checkpoint_path(model):
        return
    known = find_spec(model, pretrained)
    found, base = known.architecture(), header.base
    same = (base.name, base.pretrained) == (known.name, known.pretrained)
    if not same and (known.name in MODELS or found != base.architecture):
        raise MismatchError(
            f"{path} was made for another base: it records {header.base.name} "
            f"({header.base.pretrained}), the model given is {known.name} ({known.pretrained})"
        )


def _open_vectors(
    paths: Sequence[Path], model: str | None, pretrained: str | None
) -> tuple[list[_VectorFacts], Skeleton]:
    vectors = []
    for path in paths:
        with open_vector(path) as file:
            size = path.stat().st_size
            vectors.append(_VectorFacts(file.header, dict(file.shapes), size))
    first = vectors[0].header.base
    for path, vector in zip(paths, vectors, strict=True):
        if vector.header.base.hash != first.hash:
            raise MismatchError(
                f"{path} was made from another base than {paths[0]}: "
                f"{vector.header.base.hash[:12]} and {first.hash[:12]}"
            )
    common_evaluation({path: found.header for path, found in zip(paths, vectors, strict=True)})
    skeleton = open_skeleton(model, pretrained, first)
    known = skeleton.structure.shapes
    for path, vector in zip(paths, vectors, strict=True):
        for name, shape in vector.shapes.items():
            if known.get(name) != tuple(shape):
                raise MismatchError(f"{path}: {name!r} of shape {shape} is not in the model")
    return vectors, skeleton


def _plan_edit(
    vectors: Sequence[_VectorFacts], skeleton: Skeleton, tasks: Sequence[str], grid: str
) -> Plan:
    largest = max((math.prod(s) for v in vectors for s in v.shapes.values()), default=0)
    memory = skeleton.total_entries * _FLOAT + 12 * largest * 2 * _FLOAT
    facts: dict[str, int | str] = {"vectors": len(vectors)}
    if tasks:
        memory += 2 * _vector_memory(vectors[:1])
        sparsities = [header_sparsity(vector.header) for vector in vectors]
        facts["coefficients"] = len(coefficient_grid(grid, sparsities))
        facts["validation_examples"] = sum(
            len(load_split(find_task(name), "val")) for name in tasks
        )
        memory += _evaluation_memory(skeleton)
    return Plan({**facts, "memory_bytes": memory, "disk_bytes": skeleton.total_entries * _FLOAT})


def _merging_time(
    vectors: Sequence[_VectorFacts], written: int, passes: int
) -> dict[str, int | str]:
    """Bytes read, and a guess of the time without searching and learning.

    The base is read as often as it is written, a vector ``passes`` times and once for its hash.
    """
    read = written + (1 + passes) * sum(vector.size for vector in vectors)
    seconds = _START_SECONDS + (read + written) / _BYTES_PER_SECOND
    return {
        "read_bytes": read,
        "time_guess": f"{seconds:,.0f} s: {_START_SECONDS:g} s to start, then "
        f"{_BYTES_PER_SECOND / 1e6:,.0f} MB read or written a second; a search, learning or a slow "
        "disk takes longer",
    }


def _vector_memory(vectors: Sequence[_VectorFacts]) -> int:
    """Vectors in float32 at most, and one of them in float64."""
    total = 0
    for vector in vectors:
        for shape in vector.shapes.values():
            total += math.prod(shape) * _FLOAT
    return total + 2 * (total // max(1, len(vectors)))


def _evaluation_memory(skeleton: Skeleton) -> int:
    """Parameters twice, and the widest activations of a batch, taken as a tenth of all."""
    saved = skeleton.saved_bytes(BATCH_SIZE, skeleton.structure.trainable)
    return 2 * skeleton.total_entries * _FLOAT + saved // 10
