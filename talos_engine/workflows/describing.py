"""What one file is: its header and, by its kind, what is in it. Part of ``talos inspect``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from talos_engine.artifacts import (
    JSON,
    Header,
    artifact_bytes,
    inspect_kind,
    open_mask,
    open_tensors,
    open_vector,
    read_header,
    read_metrics,
    read_scores,
)
from talos_engine.artifacts.tensors import DTYPE_NAMES
from talos_engine.errors import TalosError
from talos_engine.inspection.blocks import (
    Block,
    Shapes,
    structure_blocks,
    structure_problem,
    tensor_blocks,
)
from talos_engine.inspection.histogram import ScoreHistograms, summarize_scores
from talos_engine.inspection.tally import Tally, tally_mask, tally_vector
from talos_engine.models.loading import open_skeleton

T = TypeVar("T")


@dataclass(frozen=True)
class FileReport:
    """What one file is.

    Args:
        path: The file.
        kind: ``mask``, ``checkpoint``, ``vector``, ``scores``, ``metrics``, or ``tensors`` for a
            safetensors file that is not of this project.
        size: Its bytes.
        header: What it says about itself; metrics and tensors have none.
        contents: Facts of files that are neither mask, vector nor scores.
        tally: Live entries of a mask, changes of a vector.
        scores: Distribution of scores.
        by_tensor: Blocks are tensors, as the model's structure is not known or another.
        notes: What a reader should know about these figures.
    """

    path: Path
    kind: str
    size: int
    header: Header | None = None
    contents: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    tally: Tally | None = None
    scores: ScoreHistograms | None = None
    by_tensor: bool = False
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, JSON]:
        """Plain JSON; the parts that a kind does not have are left out."""
        fields: dict[str, JSON] = {
            "path": str(self.path),
            "kind": self.kind,
            "bytes": self.size,
            "notes": list(self.notes),
            **self.contents,
        }
        if self.header is not None:
            header = dataclasses.asdict(self.header)
            fields |= {key: value for key, value in header.items() if key != "kind"}
        if self.tally is not None:
            fields |= {"by_tensor": self.by_tensor, **self.tally.as_json()}
        if self.scores is not None:
            fields |= {"by_tensor": self.by_tensor, **self.scores.as_json()}
        return fields


def describe_file(path: Path) -> FileReport:
    """What the file at ``path`` is.

    Masks, vectors and scores are read whole, one tensor at a time where possible; of checkpoints
    and other safetensors files only the header is.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is damaged.
        WrongKindError: it is none of ours, or of a newer schema.
    """
    kind = inspect_kind(path)
    return _DESCRIBE[kind](FileReport(path, kind, artifact_bytes(path)))


def tensor_getter(get: Callable[[str], T], known: Collection[str]) -> Callable[[str], T | None]:
    """``get``, but ``None`` for names that are not known."""
    names = frozenset(known)
    return lambda name: get(name) if name in names else None


def _describe_mask(report: FileReport) -> FileReport:
    with open_mask(report.path) as file:
        blocks, problem = _cut(file.header, file.shapes)
        tally = tally_mask(blocks, tensor_getter(file.flags, file.names))
        return _filled(report, file.header, problem, tally=tally)


def _describe_vector(report: FileReport) -> FileReport:
    with open_vector(report.path) as file:
        blocks, problem = _cut(file.header, file.shapes, whole_model=True)
        if problem:
            problem += "; only the tensors that the vector changes are counted"
        tally = tally_vector(blocks, tensor_getter(file.entry, file.shapes))
        return _filled(report, file.header, problem, tally=tally)


def _describe_scores(report: FileReport) -> FileReport:
    found = read_scores(report.path)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.tensors.items()}
    blocks, problem = _cut(found.header, shapes)
    return _filled(report, found.header, problem, scores=summarize_scores(found.tensors, blocks))


def _cut(
    header: Header, shapes: Shapes, *, whole_model: bool = False
) -> tuple[tuple[Block, ...], str]:
    """Blocks of these tensors, and why they are whole tensors, if they are.

    Args:
        header: Names the model.
        shapes: The tensors.
        whole_model: Blocks of all that the model could train, beside these tensors.
    """
    try:
        structure = open_skeleton(None, None, header.base).structure
    except TalosError as error:
        problem = error.message
    else:
        problem = structure_problem(structure, shapes)
        if not problem:
            wanted = {**structure.shapes, **shapes} if whole_model else shapes
            return structure_blocks(structure, wanted), ""
    return tensor_blocks(shapes), f"kinds and layers are not known, tensors stand alone: {problem}"


def _filled(report: FileReport, header: Header, problem: str, **parts: Any) -> FileReport:
    notes = (problem,) if problem else ()
    return dataclasses.replace(report, header=header, by_tensor=bool(problem), notes=notes, **parts)


def _describe_headed(report: FileReport) -> FileReport:
    """A checkpoint or the state of an unfinished run."""
    header = read_header(report.path)
    return dataclasses.replace(_describe_tensors(report), header=header)


def _describe_tensors(report: FileReport) -> FileReport:
    with open_tensors(report.path) as file:
        specs = file.specs.values()
        contents: dict[str, JSON] = {
            "tensors": len(specs),
            "entries": sum(math.prod(spec.shape) for spec in specs),
            "dtypes": sorted({DTYPE_NAMES[spec.dtype] for spec in specs}),
        }
    return dataclasses.replace(report, contents=contents)


def _describe_metrics(report: FileReport) -> FileReport:
    found = read_metrics(report.path)
    plain = {key: value for key, value in found.items() if not isinstance(value, (dict, list))}
    return dataclasses.replace(report, contents={"metrics": plain, "fields": sorted(found)})


_DESCRIBE: Mapping[str, Callable[[FileReport], FileReport]] = {
    "mask": _describe_mask,
    "vector": _describe_vector,
    "scores": _describe_scores,
    "checkpoint": _describe_headed,
    "resume": _describe_headed,
    "tensors": _describe_tensors,
    "metrics": _describe_metrics,
}
DRAWABLE = ("mask", "vector", "scores")
