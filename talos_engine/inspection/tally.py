"""Live entries and norms per block, of masks and of task vectors.

Fig. 4 and 5 of arXiv:2504.02620 show the live shares of masks by layer and kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from talos_engine.artifacts import JSON, VectorEntry
from talos_engine.inspection.blocks import Block, kind_order, structure_blocks
from talos_engine.models.structure import EncoderStructure

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True)
class Count:
    """What is live in some set of entries.

    Args:
        live: Number of entries that may train (of a mask) or that changed (of a vector).
        total: Number of entries.
        squared: Sum of the squared changes; ``None`` for masks, which have none.
    """

    live: int
    total: int
    squared: float | None = None

    @property
    def share(self) -> float:
        """Live fraction, in [0, 1]; 0 where there is no entry."""
        return self.live / self.total if self.total else 0.0

    @property
    def norm(self) -> float | None:
        """Euclidean norm of the changes; ``None`` for masks, and where it exceeds float64."""
        if self.squared is None or not math.isfinite(self.squared):
            return None
        return math.sqrt(self.squared)

    def __add__(self, other: Count) -> Count:
        squared = None
        if self.squared is not None and other.squared is not None:
            squared = self.squared + other.squared
        return Count(self.live + other.live, self.total + other.total, squared)

    def as_json(self) -> dict[str, JSON]:
        """Plain JSON; ``norm`` only where there are changes to measure."""
        fields = {"live": self.live, "total": self.total, "share": self.share}
        return fields if self.squared is None else {**fields, "norm": self.norm}


@dataclass(frozen=True)
class Tally:
    """Counts per block of a mask or vector.

    Args:
        parts: Every block with its count.
    """

    parts: tuple[tuple[Block, Count], ...]

    @property
    def overall(self) -> Count:
        """The count of all blocks together."""
        return sum((count for _, count in self.parts), Count(0, 0, 0.0 if self.measured else None))

    @property
    def measured(self) -> bool:
        """Whether the blocks have norms."""
        return all(count.squared is not None for _, count in self.parts)

    @property
    def by_kind(self) -> dict[str, Count]:
        """Counts by kind, in the order of ``kind_order``."""
        return self._grouped(lambda block: block.kind, kind_order)

    @property
    def by_layer(self) -> dict[int, Count]:
        """Counts by layer, those outside the layers (−1) last."""
        return self._grouped(lambda block: block.layer, lambda layer: (layer < 0, layer))

    @property
    def by_cell(self) -> dict[tuple[int, str], Count]:
        """Counts by layer and kind."""
        return self._grouped(
            lambda block: (block.layer, block.kind),
            lambda cell: (cell[0] < 0, cell[0], kind_order(cell[1])),
        )

    def as_json(self) -> dict[str, JSON]:
        """Plain JSON; ``layer`` of a cell is null outside the transformer blocks."""
        return {
            **self.overall.as_json(),
            "by_kind": {kind: count.as_json() for kind, count in self.by_kind.items()},
            "by_layer": {
                str(layer) if layer >= 0 else "outside": count.as_json()
                for layer, count in self.by_layer.items()
            },
            "cells": [
                {"layer": layer if layer >= 0 else None, "kind": kind, **count.as_json()}
                for (layer, kind), count in self.by_cell.items()
            ],
        }

    def _grouped(
        self, key: Callable[[Block], K], order: Callable[[K], tuple[object, ...]]
    ) -> dict[K, Count]:
        found: dict[K, Count] = {}
        for block, count in self.parts:
            at = key(block)
            found[at] = found[at] + count if at in found else count
        return {at: found[at] for at in sorted(found, key=order)}


def tally_mask(blocks: Sequence[Block], get: Callable[[str], Tensor | None]) -> Tally:
    """Live entries of a mask per block.

    Args:
        blocks: The blocks of its maskable entries.
        get: Gives a tensor's flags, bool in the parameter's shape, or ``None`` where nothing is
            live; asked once per tensor.
    """

    def count(flags: Tensor | None, block: Block) -> Count:
        if flags is None:
            return Count(0, block.size)
        rows = flags.reshape(-1)[block.start : block.stop]
        return Count(int(torch.count_nonzero(rows)), block.size)

    return Tally(tuple(_counted(blocks, get, count)))


def tally_vector(blocks: Sequence[Block], get: Callable[[str], VectorEntry | None]) -> Tally:
    """Changed entries of a task vector and their norm per block; sums are taken in float64.

    Args:
        blocks: The blocks of the model's entries.
        get: Gives a tensor's change, or ``None`` where there is none; asked once per tensor.
    """

    def count(entry: VectorEntry | None, block: Block) -> Count:
        if entry is None:
            return Count(0, block.size, 0.0)
        values = stored_values(entry, block.start, block.stop)[1]
        squared = float(values.double().square().sum())
        return Count(int(torch.count_nonzero(values)), block.size, squared)

    return Tally(tuple(_counted(blocks, get, count)))


def count_by_kind(
    structure: EncoderStructure, live: Mapping[str, Tensor]
) -> dict[str, tuple[int, int]]:
    """Live and maskable entries of each kind of parameter.

    Args:
        structure: The model's.
        live: Flags of every maskable parameter.
    """
    shapes = {name: structure.shapes[name] for name in structure.maskable}
    tally = tally_mask(structure_blocks(structure, shapes), live.get)
    return {kind: (count.live, count.total) for kind, count in tally.by_kind.items()}


def stored_values(entry: VectorEntry, start: int, stop: int) -> tuple[Tensor | None, Tensor]:
    """The stored changes between two flat positions, as a view.

    Returns:
        Their positions relative to ``start``, int64 of shape (k,), or ``None`` where every entry
        is stored; and the changes, shape (k,).
    """
    if entry.index is None:
        return None, entry.values[start:stop]
    low, high = torch.searchsorted(entry.index, torch.tensor([start, stop])).tolist()
    return entry.index[low:high] - start, entry.values[low:high]


def _counted(
    blocks: Sequence[Block], get: Callable[[str], T], count: Callable[[T, Block], Count]
) -> Iterator[tuple[Block, Count]]:
    by_name: dict[str, list[Block]] = {}
    for block in blocks:
        by_name.setdefault(block.name, []).append(block)
    for name, own in by_name.items():
        tensor = get(name)
        yield from ((block, count(tensor, block)) for block in own)
