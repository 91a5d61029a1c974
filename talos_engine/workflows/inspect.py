"""``talos inspect``: what artifacts are, and what several of one kind have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talos_engine.artifacts import (
    JSON,
    Header,
    artifact_hash,
    check_distinct,
    check_output,
    inspect_kind,
    open_mask,
    open_vector,
    read_header,
    write_metrics,
)
from talos_engine.errors import MismatchError, OptionError
from talos_engine.inspection.comparison import (
    MaskComparison,
    VectorComparison,
    compare_masks,
    compare_vectors,
)
from talos_engine.progress import Progress, silent
from talos_engine.workflows.describing import DRAWABLE, FileReport, describe_file, tensor_getter
from talos_engine.workflows.mask_sets import check_same_mask_base
from talos_engine.workflows.opening import Common


@dataclass(frozen=True)
class InspectRequest:
    """What to look at.

    Args:
        files: One or more files of any kind.
        out: JSON file to write, if any.
        plot: Picture that will be drawn from the result, checked here for whether there is
            something to draw and for writability.
        common: Overwriting.
    """

    files: tuple[Path, ...]
    out: Path | None = None
    plot: Path | None = None
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class Comparison:
    """What several masks or several vectors have in common.

    Args:
        kind: ``mask`` or ``vector``.
        model: Name of their base.
        labels: A short name of each file, see ``labels_of``.
        measures: The matrices, in the order of the files.
    """

    kind: str
    model: str
    labels: tuple[str, ...]
    measures: MaskComparison | VectorComparison

    def as_json(self) -> dict[str, JSON]:
        """Plain JSON."""
        return {"kind": self.kind, "labels": list(self.labels), **self.measures.as_json()}


@dataclass(frozen=True)
class InspectResult:
    """What was found.

    Args:
        path: The JSON file, where one was asked for.
        files: A report of each file, in the order given.
        comparison: What they have in common, where all are masks or all are vectors of one base.
        notes: Why several files were not compared.
        metrics: What the JSON file holds.
    """

    path: Path | None
    files: tuple[FileReport, ...]
    comparison: Comparison | None
    notes: tuple[str, ...]
    metrics: Mapping[str, Any]


def inspect(request: InspectRequest, progress: Progress = silent) -> InspectResult:
    """What each file is, and a comparison where all are masks or all are vectors of one base.

    Raises:
        OptionError: there is nothing to draw, or an output names an input.
        ArtifactError: a file cannot be read.
        OutputError: the result cannot be written.
    """
    headers, problem = check_inspect(request)
    total = len(request.files) + (len(headers) > 1 and not problem)
    files = []
    for done, path in enumerate(request.files):
        progress(f"reading, {path.name}", done, total)
        files.append(describe_file(path))
    comparison = None
    if len(headers) > 1 and not problem:
        progress("reading, comparing", total - 1, total)
        kind = files[0].kind
        known = [header for header in headers if header is not None]
        labels = labels_of(known, request.files)
        measures = _COMPARE[kind](request.files)
        comparison = Comparison(kind, known[0].base.name, labels, measures)
    progress("reading", total, total)
    metrics: dict[str, Any] = {
        "command": "inspect",
        "files": [report.as_json() for report in files],
        "comparison": None if comparison is None else comparison.as_json(),
        "notes": [problem] if problem else [],
    }
    if request.out is not None:
        metrics["inputs"] = [
            {"path": str(path), "sha256": artifact_hash(path)} for path in request.files
        ]
        write_metrics(request.out, metrics, force=request.common.force)
    return InspectResult(
        request.out, tuple(files), comparison, (problem,) if problem else (), metrics
    )


def check_inspect(request: InspectRequest) -> tuple[list[Header | None], str]:
    """The headers of all files, and why several cannot be compared (empty if they can).

    No tensor is read.
    """
    if not request.files:
        raise OptionError("no file given")
    check_distinct({"--out": request.out, "--plot": request.plot}, request.files)
    kinds = [inspect_kind(path) for path in request.files]
    headers = [read_header(path) for path in request.files]
    problem = _comparison_problem(request.files, kinds, headers)
    if request.plot is not None:
        if len(kinds) == 1 and kinds[0] not in DRAWABLE:
            raise OptionError(f"--plot: {request.files[0]} is of kind {kinds[0]}, nothing to draw")
        if problem:
            raise OptionError(f"--plot: {problem}", "draw one file, several masks, or vectors")
    for output in (request.out, request.plot):
        if output is not None:
            check_output(output, force=request.common.force)
    return headers, problem


def labels_of(headers: Sequence[Header], paths: Sequence[Path]) -> tuple[str, ...]:
    """Short distinct names: tasks if they tell the files apart, else with methods, else paths."""
    tasks = tuple(header.task for header in headers)
    methods = tuple(f"{header.method} {header.task}" for header in headers)
    names = tuple(path.name.removesuffix(".safetensors") for path in paths)
    for labels in (tasks, methods, names):
        if all(tasks) and len(set(labels)) == len(labels):
            return labels
    return names if len(set(names)) == len(names) else tuple(str(path) for path in paths)


def _comparison_problem(
    paths: Sequence[Path], kinds: Sequence[str], headers: Sequence[Header | None]
) -> str:
    if len(paths) == 1:
        return ""
    if len(set(kinds)) > 1:
        return f"files of several kinds are listed, not compared ({', '.join(sorted(set(kinds)))})"
    if kinds[0] not in _COMPARE:
        return f"files of kind {kinds[0]} are listed, not compared"
    bases = [header.base for header in headers if header is not None]
    for path, base in zip(paths, bases, strict=True):
        if base.hash != bases[0].hash:
            return (
                f"files of different bases are listed, not compared: {paths[0]} belongs to "
                f"{bases[0].name} {bases[0].hash}, {path} to {base.name} {base.hash}"
            )
    return ""


def _compare_masks(paths: Sequence[Path]) -> MaskComparison:
    with ExitStack() as stack:
        files = [stack.enter_context(open_mask(path)) for path in paths]
        for path, file in zip(paths, files, strict=True):
            check_same_mask_base(paths[0], files[0], path, file)
        getters = [tensor_getter(file.flags, file.names) for file in files]
        names = sorted({name for file in files for name in file.names})
        total = sum(math.prod(shape) for shape in files[0].shapes.values())
        tensors = ([get(name) for get in getters] for name in names)
        return compare_masks(tensors, len(files), total)


def _compare_vectors(paths: Sequence[Path]) -> VectorComparison:
    with ExitStack() as stack:
        files = [stack.enter_context(open_vector(path)) for path in paths]
        known: dict[str, tuple[tuple[int, ...], Path]] = {}
        for path, file in zip(paths, files, strict=True):
            for name, shape in file.shapes.items():
                first, where = known.setdefault(name, (shape, path))
                if first != shape:
                    raise MismatchError(
                        f"tensor {name!r} has shape {first} in {where}, {shape} in {path}"
                    )
        getters = [tensor_getter(file.entry, file.shapes) for file in files]
        tensors = ([get(name) for get in getters] for name in sorted(known))
        return compare_vectors(tensors, len(files))


_COMPARE: Mapping[str, Callable[[Sequence[Path]], Any]] = {
    "mask": _compare_masks,
    "vector": _compare_vectors,
}
