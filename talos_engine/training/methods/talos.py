"""``talos``: sparse fine-tuning of the entries that a mask leaves live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from talos_engine.artifacts import Mask
from talos_engine.errors import MismatchError, OptionError
from talos_engine.models.structure import EncoderStructure
from talos_engine.training.spec import FINETUNE_METHODS, FinetuneEntry


@dataclass(frozen=True)
class TalosConfig:
    """Options of sparse fine-tuning: none beside the mask."""


def train_live_entries(
    config: TalosConfig, structure: EncoderStructure, mask: Mask | None
) -> Mapping[str, Tensor | None]:
    """The live entries of the mask (Eq. 8 of arXiv:2504.02620; deviation: none).

    Raises:
        OptionError: no mask, or an empty one.
        MismatchError: the mask names a parameter that is not maskable here.
    """
    if mask is None:
        raise OptionError("--method talos needs --mask", "make one with: talos calibrate")
    if not mask.live:
        raise OptionError("the mask has no live entry: nothing would train")
    maskable = set(structure.maskable)
    for name, flags in mask.live.items():
        if name not in maskable or tuple(flags.shape) != structure.shapes[name]:
            raise MismatchError(f"the mask names {name!r}, which is not maskable in this model")
    return dict(mask.live)


FINETUNE_METHODS.register("talos")(
    FinetuneEntry(
        "talos", "TaLoS, arXiv:2504.02620, Eq. 8", TalosConfig, train_live_entries, "talos"
    )
)
