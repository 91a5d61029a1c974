"""Early stopping: the best state on validation data is kept, the run ends when none better comes.

What is measured is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

COUNTS = ("best_correct", "best_step", "waited")


@dataclass
class EarlyStopping:
    """Patience on validation accuracy.

    Args:
        measure: Correct validation predictions of the classifier as it is, told the step.
        every: Steps between two measurements, at least 1; the last step is measured too.
        patience: Measurements in a row without a new best after which the run ends, at least 1.
        best_correct: Correct predictions of the best state so far; -1 before the first.
        best_step: The step of that state, counted from 1; 0 before the first.
        waited: Measurements since then.
        best_values: Live values of that state, flat.
    """

    measure: Callable[[int], int]
    every: int
    patience: int
    best_correct: int = -1
    best_step: int = 0
    waited: int = 0
    best_values: Tensor | None = None

    @property
    def over(self) -> bool:
        """Whether the run should end."""
        return self.waited >= self.patience

    def after_step(self, step: int, steps: int, values: Tensor) -> None:
        """Measure if it is time to, and keep a copy of the values if they are the best so far.

        Args:
            step: The step just made, counted from 1.
            steps: Steps of the whole run.
            values: Live values after that step, flat.
        """
        if step % self.every and step != steps:
            return
        correct = self.measure(step)
        if correct > self.best_correct:  # of equals the earliest stays
            self.best_correct, self.best_step, self.waited = correct, step, 0
            self.best_values = values.detach().clone()
        else:
            self.waited += 1

    def counts(self) -> dict[str, int]:
        """What must be remembered beside ``best_values`` to go on later."""
        return {name: getattr(self, name) for name in COUNTS}

    def restore(self, counts: Mapping[str, int], best_values: Tensor | None) -> None:
        """Go on from what ``counts`` once said."""
        for name in COUNTS:
            setattr(self, name, counts[name])
        self.best_values = best_values
