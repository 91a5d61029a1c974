"""What a mask rule is and what it gets to see. The rules themselves live in ``rules``.

A rule ranks: it says which entries compete and by what score. How many of the lowest are live, and
whether they compete over the whole model or within parts of it, is the same for all rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from talos_engine.configuration import Method
from talos_engine.device import Runtime
from talos_engine.masking.selection import Unit, keep_in_units, unit_counts
from talos_engine.models.skeleton import Skeleton
from talos_engine.progress import Progress, silent
from talos_engine.registry import Registry


@dataclass(frozen=True)
class MaskContext:
    """What a rule may use.

    Args:
        theta0: The maskable parameters, in ranking order.
        candidates: Entries that may be selected, in the shapes of ``theta0``.
        zero_scores: Entries whose score is exactly zero whatever the data (key biases).
        sparsity: Fraction k of the candidates to freeze in the end, in [0, 1), for rules that
            approach it in rounds.
        seed: Key of everything random.
        load_model: Returns the classifier with its head for the task; costs time. Its parameters
            are the encoder's own, by ``state_dict`` key, ``theta0`` among them.
        load_inputs: Returns inputs and labels of the rule's split, shapes (n, ...) and (n,).
        units: Groups of names within which entries are ranked; empty for one of everything.
        training: The model's defaults for dense fine-tuning, by name of ``TrainConfig`` field.
        runtime: Device and precision.
        progress: Told how far the work is.
    """

    theta0: Mapping[str, Tensor]
    candidates: Mapping[str, Tensor]
    zero_scores: Mapping[str, Tensor]
    sparsity: float
    seed: int
    load_model: Callable[[], nn.Module]
    load_inputs: Callable[[], tuple[Tensor, Tensor]]
    units: Sequence[Unit] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    runtime: Runtime = field(default_factory=Runtime)
    progress: Progress = silent

    def keep_lowest(
        self,
        scores: Mapping[str, Tensor],
        among: Mapping[str, Tensor],
        sparsity: float,
        round_number: int = 1,
        rounds: int = 1,
    ) -> dict[str, Tensor]:
        """Flags of the entries that are live after a round: the lowest-scored of each unit.

        Args:
            scores: Float tensors by name.
            among: The candidates that still compete.
            sparsity: Final sparsity k in [0, 1).
            round_number: r, counted from 1.
            rounds: R.
        """
        units = self.units or (tuple(self.candidates),)
        counts = unit_counts(self.candidates, units, sparsity, round_number, rounds)
        return keep_in_units(scores, among, units, counts)


@dataclass(frozen=True)
class Ranking:
    """What a rule gives back: who competes for the live places, and by what.

    Args:
        scores: Float tensors in the shapes of ``MaskContext.theta0``; the lowest become live.
        candidates: Entries that still compete; ``None`` for all of the context's.
        saved: Scores at θ0 worth a file, non-negative, where the rule has any.
        notes: Facts for people, such as how many examples were used.
        settings: Options as resolved, where that takes the context; recorded in the mask.
        slow: Names of parameters that had to be scored one example at a time.
    """

    scores: Mapping[str, Tensor]
    candidates: Mapping[str, Tensor] | None = None
    saved: Mapping[str, Tensor] | None = None
    notes: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    slow: tuple[str, ...] = ()

    def select(self, context: MaskContext, sparsity: float) -> dict[str, Tensor]:
        """Flags of the live entries at a sparsity.

        Args:
            context: The one that the ranking was made from.
            sparsity: Fraction of the context's candidates to freeze, in [0, 1).
        """
        among = context.candidates if self.candidates is None else self.candidates
        return context.keep_lowest(self.scores, among, sparsity)


class MaskRule(Protocol):
    """A rule: options and context in, a ranking out."""

    def __call__(self, config: Any, context: MaskContext, /) -> Ranking:
        """The ranking."""
        ...


@dataclass(frozen=True)
class PlanContext:
    """What a rule may use to say, before it runs, what it would do and need.

    Args:
        skeleton: The model's shape.
        entries: Number of candidates.
        examples: Number of examples in the rule's split.
        training: As in ``MaskContext``.
    """

    skeleton: Skeleton
    entries: int
    examples: int
    training: Mapping[str, Any]


@dataclass(frozen=True)
class MaskEntry(Method[MaskRule]):
    """A mask rule.

    Args:
        has_scores: Whether the rule has scores worth a file, of which the lowest matter.
        split: The split whose examples it uses; empty where it uses none.
        one_pass: Whether, so configured, it ranks without looking at the sparsity, so that masks
            of several sparsities come from one ranking.
        brief: Options of a run that is short and takes as much memory as one with the defaults.
        plan: What it would do, by name, beside ranking; ``memory_bytes`` is what that takes.
    """

    has_scores: bool = False
    split: str = ""
    one_pass: Callable[[Any], bool] = lambda config: True
    brief: Mapping[str, Any] = field(default_factory=dict)
    plan: Callable[[Any, PlanContext], Mapping[str, int]] = lambda config, context: {}


MASK_RULES: Registry[MaskEntry] = Registry("mask rule", "talos_engine.masking.rules")
