"""The disentanglement error of two task vectors over a grid of coefficients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from talos_engine.evaluation.accuracy import EvaluationTask, predict
from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.progress import Progress, silent

Cell: TypeAlias = "tuple[int | None, int | None]"
"""Places of α1 and α2 on their axes; ``None`` where that vector is left out."""
Answer: TypeAlias = "tuple[_Labels | None, _Labels | None]"
"""Predictions on the examples of task 1 and of task 2; ``None`` where they are not needed.

Arrays, since those travel between processes as bytes.
"""
_Labels: TypeAlias = "NDArray[np.int64]"

WORK = "disentanglement grid"
_UNKNOWN = -1  # of predictions and counts that are not made yet


@dataclass(frozen=True)
class DisentanglementMap:
    """ξ over a grid.

    Args:
        coefs: The equispaced values of α1 and of α2.
        error: ``error[i][j] = ξ(coefs[i], coefs[j])``, in [0, 2].
        disagreements: Per task, how many predictions differ at ``[i][j]``.
        points: Number of examples per task.
    """

    coefs: tuple[float, ...]
    error: tuple[tuple[float, ...], ...]
    disagreements: Mapping[str, tuple[tuple[int, ...], ...]]
    points: Mapping[str, int]


def equispaced(count: int, reach: float) -> tuple[float, ...]:
    """``count`` equispaced values in [−reach, reach]; 0 for a single one."""
    if count == 1:
        return (0.0,)
    return tuple(round(-reach + 2 * reach * i / (count - 1), 12) for i in range(count))


@dataclass(frozen=True)
class GridModels:
    """The models of a grid: one encoder, edited in place from cell to cell.

    Args:
        encoder: The model to edit; somewhere on the grid afterwards.
        differences: τ1 and τ2, float64 by name.
        tasks: The examples of task 1 and task 2.
        coefs: Values of α1 and of α2.
    """

    encoder: EditedEncoder
    differences: Sequence[Mapping[str, Tensor]]
    tasks: Sequence[EvaluationTask]
    coefs: Sequence[float]

    def answer(self, cell: Cell) -> Answer:
        """What the model of a cell predicts on the examples of each vector that is in it."""
        self.encoder.set(
            [
                (self.coefs[place], difference)
                for place, difference in zip(cell, self.differences, strict=True)
                if place is not None
            ]
        )
        first, second = (
            None if place is None else predict(task, self.encoder.runtime).numpy()
            for place, task in zip(cell, self.tasks, strict=True)
        )
        return first, second

    def answers(self, cells: Sequence[Cell]) -> Iterable[tuple[Cell, Answer]]:
        """Those of several cells, one after another."""
        return ((cell, self.answer(cell)) for cell in cells)


@dataclass(frozen=True, eq=False)
class GridState:
    """A grid of which some cells are measured; −1 stands where they are not.

    Args:
        alone: Per task, what ``θ0 + α_t τ_t`` predicts, int64 of shape (coefs, examples).
        differing: How many predictions of the sum differ from that, int64 of shape
            (2, coefs, coefs).
    """

    alone: tuple[Tensor, Tensor]
    differing: Tensor

    @classmethod
    def empty(cls, count: int, sizes: Sequence[int]) -> GridState:
        """A grid of ``count`` values per axis on so many examples of each task."""
        first, second = (torch.full((count, size), _UNKNOWN) for size in sizes)
        return cls((first, second), torch.full((2, count, count), _UNKNOWN))

    @property
    def total(self) -> int:
        """Number of cells: each vector alone, then all pairs."""
        count = len(self.differing[0])
        return count * (count + 2)

    @property
    def done(self) -> int:
        """Number of cells that are measured."""
        alone = sum(int((made[:, 0] != _UNKNOWN).sum()) for made in self.alone)
        return alone + int((self.differing[0] != _UNKNOWN).sum())

    def missing(self, *, alone: bool) -> list[Cell]:
        """Cells of single vectors or of pairs that are not measured."""
        if alone:
            first, second = (torch.where(made[:, 0] == _UNKNOWN)[0].tolist() for made in self.alone)
            return [*((place, None) for place in first), *((None, place) for place in second)]
        return [(int(i), int(j)) for i, j in (self.differing[0] == _UNKNOWN).nonzero().tolist()]

    def record(self, cell: Cell, answer: Answer) -> None:
        """Take in what was found at a cell; a pair needs both of its single vectors before."""
        pair = None not in cell
        for which, (place, found) in enumerate(zip(cell, answer, strict=True)):
            if place is None or found is None:
                continue
            labels = torch.from_numpy(found)
            if pair:
                i, j = cell
                self.differing[which, i, j] = (labels != self.alone[which][place]).sum()
            else:
                self.alone[which][place] = labels

    def summarize(self, coefs: Sequence[float], names: Sequence[str]) -> DisentanglementMap:
        """The finished map.

        Args:
            coefs: Values of α1 and of α2.
            names: Of the two tasks.
        """
        sizes = [made.shape[1] for made in self.alone]
        counts = self.differing.tolist()
        error = tuple(
            tuple(
                sum(rows[i][j] / size for rows, size in zip(counts, sizes, strict=True))
                for j in range(len(coefs))
            )
            for i in range(len(coefs))
        )
        return DisentanglementMap(
            tuple(coefs),
            error,
            {
                name: tuple(tuple(row) for row in rows)
                for name, rows in zip(names, counts, strict=True)
            },
            dict(zip(names, sizes, strict=True)),
        )


def fill_grid(
    state: GridState,
    answers: Callable[[Sequence[Cell]], Iterable[tuple[Cell, Answer]]],
    observe: Callable[[int], None],
) -> None:
    """Measure all cells of a grid that are missing.

    Args:
        state: The grid; filled in place.
        answers: Gives the answer of each of some cells, in any order.
        observe: Told, after each cell, how many are measured.
    """
    done = state.done
    for alone in (True, False):
        for cell, answer in answers(state.missing(alone=alone)):
            state.record(cell, answer)
            done += 1
            observe(done)


def map_disentanglement(
    encoder: EditedEncoder,
    differences: Sequence[Mapping[str, Tensor]],
    tasks: Sequence[EvaluationTask],
    coefs: Sequence[float],
    progress: Progress = silent,
) -> DisentanglementMap:
    """ξ(α1, α2) = Σ_t share of task t's examples on which θ0 + α_t τ_t and the sum disagree.

    Eq. 10 of arXiv:2504.02620; deviation: it prints α1 τ1 in the first term for both tasks, the
    original definition (Ortiz-Jimenez et al. 2023) uses α_t τ_t.

    Args:
        encoder: The model to edit; at θ0 again afterwards.
        differences: τ1 and τ2, float64 by name.
        tasks: The examples of task 1 and task 2.
        coefs: Values of α1 and of α2.
        progress: Told how far the grid is.
    """
    state = GridState.empty(len(coefs), [len(task.labels) for task in tasks])
    models = GridModels(encoder, differences, tasks, coefs)
    fill_grid(state, models.answers, lambda done: progress(WORK, done, state.total))
    encoder.reset()
    return state.summarize(coefs, [task.name for task in tasks])
