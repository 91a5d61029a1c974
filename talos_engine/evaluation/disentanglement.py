"""The disentanglement error of two task vectors over a grid of coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from talos_engine.evaluation.accuracy import EvaluationTask, predict
from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.progress import Progress, silent


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
    alone: list[list[Tensor]] = []
    total = len(coefs) ** 2 + 2 * len(coefs)
    done = 0
    for difference, task in zip(differences, tasks, strict=True):
        predictions = []
        for coef in coefs:
            encoder.set([(coef, difference)])
            predictions.append(predict(task, encoder.runtime))
            done += 1
            progress("disentanglement grid", done, total)
        alone.append(predictions)
    counts = [[[0] * len(coefs) for _ in coefs] for _ in tasks]
    for i, first in enumerate(coefs):
        for j, second in enumerate(coefs):
            encoder.set([(first, differences[0]), (second, differences[1])])
            for which, (task, at) in enumerate(zip(tasks, (i, j), strict=True)):
                together = predict(task, encoder.runtime)
                counts[which][i][j] = int((together != alone[which][at]).sum())
            done += 1
            progress("disentanglement grid", done, total)
    encoder.reset()
    sizes = [len(task.labels) for task in tasks]
    error = tuple(
        tuple(
            sum(counts[which][i][j] / sizes[which] for which in range(len(tasks)))
            for j in range(len(coefs))
        )
        for i in range(len(coefs))
    )
    return DisentanglementMap(
        tuple(coefs),
        error,
        {task.name: tuple(tuple(row) for row in counts[which]) for which, task in enumerate(tasks)},
        {task.name: size for task, size in zip(tasks, sizes, strict=True)},
    )
