"""The ``magnitude`` mask: entries chosen by the size of the pre-trained weight; no data."""

from __future__ import annotations

from dataclasses import dataclass

from talos_engine.configuration import check_choice
from talos_engine.masking.spec import MASK_RULES, MaskContext, MaskEntry, Ranking

KEEPS = ("lowest", "highest")


@dataclass(frozen=True)
class MagnitudeConfig:
    """Options of the magnitude mask.

    Args:
        magnitude_keep: ``lowest`` trains the smallest weights, as PaFi does (arXiv:2305.16742);
            ``highest`` the largest, as the magnitude baseline of arXiv:2412.13488 does.
    """

    magnitude_keep: str = "lowest"

    def __post_init__(self) -> None:
        check_choice("magnitude-keep", self.magnitude_keep, KEEPS)


def rank_by_magnitude(config: MagnitudeConfig, context: MaskContext) -> Ranking:
    """A ranking by |θ0|: PaFi of arXiv:2305.16742; deviation: none.

    The same for every task and seed. The scores saved are |θ0| whichever end is kept; pruning the
    lowest of them is magnitude pruning, the control for pruning by sensitivity.

    Args:
        config: Which end trains.
        context: Model and candidates; no data is read.
    """
    magnitudes = {name: value.detach().abs().cpu() for name, value in context.theta0.items()}
    if config.magnitude_keep == "lowest":
        return Ranking(magnitudes, saved=magnitudes)
    return Ranking({name: -value for name, value in magnitudes.items()}, saved=magnitudes)


MASK_RULES.register("magnitude")(
    MaskEntry(
        "magnitude", "PaFi, arXiv:2305.16742", MagnitudeConfig, rank_by_magnitude, has_scores=True
    )
)
