"""``linearized``: fine-tuning of the encoder's first-order expansion around θ0."""

from __future__ import annotations

from dataclasses import dataclass, replace

from talos_engine.artifacts import Mask
from talos_engine.models.structure import EncoderStructure
from talos_engine.training.spec import (
    FINETUNE_METHODS,
    FinetuneEntry,
    Flags,
    Trainable,
    Trainee,
    refuse_mask,
    train_encoder,
)


@dataclass(frozen=True)
class LinearizedConfig:
    """Options of linearized fine-tuning: none."""


def train_everything(
    config: LinearizedConfig, structure: EncoderStructure, mask: Mask | None
) -> Flags:
    """All parameters of the encoder, embeddings and projection included.

    Raises:
        OptionError: a mask was given.
    """
    refuse_mask("linearized", mask)
    return dict.fromkeys(structure.trainable)


def train_expansion(config: LinearizedConfig, given: Trainable) -> Trainee:
    """The encoder's parameters train, the loss being that of ``f_lin`` (Eq. 4).

    arXiv:2504.02620; deviation: none. For CLIP the features are linearized; the head normalizes
    them afterwards. What comes out, θ0 + τ, must be evaluated with ``f_lin`` as well.
    """
    plain = train_encoder(config, given)
    return replace(plain, classifier=given.backbone.linearize(given.classifier))


FINETUNE_METHODS.register("linearized")(
    FinetuneEntry(
        name="linearized",
        paper="Ortiz-Jimenez et al. 2023, arXiv:2305.12827",
        config=LinearizedConfig,
        run=train_everything,
        adapt=train_expansion,
        linearized=True,
        in_place=False,
    )
)
