"""``talos add``: one model from several task vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talos_engine.artifacts import atomic_folder
from talos_engine.data.splits import find_task
from talos_engine.errors import OptionError
from talos_engine.evaluation.coefficients import DEFAULT_GRID
from talos_engine.merging.spec import MERGE_METHODS, MergeContext, MergeEntry
from talos_engine.models.loading import checkpoint_package
from talos_engine.progress import Progress, silent
from talos_engine.workflows.bases import check_single_base
from talos_engine.workflows.checkpoints import checkpoint_name
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
from talos_engine.workflows.learning import check_learning_tasks, learned_in_words, open_context
from talos_engine.workflows.merging import (
    MergeInputs,
    check_distinct_tasks,
    choose_edit,
    open_inputs,
    write_edited,
)
from talos_engine.workflows.opening import Common, named_paths, open_session
from talos_engine.workflows.searching import FoundModel, ModelSearch
from talos_engine.workflows.vector_options import (
    arrange,
    configure,
    marks,
    own_options,
    shared_options,
)


@dataclass(frozen=True)
class AddRequest:
    """What to add.

    Args:
        vectors: Vector files, at least one.
        out: The checkpoint file to write; for a method that makes one model per task, a folder.
        model: The base; ``None`` takes the one that the vectors record.
        method: Name of the merging method.
        options: Options of that method by name; ``None`` means not given, a list is one value for
            all vectors or one per vector.
        coefs: One coefficient for all vectors or one per vector, any sign; empty with ``search``.
        search: Choose one coefficient for all on validation data.
        tasks: Tasks to search on; empty means those that the vectors were trained on.
        grid: Kind of grid to search, see ``coefficient_grid``; ``None`` is ``union``.
        shard_bytes: Divide the weights into files of at most this size, in a folder; ``None`` does
            not, or as the model's library does.
        common: Seed (of methods that draw), device, precision, overwriting.
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
    shard_bytes: int | None = None
    common: Common = field(default_factory=Common)


def add_vectors(request: AddRequest, progress: Progress = silent) -> EditResult:
    """A checkpoint file of ``θ0 + α · combine(τ_1, τ_2, …)`` (Eq. 1 of arXiv:2504.02620).

    A single vector added by ``sum`` with coefficient 1 gives back its fine-tuned model bit for bit.
    Without a search no model is built and no task data read, and no more than one tensor is in
    memory at a time.

    Raises:
        OptionError: options that contradict each other.
        MismatchError: vectors of different bases, names or shapes.
        OutputError: the result cannot be written.
    """
    method, config = check_add(request)
    given = request.coefs if len(request.coefs) == len(request.vectors) > 1 else ()
    apart = marks(config, given, len(request.vectors))
    with open_inputs(request.vectors, request.model, apart, request.common.pretrained) as inputs:
        config = arrange(config, inputs.order)
        tasks = [vector.header.task for vector in inputs.vectors]
        check_tasks(request, method, tasks)
        if request.search:
            check_single_base(inputs.weights, inputs.vectors[0].header.base, inputs.paths[0])
        ordered = [given[position] if given else 1.0 for position in inputs.order]
        context = MergeContext(request.common.seed)
        if method.learns:
            context = open_context(config, inputs, request.common, progress)
        merge = method.run(config, inputs.vectors, ordered, context)
        coef = request.coefs[0] if len(request.coefs) == 1 else 1.0
        found = [FoundModel(combine, config, coef) for combine in merge.models]
        if request.search:
            search = ModelSearch(
                method=method,
                config=config,
                given=frozenset(name for name, it in request.options.items() if it is not None),
                inputs=inputs,
                session=open_session(inputs.resident(), request.common.runtime()),
                context=context,
                grid=request.grid or DEFAULT_GRID,
                progress=progress,
            )
            found = search.find(merge, search_tasks(request, tasks))
        writer = _Writer(request, method, inputs, tuple(ordered), merge.notes)
        if not method.one_model_per_task:
            return writer.write(request.out, found[0])
        package = checkpoint_package(inputs.base, inputs.model.folder)
        whole = package is None and request.shard_bytes is None
        suffix = "safetensors" if whole else "ckpt"
        names = {task: f"{task}.{suffix}" for task in tasks}
        with atomic_folder(request.out, force=request.common.force) as folder:
            for task, each in zip(tasks, found, strict=True):
                writer.write(folder / names[task], each)
        models = {
            task: writer.result(request.out / names[task], each)
            for task, each in zip(tasks, found, strict=True)
        }
        return EditResult(request.out, (), models=models)


def check_add(request: AddRequest) -> tuple[MergeEntry, Any]:
    """The merging method and its configuration, everything that needs no file being checked."""
    method = MERGE_METHODS.get(request.method)
    _check_options(request, method)
    config = configure(method, request.options, len(request.vectors))
    for name in request.tasks:
        find_task(name)
    request.common.runtime()
    folder = method.one_model_per_task
    check_edit_outputs(
        request.out,
        (*request.vectors, *named_paths(request.model, request.common.pretrained)),
        request.common,
        search=request.search,
        folder=folder,
        sharded=request.shard_bytes is not None,
    )
    return method, config


