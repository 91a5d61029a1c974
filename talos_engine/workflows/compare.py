"""``talos compare``: where two checkpoints, task vectors or masks differ, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from talos_engine.artifacts import (
    TensorSpec,
    inspect_kind,
    open_checkpoint,
    open_tensors,
    open_vector,
    read_mask,
)
from talos_engine.errors import MismatchError, WrongKindError

_NAMED = 3  # so many differing names are listed in a message


@dataclass(frozen=True)
class TensorDifference:
    """How one tensor differs.

    Args:
        name: Its name.
        equal: Whether every bit is the same.
        entries: Number of its entries.
        differing: How many of them differ in a bit.
        largest: Largest absolute difference; ``None`` where a number is NaN or infinite.
    """

    name: str
    equal: bool
    entries: int
    differing: int
    largest: float | None


@dataclass(frozen=True)
class Comparison:
    """How two files differ.

    Args:
        kind: What both are: ``checkpoint``, ``vector``, ``mask``, or ``tensors`` if one has no
            header of ours.
        same_base: Whether both record the same base; ``None`` where one records none.
        tensors: Every tensor, by name in sorted order.
    """

    kind: str
    same_base: bool | None
    tensors: tuple[TensorDifference, ...]

    @property
    def differing(self) -> tuple[TensorDifference, ...]:
        """The tensors that are not the same bit for bit."""
        return tuple(each for each in self.tensors if not each.equal)

    @property
    def equal(self) -> bool:
        """Whether every tensor is the same bit for bit."""
        return not self.differing

    @property
    def largest(self) -> float | None:
        """Largest absolute difference; ``None`` where a number is NaN or infinite."""
        found = [each.largest for each in self.differing]
        return (
            None
            if None in found
            else max((each for each in found if each is not None), default=0.0)
        )


@dataclass(frozen=True)
class _Opened:
    """A file of any kind.

    Args:
        kind: What it is.
        base: Hash of its base, if it records one.
        specs: Dtype and shape of every tensor.
        get: The tensor of a name, and what else belongs to it that has to be the same.
        complete: Whether a tensor that is not there is missing, rather than without a change.
    """

    kind: str
    base: str | None
    specs: Mapping[str, TensorSpec]
    get: Callable[[str], tuple[Tensor, ...]]
    complete: bool = True


def compare_files(first: Path, second: Path) -> Comparison:
    """Where two files of one kind differ; one tensor of each is in memory at a time.

    A checkpoint and a plain safetensors file can be compared. Of task vectors the changes are
    compared, whatever their storage; a tensor that one leaves out is unchanged there.

    Raises:
        WrongKindError: they are of different kinds, or of one that has no tensors to compare.
        MismatchError: their tensors have different names, shapes or dtypes; the first are named.
        CorruptFileError: one of them is damaged.
    """
    with ExitStack() as stack:
        one, two = (_open(path, stack) for path in (first, second))
        plain = {one.kind, two.kind} <= {"checkpoint", "tensors"}
        if one.kind != two.kind and not plain:
            raise WrongKindError(
                f"{first} is of kind {one.kind}, {second} of kind {two.kind}",
                "compare two checkpoints, two vectors or two masks",
            )
        _check_layout(first, one, second, two)
        names = sorted(one.specs.keys() | two.specs.keys())
        tensors = tuple(_compare(name, one.get(name), two.get(name)) for name in names)
    known = one.base is not None and two.base is not None
    kind = one.kind if one.kind == two.kind else "tensors"
    return Comparison(kind, one.base == two.base if known else None, tensors)


def _open(path: Path, stack: ExitStack) -> _Opened:
    kind = inspect_kind(path)
    if kind == "checkpoint":
        checkpoint = stack.enter_context(open_checkpoint(path))
        base = checkpoint.header.base.hash
        return _Opened(kind, base, checkpoint.specs, lambda name: (checkpoint[name],))
    if kind == "tensors":
        plain = stack.enter_context(open_tensors(path))
        return _Opened(kind, None, plain.specs, lambda name: (plain.get(name),))
    if kind == "mask":
        mask = read_mask(path)
        shapes = mask.shapes

        def flags(name: str) -> tuple[Tensor, ...]:
            return (mask.live.get(name, torch.zeros(shapes[name], dtype=torch.bool)),)

        specs = {name: TensorSpec(torch.bool, tuple(shape)) for name, shape in shapes.items()}
        return _Opened(kind, mask.header.base.hash, specs, flags)
    if kind == "vector":
        return _open_vector(path, stack)
    raise WrongKindError(f"{path} is of kind {kind}, which cannot be compared")


def _open_vector(path: Path, stack: ExitStack) -> _Opened:
    vector = stack.enter_context(open_vector(path))
    dtypes = vector.dtypes
    specs = {name: TensorSpec(dtypes[name], shape) for name, shape in vector.shapes.items()}

    def change(name: str) -> tuple[Tensor, ...]:
        if name not in specs:
            return ()
        entry = vector.entry(name)
        return entry.dense(), entry.fix_index, entry.fix_values

    return _Opened("vector", vector.header.base.hash, specs, change, complete=False)


def _check_layout(first: Path, one: _Opened, second: Path, two: _Opened) -> None:
    if one.complete:
        for path, missing in (
            (first, two.specs.keys() - one.specs),
            (second, one.specs.keys() - two.specs),
        ):
            if missing:
                names = sorted(missing)
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                listed = ", ".join(repr(name) for name in names[:_NAMED])
                raise MismatchError(f"{path} lacks {listed}{more}, which the other file has")
    for name in sorted(one.specs.keys() & two.specs.keys()):
        here, there = one.specs[name], two.specs[name]
        if here != there:
            raise MismatchError(
                f"{name!r} is {here.dtype} of shape {here.shape} in {first}, "
                f"{there.dtype} of shape {there.shape} in {second}"
            )


def _compare(name: str, one: tuple[Tensor, ...], two: tuple[Tensor, ...]) -> TensorDifference:
    if not one or not two:  # unchanged in one of the vectors
        (here, *rest) = one or two
        zero = torch.zeros_like(here)
        one, two = (here, *rest), (zero, *(each[:0] for each in rest))
    bits = [[_bits(part) for part in parts] for parts in (one, two)]
    equal = all(torch.equal(here, there) for here, there in zip(*bits, strict=True))
    entries = one[0].numel()
    if equal:
        return TensorDifference(name, True, entries, 0, 0.0)
    width = max(1, one[0].element_size())
    apart = (bits[0][0].view(-1, width) != bits[1][0].view(-1, width)).any(dim=1)
    largest = float((_wide(one[0]) - _wide(two[0])).abs().max()) if entries else 0.0
    return TensorDifference(
        name, False, entries, int(apart.sum()), largest if math.isfinite(largest) else None
    )


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_complex() else tensor.double()
