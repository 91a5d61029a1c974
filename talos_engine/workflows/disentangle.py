"""``talos disentangle``: how much two task vectors interfere, over a grid of coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from talos_engine.artifacts import check_distinct, check_output, file_hash, write_metrics
from talos_engine.configuration import check_at_least, check_positive
from talos_engine.data.splits import find_task
from talos_engine.errors import OptionError
from talos_engine.evaluation.disentanglement import (
    DisentanglementMap,
    equispaced,
    map_disentanglement,
)
from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.merging.ops import dense_changes, touched_names
from talos_engine.progress import Progress, silent
from talos_engine.seeding import derive_seed
from talos_engine.workflows.bases import check_encoder_only, vectors_evaluation
from talos_engine.workflows.opening import Common, open_session
from talos_engine.workflows.vector_reading import read_vectors


@dataclass(frozen=True)
class DisentangleRequest:
    """Which vectors to compare.

    Args:
        vectors: Two vector files.
        out: The JSON file to write.
        model: The base; ``None`` takes the one that the vectors record.
        tasks: Their tasks, in order; empty takes the ones that the vectors record.
        grid: Points per axis.
        reach: The grid covers [−reach, reach] on both axes.
        points: Random test examples per task; all where a task has fewer.
        plot: Picture that will be drawn from the result, checked for writability here.
        common: Seed, device, precision, overwriting.
    """

    vectors: tuple[Path, Path]
    out: Path
    model: str | None = None
    tasks: tuple[str, ...] = ()
    grid: int = 20
    reach: float = 3.0
    points: int = 2048
    plot: Path | None = None
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class DisentangleResult:
    """What was measured.

    Args:
        path: The JSON file.
        tasks: The two tasks.
        map: ξ over the grid.
    """

    path: Path
    tasks: tuple[str, str]
    map: DisentanglementMap


def disentangle(request: DisentangleRequest, progress: Progress = silent) -> DisentangleResult:
    """A JSON file with ξ(α1, α2) over the grid (Eq. 10 of arXiv:2504.02620).

    Raises:
        OptionError: options outside their range, or tasks that cannot be told.
        MismatchError: the vectors are of different bases.
        OutputError: the result cannot be written.
    """
    check_disentangle(request)
    vectors, weights = read_vectors(request.vectors, request.model, request.common.pretrained)
    tasks = choose_tasks(request, [vector.header.task for vector in vectors])
    session = open_session(weights, request.common.runtime())
    for path, vector in zip(request.vectors, vectors, strict=True):
        check_encoder_only(touched_names([vector]), session.backbone.structure, str(path))
    seed = derive_seed(request.common.seed, "disentanglement points")
    evaluation = vectors_evaluation(request.vectors, [each.header for each in vectors], weights)
    found = map_disentanglement(
        EditedEncoder(session.backbone, session.runtime),
        [dense_changes(vector) for vector in vectors],
        [session.evaluation_task(name, "test", request.points, seed, evaluation) for name in tasks],
        equispaced(request.grid, request.reach),
        progress,
    )
    write_metrics(
        request.out,
        {
            "schema": 1,
            "command": "disentangle",
            "inputs": [
                {"path": str(path), "sha256": file_hash(path), "method": vector.header.method}
                for path, vector in zip(request.vectors, vectors, strict=True)
            ],
            "tasks": list(tasks),
            "split": "test",
            "evaluation": evaluation,
            "seed": request.common.seed,
            **request.common.recorded(),
            "model": {"name": weights.info.name, "hash": weights.info.hash},
            "points": dict(found.points),
            "coefs": list(found.coefs),
            "error": [list(row) for row in found.error],
            "disagreements": {
                name: [list(row) for row in rows] for name, rows in found.disagreements.items()
            },
        },
        force=request.common.force,
    )
    return DisentangleResult(request.out, tasks, found)


def check_disentangle(request: DisentangleRequest) -> None:
    """Check everything that needs no file."""
    check_at_least("grid", request.grid, 1)
    check_positive("range", request.reach)
    check_at_least("points", request.points, 1)
    if len(request.tasks) not in (0, 2):
        raise OptionError("--task must be given twice, once per vector, or not at all")
    request.common.runtime()
    for name in request.tasks:
        find_task(name)
    check_distinct({"--out": request.out, "--plot": request.plot}, request.vectors)
    for path in (request.out, request.plot):
        if path is not None:
            check_output(path, force=request.common.force)


def choose_tasks(request: DisentangleRequest, recorded: Sequence[str]) -> tuple[str, str]:
    """The two tasks: those asked for, else those that the vectors record.

    Raises:
        OptionError: they are the same, or not known.
    """
    first, second = request.tasks or recorded
    if first == second or not first or not second:
        raise OptionError(
            f"two different tasks are needed, got {first!r} and {second!r}",
            "say --task T1 --task T2",
        )
    for name in (first, second):
        find_task(name)
    return first, second