def default_output(
    method: str,
    model: str | None = None,
    pretrained: str | None = None,
    vector: Path | None = None,
    *,
    sharded: bool = False,
) -> Path:
    """Where ``add`` writes if nothing is said: a checkpoint, or a folder of one for each task.

    Args:
        method: Name of the merging method.
        model: What the user named as the base, or ``None``.
        pretrained: What the user said of its weights, or ``None``.
        vector: A vector, which records the base.
        sharded: Whether checkpoints are folders of shards in any case.
    """
    if MERGE_METHODS.get(method).one_model_per_task:
        return Path("merged")
    return Path(checkpoint_name("merged", model, pretrained, vector, sharded=sharded))


def check_tasks(request: AddRequest, method: MergeEntry, recorded: Sequence[str]) -> None:
    """Raise unless the tasks of the vectors allow what is asked for.

    Raises:
        OptionError: a task has no vector, or several vectors are of one task.
    """
    if method.one_model_per_task:
        check_distinct_tasks(recorded, f"--method {request.method}")
        if request.tasks and set(request.tasks) != set(recorded):
            raise OptionError(
                f"--method {request.method} searches a coefficient for every task of the vectors",
                "leave --task out",
            )
    if method.learns:
        check_learning_tasks(recorded)
    if request.search:
        search_tasks(request, recorded)


def _check_options(request: AddRequest, method: MergeEntry) -> None:
    count = len(request.vectors)
    if count == 0:
        raise OptionError("no vector given")
    if any(not math.isfinite(coef) for coef in request.coefs):
        raise OptionError("--coef must be a finite number")
    if request.search and request.coefs:
        raise OptionError("--search and --coef exclude each other")
    needed = (0, 1, count) if request.search or method.learns else (1, count)
    if len(request.coefs) not in needed:
        how = "none" if not request.coefs else f"{len(request.coefs)} values"
        raise OptionError(
            f"--coef must be given once, or once per vector ({count}); got {how}",
            "or choose one on validation data with --search",
        )
    if (request.tasks or request.grid) and not request.search:
        raise OptionError("--task and --grid only go with --search")


@dataclass(frozen=True)
class _Writer:
    """Writes checkpoints that were made from the same inputs, each with what stands beside it."""

    request: AddRequest
    method: MergeEntry
    inputs: MergeInputs
    given: tuple[float, ...]
    notes: Mapping[str, Any]

    def write(self, out: Path, found: FoundModel) -> EditResult:
        """Checkpoint of one model, with its card and the report of its search."""
        request, inputs = self.request, self.inputs
        described = [
            inputs.describe(position, value * found.coef, found.config)
            for position, value in enumerate(self.given)
        ]
        options = shared_options(found.config)
        learned = learned_in_words(self.notes, inputs.vectors) if self.method.learns else ({}, [])
        card = Card(
            inputs.base,
            f"add:{request.method}",
            options,
            list(zip(inputs.paths, described, strict=True)),
            self._words(found),
            *learned,
        )

        def write_companions() -> None:
            if found.search is not None:
                grid = request.grid or DEFAULT_GRID
                settings = {"method": request.method, "options": options, "grid": grid}
                places = [inputs.order.index(place) for place in range(len(inputs.order))]
                own = [own_options(found.config, place) for place in places]
                vectors = list(zip(request.vectors, own, strict=True))
                write_search_report(out, "add", vectors, found.search, settings, request.common)
            write_card(out, card, force=request.common.force)

        write_edited(
            out,
            inputs,
            choose_edit(self.method, inputs, found.combine, found.coef),
            header={
                "method": f"add:{request.method}",
                "config": {
                    "options": options,
                    "inputs": described,
                    **({"learned": dict(self.notes)} if self.notes else {}),
                },
                "seed": request.common.seed if self.method.draws else 0,
            },
            companions=write_companions,
            common=request.common,
            shard_bytes=request.shard_bytes,
        )
        return self.result(out, found)

    def result(self, out: Path, found: FoundModel) -> EditResult:
        """What is told of a model written to ``out``."""
        by_position = dict(zip(self.inputs.order, self.given, strict=True))
        coefs = tuple(by_position[position] * found.coef for position in range(len(by_position)))
        report = None if found.search is None else report_path(out)
        return EditResult(out, coefs, found.search, report, card_path(out))

    def _words(self, found: FoundModel) -> list[str]:
        request = self.request
        words = ["talos", "add", *map(str, request.vectors), f"--model={self.inputs.base.name}"]
        if request.model is not None:
            words[-1] = f"--model={request.model}"
        words += request.common.words()
        words += [f"--method={request.method}", *flags_of(request.options)]
        if request.search and self.method.one_model_per_task:
            words += ["--search", f"--grid={request.grid or DEFAULT_GRID}"]
        else:
            coefs = [found.coef] if found.search is not None else request.coefs
            words += [f"--coef={coef!r}" for coef in coefs]
        if self.method.draws:
            words.append(f"--seed={request.common.seed}")
        words += shard_words(request.shard_bytes)
        return [*words, f"--out={request.out}"]


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
