"""What the methods that train under a mask share."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from talos_engine.artifacts import Mask
from talos_engine.errors import MismatchError, OptionError
from talos_engine.models.structure import EncoderStructure


def live_entries(
    method: str, hint: str, structure: EncoderStructure, mask: Mask | None
) -> Mapping[str, Tensor]:
    """The live entries of a mask (Eq. 8 of arXiv:2504.02620; deviation: none).

    Args:
        method: The method that wants them, for messages.
        hint: How to make such a mask, for messages.
        structure: The encoder's parameters.
        mask: What the user gave, if anything.

    Raises:
        OptionError: no mask, or an empty one.
        MismatchError: the mask names a parameter that is not maskable here.
    """
    if mask is None:
        raise OptionError(f"--method {method} needs --mask", hint)
    if not mask.live:
        raise OptionError("the mask has no live entry: nothing would train")
    maskable = set(structure.maskable)
    for name, flags in mask.live.items():
        if name not in maskable or tuple(flags.shape) != structure.shapes[name]:
            raise MismatchError(f"the mask names {name!r}, which is not maskable in this model")
    return dict(mask.live)
