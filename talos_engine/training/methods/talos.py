"""``talos``: sparse fine-tuning of the entries that a mask leaves live."""

from __future__ import annotations

from dataclasses import dataclass

from talos_engine.artifacts import Mask
from talos_engine.models.structure import EncoderStructure
from talos_engine.training.masked import live_entries
from talos_engine.training.spec import FINETUNE_METHODS, FinetuneEntry, Flags


@dataclass(frozen=True)
class TalosConfig:
    """Options of sparse fine-tuning: none beside the mask."""


def train_live_entries(
    config: TalosConfig, structure: EncoderStructure, mask: Mask | None
) -> Flags:
    """The live entries of the mask (Eq. 8 of arXiv:2504.02620; deviation: none).

    Raises:
        OptionError: no mask, or an empty one.
        MismatchError: the mask names a parameter that is not maskable here.
    """
    return live_entries("talos", "make one with: talos calibrate", structure, mask)


FINETUNE_METHODS.register("talos")(
    FinetuneEntry(
        "talos", "TaLoS, arXiv:2504.02620, Eq. 8", TalosConfig, train_live_entries, "talos"
    )
)
