"""``l-lora``: linearized LoRA on the query and value projections.

What is linearized is each LoRA module in its own parameters, not the network in its weights. Around
random A0 and B0 = 0 the expansion of ``W0 x + s·B A x`` is
``W0 x + s·(B − B0) A0 x + s·B0 (A − A0) x = W0 x + s·B A0 x``: A has no influence any more, so only
B trains. Layers downstream stay non-linear, so the whole is the ordinary network with the weights
``W0 + s·B A0``: that is what is written, and it is evaluated as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from talos_engine.artifacts import Mask
from talos_engine.configuration import check_at_least, check_positive
from talos_engine.errors import OptionError
from talos_engine.models.low_rank import LowRankClassifier, make_block, merge_blocks
from talos_engine.models.structure import EncoderStructure, ParameterGroup
from talos_engine.training.spec import (
    FINETUNE_METHODS,
    FinetuneEntry,
    Flags,
    Trainable,
    Trainee,
    refuse_mask,
)

_ADAPTED = ("q", "v")


@dataclass(frozen=True)
class LLoraConfig:
    """Options of linearized LoRA.

    Args:
        rank: r, at least 1 and at most what the projections have of rows and columns.
        lora_alpha: Numerator of the scale s = lora_alpha / r.
    """

    rank: int = 16
    lora_alpha: float = 16.0

    def __post_init__(self) -> None:
        check_at_least("rank", self.rank, 1)
        check_positive("lora-alpha", self.lora_alpha)

    @property
    def scale(self) -> float:
        """``s = lora_alpha / r``, by which the updates ``B A0`` are multiplied."""
        return self.lora_alpha / self.rank


def adapted_groups(config: LLoraConfig, structure: EncoderStructure) -> Sequence[ParameterGroup]:
    """The query and value weights.

    Raises:
        OptionError: there are none, or the rank is larger than theirs.
    """
    groups = [g for g in structure.groups if g.kind in _ADAPTED and not g.is_bias]
    if not groups:
        raise OptionError("--method l-lora finds no query and value projections in this model")
    limit = min(min(g.stop - g.start, structure.shapes[g.name][1]) for g in groups)
    if config.rank > limit:
        raise OptionError(f"--rank must be at most {limit} in this model, not {config.rank}")
    return groups


def move_queries_and_values(
    config: LLoraConfig, structure: EncoderStructure, mask: Mask | None
) -> Flags:
    """The rows of the query and value projections; everything else keeps θ0's bits.

    Raises:
        OptionError: a mask was given, or the rank does not fit.
    """
    refuse_mask("l-lora", mask)
    flags: dict[str, torch.Tensor] = {}
    for group in adapted_groups(config, structure):
        rows = flags.setdefault(
            group.name, torch.zeros(structure.shapes[group.name], dtype=torch.bool)
        )
        rows[group.start : group.stop] = True
    return flags


def count_factors(config: LLoraConfig, structure: EncoderStructure, flags: Flags) -> int:
    """Number of entries of all B."""
    return sum(config.rank * (g.stop - g.start) for g in adapted_groups(config, structure))


def train_factors(config: LLoraConfig, given: Trainable) -> Trainee:
    """B of every adapted projection trains: Tang et al. 2024, arXiv:2310.04742; deviation: none."""
    state = given.backbone.encoder_state()
    blocks = [
        make_block(group, state[group.name], config.rank, config.scale, given.seed)
        for group in adapted_groups(config, given.backbone.structure)
    ]

    def settle() -> None:
        given.backbone.set_weights(merge_blocks(given.backbone.weights.tensors, blocks))

    return Trainee(
        classifier=LowRankClassifier(given.classifier, blocks),
        parameters={f"{block.group.label}.B": block.b for block in blocks},
        live={},
        settle=settle,
    )


FINETUNE_METHODS.register("l-lora")(
    FinetuneEntry(
        name="l-lora",
        paper="Tang et al. 2024, arXiv:2310.04742",
        config=LLoraConfig,
        run=move_queries_and_values,
        adapt=train_factors,
        count=count_factors,
        in_place=False,
    )
)
