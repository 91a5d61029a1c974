"""What a fine-tuning method is: which entries it moves, and through which parameters.

The loop itself is in ``loop``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn

from talos_engine.artifacts import Mask
from talos_engine.configuration import Method
from talos_engine.errors import OptionError
from talos_engine.models.spec import Backbone
from talos_engine.models.structure import EncoderStructure
from talos_engine.registry import Registry

Flags: TypeAlias = "Mapping[str, Tensor | None]"


class FinetuneMethod(Protocol):
    """Chooses which entries of the encoder a run may move.

    Returns flags by parameter name: a bool tensor where only some entries are live, ``None`` where
    all are; parameters not named stay frozen.
    """

    def __call__(self, config: Any, structure: EncoderStructure, mask: Mask | None, /) -> Flags:
        """Flags of what moves."""
        ...


@dataclass(frozen=True)
class Trainee:
    """What the loop works on.

    Args:
        classifier: Maps inputs to logits; a function of ``parameters``.
        parameters: Tensors that train, by name.
        live: Flags of live entries; a parameter not named there is wholly live.
        settle: Makes the encoder's own parameters what the trained ones say, where those are
            others.
    """

    classifier: nn.Module
    parameters: Mapping[str, Tensor]
    live: Mapping[str, Tensor]
    settle: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Trainable:
    """What a method is given to make a ``Trainee`` of.

    Args:
        backbone: The model, holding θ0.
        classifier: The task's classifier, which shares its encoder.
        flags: What the method's ``run`` returned.
        seed: Key of whatever it draws.
    """

    backbone: Backbone
    classifier: nn.Module
    flags: Flags
    seed: int


def refuse_mask(method: str, mask: Mask | None) -> None:
    """Raise if a mask is given to a method that takes none.

    Raises:
        OptionError: one is.
    """
    if mask is not None:
        raise OptionError(f"--mask does not go with --method {method}", "use --method talos")


def train_encoder(_config: Any, given: Trainable) -> Trainee:
    """The encoder's own parameters train, as they are."""
    state = given.backbone.encoder_state()
    return Trainee(
        classifier=given.classifier,
        parameters={name: value for name, value in state.items() if name in given.flags},
        live={name: flags for name, flags in given.flags.items() if isinstance(flags, Tensor)},
    )


def count_flags(_config: Any, structure: EncoderStructure, flags: Flags) -> int:
    """Number of entries that the flags let train."""
    return sum(
        math.prod(structure.shapes[name]) if value is None else int(value.sum())
        for name, value in flags.items()
    )


@dataclass(frozen=True)
class FinetuneEntry(Method[FinetuneMethod]):
    """A fine-tuning method with the mask that it wants.

    Args:
        mask_rule: Name of the rule that makes its mask; empty where it takes none.
        adapt: Says what the loop works on.
        count: How many entries train; those that move may be more.
        linearized: Whether what it makes is to be evaluated with the encoder linearized at θ0.
        in_place: Whether the classifier stays the plain one and the encoder's own parameters train.
    """

    mask_rule: str = ""
    adapt: Callable[[Any, Trainable], Trainee] = train_encoder
    count: Callable[[Any, EncoderStructure, Flags], int] = count_flags
    linearized: bool = False
    in_place: bool = True


FINETUNE_METHODS: Registry[FinetuneEntry] = Registry(
    "fine-tuning method", "talos_engine.training.methods"
)
