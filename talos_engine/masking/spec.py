"""What a mask rule is and what it gets to see. The rules themselves live in ``rules``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from talos_engine.configuration import Method
from talos_engine.device import Runtime
from talos_engine.progress import Progress, silent
from talos_engine.registry import Registry


@dataclass(frozen=True)
class MaskContext:
    """What a rule may use.

    Args:
        theta0: The maskable parameters, in ranking order.
        candidates: Entries that may be selected, in the shapes of ``theta0``.
        zero_scores: Entries whose score is exactly zero whatever the data (key biases).
        sparsity: Fraction k of the candidates to freeze, in [0, 1).
        seed: Key of everything random.
        load_model: Returns the classifier with its head for the task; costs time.
        load_inputs: Returns the task's calibration inputs and labels, shapes (n, ...) and (n,).
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
    runtime: Runtime = field(default_factory=Runtime)
    progress: Progress = silent


@dataclass(frozen=True)
class MaskResult:
    """What a rule gives back.

    Args:
        live: Flags of the trainable entries, in the shapes of ``MaskContext.theta0``.
        scores: The scores of the first round, before anything was frozen, where the rule has any.
        notes: Facts for people, such as how many examples were used.
    """

    live: Mapping[str, Tensor]
    scores: Mapping[str, Tensor] | None = None
    notes: Mapping[str, int] = field(default_factory=dict)


class MaskRule(Protocol):
    """A rule: options and context in, live entries out."""

    def __call__(self, config: Any, context: MaskContext, /) -> MaskResult:
        """The live entries."""
        ...


@dataclass(frozen=True)
class MaskEntry(Method[MaskRule]):
    """A mask rule.

    Args:
        has_scores: Whether the rule scores entries, so that scores can be saved.
    """

    has_scores: bool = False


MASK_RULES: Registry[MaskEntry] = Registry("mask rule", "talos_engine.masking.rules")
