"""What an evaluation reads, computes and writes, counted from headers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from talos_engine.artifacts import Header, artifact_bytes, open_vector
from talos_engine.data.splits import find_task, load_split
from talos_engine.evaluation.gradients import examples_at_once
from talos_engine.models.skeleton import Skeleton
from talos_engine.workflows.evaluate import EvaluateRequest

_FLOAT = 4  # bytes
# Bytes of JSON: of a file, a model, a task of a model, a ratio, a bound.
_FILE, _MODEL, _TASK, _RATIO, _BOUND = 600, 350, 130, 40, 420


def count_evaluation(
    request: EvaluateRequest, headers: Mapping[Path, Header], skeleton: Skeleton
) -> dict[str, int]:
    """Models, passes, and bytes read and written, by name.

    ``forward_passes`` and ``gradient_passes`` count examples: each goes through the model once, or
    forward and backward once.
    """
    sizes = {name: len(load_split(find_task(name), request.split)) for name in request.tasks}
    singles = [headers[path].task for path in request.singles]
    models = max(1, len(request.checkpoints))
    facts = {
        "models": models,
        "single_task_models": len(singles),
        "tasks": len(sizes),
        "examples": sum(sizes.values()),
        "forward_passes": (models + request.matrix) * sum(sizes.values())
        + sum(sizes[task] for task in singles),
    }
    if request.matrix:
        facts["base_evaluations"] = len(sizes)
    if request.bound:
        facts["bound_points"] = sum(min(request.bound, size) for size in sizes.values())
        facts["gradient_passes"] = len(request.checkpoints) * facts["bound_points"]
    files = sum(artifact_bytes(path) for path in headers)
    written = _FILE + models * (_MODEL + len(sizes) * (
        _TASK + _RATIO * request.matrix + _BOUND * (request.bound > 0)
    )) + _MODEL * len(singles)  # fmt: skip
    return {
        **facts,
        "read_bytes": files + skeleton.total_bytes,
        "disk_bytes": 0 if request.out is None else written,
    }


def bound_memory(
    request: EvaluateRequest, headers: Mapping[Path, Header], skeleton: Skeleton
) -> int:
    """Bytes that the bound of Eq. 9 takes beside the base; 0 where it is not asked for.

    A change, its values at θ0 and a copy, and of some examples the gradients by the changed
    parameters, twice, with what autograd keeps for them.
    """
    if not request.bound:
        return 0
    largest = max(_changed(path, headers[path], skeleton) for path in request.checkpoints)
    examples = min(request.bound, examples_at_once(largest))
    saved = skeleton.saved_bytes(examples, skeleton.structure.trainable)
    return (3 + 2 * examples) * largest * _FLOAT + saved


def _changed(path: Path, header: Header, skeleton: Skeleton) -> int:
    """Entries of the tensors that a file may change; of a checkpoint, those of the encoder."""
    if header.kind != "vector":
        return skeleton.encoder_entries
    with open_vector(path) as vector:
        return sum(math.prod(shape) for shape in vector.shapes.values())
