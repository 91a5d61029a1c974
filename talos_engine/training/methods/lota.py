"""``lota``: sparse fine-tuning under a mask of the entries that dense training moves most."""

from __future__ import annotations

from dataclasses import dataclass

from talos_engine.artifacts import Mask
from talos_engine.errors import OptionError
from talos_engine.models.structure import EncoderStructure
from talos_engine.training.masked import live_entries
from talos_engine.training.spec import FINETUNE_METHODS, FinetuneEntry, Flags

_RULE = "lota"


@dataclass(frozen=True)
class LotaConfig:
    """Options of LoTA fine-tuning: none beside the mask."""


def train_live_entries(config: LotaConfig, structure: EncoderStructure, mask: Mask | None) -> Flags:
    """The live entries of a mask of rule ``lota``, from θ0 again.

    Panda et al. 2024, arXiv:2406.16797; deviation: none.

    Raises:
        OptionError: no mask, an empty one, or one of another rule.
        MismatchError: the mask names a parameter that is not maskable here.
    """
    if mask is not None and mask.header.method != _RULE:
        raise OptionError(
            f"--method lota trains under a mask of rule lota, this one is of {mask.header.method}",
            "use --method talos, which takes a mask of any rule",
        )
    return live_entries("lota", "make one with: talos calibrate --method lota", structure, mask)


FINETUNE_METHODS.register("lota")(
    FinetuneEntry(
        "lota", "LoTA, Panda et al. 2024, arXiv:2406.16797", LotaConfig, train_live_entries, _RULE
    )
)
