"""``talos disentangle``: how much two task vectors interfere, over a grid of coefficients."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from talos_engine.artifacts import (
    Header,
    TaskVector,
    check_distinct,
    check_output,
    file_hash,
    reserve_output,
    write_metrics,
)
from talos_engine.configuration import check_at_least, check_positive
from talos_engine.data.splits import find_task, load_split
from talos_engine.device import Runtime
from talos_engine.errors import OptionError
from talos_engine.evaluation.disentanglement import (
    WORK,
    Answer,
    Cell,
    DisentanglementMap,
    GridModels,
    GridState,
    equispaced,
    fill_grid,
)
from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.interrupts import HeldSignals
from talos_engine.merging.ops import dense_changes, touched_names
from talos_engine.models.spec import BaseWeights
from talos_engine.progress import Progress, silent
from talos_engine.seeding import derive_seed
from talos_engine.workflows.bases import check_encoder_only, vectors_evaluation
from talos_engine.workflows.crew import Crew
from talos_engine.workflows.kept_grid import find_grid, keep_grid
from talos_engine.workflows.opening import Common, open_session
from talos_engine.workflows.unfinished import (
    Persistence,
    check_persistence,
    forget_unfinished,
    resume_path,
    state_header,
    tell_kept,
)
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
        jobs: Processes that share the grid, each with ``common``'s threads; no number changes the
            result.
        kept: What is written while the grid is computed; ``checkpoint_every`` counts cells.
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
    jobs: int = 1
    kept: Persistence = field(default_factory=Persistence)
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class DisentangleResult:
    """What was measured.

    Args:
        path: The JSON file.
        tasks: The two tasks.
        map: ξ over the grid.
        first: Cells that an interrupted run had measured.
    """

    path: Path
    tasks: tuple[str, str]
    map: DisentanglementMap
    first: int = 0


def disentangle(request: DisentangleRequest, progress: Progress = silent) -> DisentangleResult:
    """A JSON file with ξ(α1, α2) over the grid (Eq. 10 of arXiv:2504.02620).

    Raises:
        OptionError: options outside their range, or tasks that cannot be told.
        MismatchError: the vectors are of different bases.
        OutputError: the result cannot be written.
    """
    check_disentangle(request)
    with reserve_output(request.out):
        check_persistence(request.out, request.kept, force=request.common.force)
        return _disentangle(request, progress)


def _disentangle(request: DisentangleRequest, progress: Progress) -> DisentangleResult:
    opened = _open(request)
    facts = _describe(request, opened)
    state, first = _fill(request, opened, facts, progress)
    names = opened.tasks
    found = state.summarize(opened.models.coefs, names)
    write_metrics(
        request.out,
        {
            "schema": 1,
            "command": "disentangle",
            **facts,
            "points": dict(found.points),
            "coefs": list(found.coefs),
            "error": [list(row) for row in found.error],
            "disagreements": {
                name: [list(row) for row in rows] for name, rows in found.disagreements.items()
            },
        },
        force=request.common.force,
    )
    forget_unfinished(request.out)
    return DisentangleResult(request.out, names, found, first)


@dataclass(frozen=True)
class _Opened:
    """Everything that a request names, in memory."""

    models: GridModels
    tasks: tuple[str, str]
    vectors: Sequence[TaskVector]
    weights: BaseWeights
    evaluation: str
    runtime: Runtime


def _open(request: DisentangleRequest) -> _Opened:
    vectors, weights = read_vectors(request.vectors, request.model, request.common.pretrained)
    names = choose_tasks(request, [vector.header.task for vector in vectors])
    session = open_session(weights, request.common.runtime())
    for path, vector in zip(request.vectors, vectors, strict=True):
        check_encoder_only(touched_names([vector]), session.backbone.structure, str(path))
    seed = derive_seed(request.common.seed, "disentanglement points")
    evaluation = vectors_evaluation(request.vectors, [each.header for each in vectors], weights)
    encoder = EditedEncoder(session.backbone, session.runtime)
    models = GridModels(
        encoder,
        [encoder.place(dense_changes(vector)) for vector in vectors],
        [session.evaluation_task(name, "test", request.points, seed, evaluation) for name in names],
        equispaced(request.grid, request.reach),
    )
    return _Opened(models, names, vectors, weights, evaluation, session.runtime)


def _describe(request: DisentangleRequest, opened: _Opened) -> dict[str, Any]:
    """What the result says of how it was made."""
    info = opened.weights.info
    return {
        "inputs": [
            {"path": str(path), "sha256": file_hash(path), "method": vector.header.method}
            for path, vector in zip(request.vectors, opened.vectors, strict=True)
        ],
        "tasks": list(opened.tasks),
        "split": "test",
        "evaluation": opened.evaluation,
        "seed": request.common.seed,
        **request.common.recorded(),
        "model": {"name": info.name, "hash": info.hash},
    }


def _fill(
    request: DisentangleRequest, opened: _Opened, facts: Mapping[str, Any], progress: Progress
) -> tuple[GridState, int]:
    """The whole grid, and how many of its cells an interrupted run had measured."""
    out, every = request.out, request.kept.checkpoint_every
    state = GridState.empty(request.grid, [len(task.labels) for task in opened.models.tasks])
    keeps = bool(every or request.kept.resume)
    own = _state_header(request, opened, facts) if keeps else None
    if own is not None and request.kept.resume:
        state = find_grid(out, own, state) or state
    first = state.done
    progress(WORK, first, state.total)
    with HeldSignals() if keeps else nullcontext() as signals, _crew(request, opened) as crew:

        def observe(done: int) -> None:
            progress(WORK, done, state.total)
            if own is None or signals is None:
                return
            due = every > 0 and (done - first) % every == 0 and done < state.total
            if due or signals.pending:
                keep_grid(out, own, state)
            signals.deliver(tell_kept(out))

        fill_grid(state, crew.answers, observe)
    return state, first


def _crew(request: DisentangleRequest, opened: _Opened) -> Crew[Cell, Answer]:
    """This process and the others that --jobs asks for, all with as many threads."""
    common = replace(request.common, threads=torch.get_num_threads())
    others = min(request.jobs, request.grid**2) - 1
    return Crew(opened.models.answer, others, _answer_elsewhere, replace(request, common=common))


def _answer_elsewhere(request: DisentangleRequest) -> Callable[[Cell], Answer]:
    """How another process answers; opens everything again."""
    return _open(request).models.answer


def _state_header(request: DisentangleRequest, opened: _Opened, facts: Mapping[str, Any]) -> Header:
    """Everything that changes an answer."""
    splits = [load_split(find_task(name), "test").fingerprint for name in opened.tasks]
    (first, second), names = facts["inputs"], opened.tasks
    header = Header(
        kind="resume",
        base=opened.weights.info,
        method="disentangle",
        task="",
        config={
            "first": first["sha256"],
            "second": second["sha256"],
            "first_task": names[0],
            "second_task": names[1],
            "grid": request.grid,
            "range": request.reach,
            "points": request.points,
            "evaluation": opened.evaluation,
            **request.common.recorded(),
        },
        seed=request.common.seed,
        data=hashlib.sha256(" ".join(splits).encode()).hexdigest(),
    )
    return state_header(header, opened.runtime)


def check_disentangle(request: DisentangleRequest) -> None:
    """Check everything that needs no file."""
    check_at_least("grid", request.grid, 1)
    check_positive("range", request.reach)
    check_at_least("points", request.points, 1)
    check_at_least("jobs", request.jobs, 1)
    if len(request.tasks) not in (0, 2):
        raise OptionError("--task must be given twice, once per vector, or not at all")
    request.common.runtime()
    for name in request.tasks:
        find_task(name)
    check_distinct(
        {"--out": request.out, "--plot": request.plot, "the run's state": resume_path(request.out)},
        request.vectors,
    )
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
