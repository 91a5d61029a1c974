"""What a fine-tuning method is: which entries it trains. The loop itself is in ``loop``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from talos_engine.artifacts import Mask
from talos_engine.configuration import Method
from talos_engine.models.structure import EncoderStructure
from talos_engine.registry import Registry


class FinetuneMethod(Protocol):
    """Chooses what trains.

    Returns flags by parameter name: a bool tensor where only some entries are live, ``None`` where
    all are; parameters not named stay frozen.
    """

    def __call__(
        self, config: Any, structure: EncoderStructure, mask: Mask | None, /
    ) -> Mapping[str, Tensor | None]:
        """Flags of what trains."""
        ...


@dataclass(frozen=True)
class FinetuneEntry(Method[FinetuneMethod]):
    """A fine-tuning method with the mask that it wants.

    Args:
        mask_rule: Name of the rule that makes its mask; empty where it takes none.
    """

    mask_rule: str = ""


FINETUNE_METHODS: Registry[FinetuneEntry] = Registry(
    "fine-tuning method", "talos_engine.training.methods"
)
