"""``talos mask``: one mask from several, taken as sets of live entries."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from talos_engine.artifacts import (
    JSON,
    BaseInfo,
    Header,
    Mask,
    MaskFile,
    check_distinct,
    check_output,
    hash_tensors,
    open_mask,
    write_mask,
)
from talos_engine.configuration import check_choice
from talos_engine.errors import MismatchError, OptionError
from talos_engine.masking.selection import count_entries
from talos_engine.masking.sets import OPERATIONS
from talos_engine.workflows.bases import check_same_base
from talos_engine.workflows.opening import Common


@dataclass(frozen=True)
class MaskSetRequest:
    """Which masks to combine.

    Args:
        operation: ``union``, ``intersect`` or ``subtract`` (the first without all the others).
        masks: Two or more mask files of one base.
        out: The mask file to write.
        common: Overwriting.
    """

    operation: str
    masks: tuple[Path, ...]
    out: Path
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class MaskSetResult:
    """What was written.

    Args:
        path: The mask file.
        live: Number of its live entries.
        total: Number of maskable entries.
        inputs: Live entries of each input, in the order given.
    """

    path: Path
    live: int
    total: int
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class _Input:
    record: dict[str, JSON]
    base: BaseInfo
    live: int

    @property
    def key(self) -> str:
        """Sort key that does not depend on paths."""
        identity = [self.record, self.base.name, self.base.pretrained, self.base.architecture]
        return json.dumps(identity, sort_keys=True)


def combine_masks(request: MaskSetRequest) -> MaskSetResult:
    """A mask file with the union, intersection or difference of masks.

    The same masks give the same bytes; the order of files plays no part, other than which one
    comes first in ``subtract``. The header names a task only where all masks share it, and
    records every input by a hash of its live entries.

    Raises:
        OptionError: an unknown operation, or fewer than two masks.
        MismatchError: the masks belong to different bases or have different shapes, or no entry
            would be live, with which nothing could be trained.
        OutputError: the result cannot be written.
    """
    check_choice("operation", request.operation, tuple(OPERATIONS))
    if len(request.masks) < 2:
        raise OptionError(f"{request.operation} takes at least two masks")
    check_distinct({"--out": request.out}, request.masks)
    check_output(request.out, force=request.common.force)
    combine = OPERATIONS[request.operation]
    live: dict[str, Tensor] = {}
    inputs: list[_Input] = []
    with ExitStack() as stack:
        files = [stack.enter_context(open_mask(path)) for path in request.masks]
        shapes = files[0].shapes
        for path, file in zip(request.masks[1:], files[1:], strict=True):
            check_same_mask_base(request.masks[0], files[0], path, file)
        for file in files:
            mask = file.read()
            live = combine(live, mask.live) if inputs else mask.live
            inputs.append(_describe(mask))
    total = sum(math.prod(shape) for shape in shapes.values())
    count = count_entries(live)
    if not count:
        raise MismatchError(
            f"the {request.operation} of these masks has no live entry: nothing could train",
            "talos inspect shows how much they overlap",
        )
    ordered = sorted(inputs, key=lambda each: each.key)
    if request.operation == "subtract":
        ordered = [inputs[0], *sorted(inputs[1:], key=lambda each: each.key)]
    header = _header(request.operation, ordered, (total - count) / total)
    write_mask(request.out, Mask(header, live, shapes), force=request.common.force)
    return MaskSetResult(request.out, count, total, tuple(each.live for each in inputs))


def check_same_mask_base(first_path: Path, first: MaskFile, path: Path, file: MaskFile) -> None:
    """Raise unless two masks belong to one base and could have the same live entries.

    Raises:
        MismatchError: they do not; both hashes, or the first differing parameter, are named.
    """
    check_same_base([first_path, path], [first.header.base, file.header.base])
    for name in sorted(first.shapes.keys() | file.shapes.keys()):
        if first.shapes.get(name) != file.shapes.get(name):
            raise MismatchError(
                f"{first_path} and {path} do not fit: parameter {name!r} has shape "
                f"{first.shapes.get(name)} in one, {file.shapes.get(name)} in the other"
            )


def _describe(mask: Mask) -> _Input:
    record: dict[str, JSON] = {
        "method": mask.header.method,
        "task": mask.header.task,
        "sparsity": mask.sparsity,
        "hash": hash_tensors(mask.live),
    }
    return _Input(record, mask.header.base, mask.live_count)


def _header(operation: str, inputs: list[_Input], sparsity: float) -> Header:
    tasks = {each.record["task"] for each in inputs}
    return Header(
        kind="mask",
        base=inputs[0].base,
        method=operation,
        task=tasks.pop() if len(tasks) == 1 else "",
        config={
            "operation": operation,
            "sparsity": sparsity,
            "inputs": [each.record for each in inputs],
        },
        seed=0,
        data="",
    )
