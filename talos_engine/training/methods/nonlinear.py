"""``nonlinear``: ordinary fine-tuning of every parameter of the encoder."""

from __future__ import annotations

from dataclasses import dataclass

from talos_engine.artifacts import Mask
from talos_engine.models.structure import EncoderStructure
from talos_engine.training.spec import FINETUNE_METHODS, FinetuneEntry, Flags, refuse_mask


@dataclass(frozen=True)
class NonlinearConfig:
    """Options of non-linear fine-tuning: none."""


def train_everything(
    config: NonlinearConfig, structure: EncoderStructure, mask: Mask | None
) -> Flags:
    """All parameters of the encoder, embeddings and projection included.

    Raises:
        OptionError: a mask was given.
    """
    refuse_mask("nonlinear", mask)
    return dict.fromkeys(structure.trainable)


FINETUNE_METHODS.register("nonlinear")(
    FinetuneEntry(
        "nonlinear", "Ilharco et al. 2023, arXiv:2212.04089", NonlinearConfig, train_everything
    )
)
