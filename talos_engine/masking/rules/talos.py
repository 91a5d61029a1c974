"""The ``talos`` mask: the entries with the lowest diagonal Fisher information, found in rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from talos_engine.configuration import check_at_least, check_choice, check_fraction
from talos_engine.errors import OptionError
from talos_engine.masking.spec import MASK_RULES, MaskContext, MaskEntry, PlanContext, Ranking
from talos_engine.models.checkpointing import gradient_checkpointing
from talos_engine.seeding import derive_seed
from talos_engine.sensitivity.coverage import PROBES, Coverage, find_coverage
from talos_engine.sensitivity.fisher import (
    FISHER_TYPES,
    SCORE_KINDS,
    ExampleBatch,
    FisherConfig,
    estimate_fisher_diag,
)

_FLOAT = 4  # bytes


@dataclass(frozen=True)
class TalosConfig:
    """Options of TaLoS calibration.

    Args:
        rounds: R, number of rounds over which sparsity grows.
        batches: Batches scored per round.
        batch_size: Examples per batch.
        fisher: Kind of Fisher information, see ``FisherConfig``.
        mc_samples: Label draws per example for ``mc``, 1 unless given; ``None`` for other kinds.
        score: ``square`` or ``abs``, see ``FisherConfig``.
        soft_mask: ε, what frozen entries are multiplied with while scoring, in [0, 1]. One
            round freezes nothing before it scores.
        micro_batch: Examples in one forward and backward pass; bounds the memory.
        gradient_checkpointing: Recompute activations in the backward pass instead of keeping them.
    """

    rounds: int = 4
    batches: int = 10
    batch_size: int = 128
    fisher: str = "mc"
    mc_samples: int | None = None
    score: str = "square"
    soft_mask: float = 0.01
    micro_batch: int = FisherConfig.micro_batch
    gradient_checkpointing: bool = field(default=False, metadata={"recorded": False})

    def __post_init__(self) -> None:
        check_at_least("rounds", self.rounds, 1)
        check_at_least("batches", self.batches, 1)
        check_at_least("batch-size", self.batch_size, 1)
        check_choice("fisher", self.fisher, FISHER_TYPES)
        check_choice("score", self.score, SCORE_KINDS)
        if self.mc_samples is None and self.fisher == "mc":
            object.__setattr__(self, "mc_samples", 1)
        if self.mc_samples is not None:
            check_at_least("mc-samples", self.mc_samples, 1)
            if self.fisher != "mc":
                raise OptionError("--mc-samples only goes with --fisher mc")
        check_fraction("soft-mask", self.soft_mask)
        check_at_least("micro-batch", self.micro_batch, 1)


def calibrate_talos(config: TalosConfig, context: MaskContext) -> Ranking:
    """The last round's ranking, least sensitive first: Alg. 1 of arXiv:2504.02620.

    Deviation: density grows as ``(1 − k)^(r/R)``, as the paper's text and code have it. Scores are
    estimated with frozen entries multiplied by ε; entries once frozen stay frozen and unranked.

    Args:
        config: Rounds, data per round and kind of score.
        context: Model, data, candidates and final sparsity.
    """
    classifier = context.load_model()
    inputs, labels = context.load_inputs()
    used = min(len(labels), config.batches * config.batch_size)
    saving = gradient_checkpointing if config.gradient_checkpointing else nullcontext
    with saving(classifier):
        coverage = _try_coverage(classifier, context, inputs[: config.micro_batch])
        scores, live, first_scores = _score_in_rounds(
            config, context, classifier, coverage, inputs, labels
        )
    notes = {"examples": used, "available_examples": len(labels)}
    return Ranking(scores, live, first_scores, notes, slow=tuple(sorted(coverage.fallback)))


def _score_in_rounds(
    config: TalosConfig,
    context: MaskContext,
    classifier: nn.Module,
    coverage: Coverage,
    inputs: Tensor,
    labels: Tensor,
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """The last round's scores, the entries that compete by them, and the first round's scores."""
    fisher = FisherConfig(
        config.fisher, config.mc_samples or 1, config.score, context.seed, config.micro_batch
    )
    live: dict[str, Tensor] = dict(context.candidates)
    first_scores: dict[str, Tensor] = {}
    scores: dict[str, Tensor] = {}
    for number in range(1, config.rounds + 1):
        order = _example_order(context.seed, number, len(labels))
        # A parameter with nothing left to rank needs no score; the first round's are a result.
        competing = [name for name, flags in live.items() if number == 1 or bool(flags.any())]
        found = estimate_fisher_diag(
            classifier,
            _soften(context, live, config.soft_mask),
            _batches(inputs, labels, order, config, context, number),
            fisher,
            round_index=number,
            runtime=context.runtime,
            scored=competing,
            coverage=coverage,
        )
        scores = {
            name: found[name].cpu() if name in found else torch.zeros(flags.shape)
            for name, flags in live.items()
        }
        for name, flags in context.zero_scores.items():
            scores[name][flags] = 0.0
        first_scores = first_scores or scores
        if number < config.rounds:
            live = context.keep_lowest(scores, live, context.sparsity, number, config.rounds)
    return scores, live, first_scores


def _try_coverage(classifier: nn.Module, context: MaskContext, inputs: Tensor) -> Coverage:
    device = context.runtime.device
    values = {name: value.to(device) for name, value in context.theta0.items()}
    return find_coverage(classifier, values, list(values), inputs[:PROBES].to(device))


def _example_order(seed: int, number: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, "calibration order", number))
    return torch.randperm(count, generator=generator)


def _soften(context: MaskContext, live: Mapping[str, Tensor], epsilon: float) -> dict[str, Tensor]:
    """``c̃ ⊙ θ0``: entries frozen so far multiplied by ε, excluded ones left as they are."""
    softened = {}
    for name, value in context.theta0.items():
        frozen = context.candidates[name] & ~live[name]
        softened[name] = torch.where(frozen.to(value.device), value * epsilon, value)
    return softened


def _batches(
    inputs: Tensor,
    labels: Tensor,
    order: Tensor,
    config: TalosConfig,
    context: MaskContext,
    number: int,
) -> Iterator[ExampleBatch]:
    what, done = f"calibration round {number}/{config.rounds}", 0
    order = order[: config.batches * config.batch_size]
    context.progress(what, 0, len(order))
    # Progress moves with every backward pass; who shares a batch changes no score.
    for ids in order.split(min(config.batch_size, config.micro_batch)):
        yield ExampleBatch(ids, inputs[ids], labels[ids])
        done += len(ids)
        context.progress(what, done, len(order))


def _plan(config: TalosConfig, context: PlanContext) -> Mapping[str, int]:
    """Rounds and examples, and the memory of the sums and of a micro-batch's activations."""
    together = min(config.micro_batch, config.batch_size, context.examples)
    memory = 2 * context.entries * _FLOAT  # trying the taps takes sums twice
    memory += context.skeleton.saved_bytes(together, context.skeleton.structure.maskable)
    return {
        "rounds": config.rounds,
        "examples_per_round": min(context.examples, config.batches * config.batch_size),
        "memory_bytes": memory,
    }


MASK_RULES.register("talos")(
    MaskEntry(
        "talos",
        "TaLoS, arXiv:2504.02620, Eq. 7 and Alg. 1",
        TalosConfig,
        calibrate_talos,
        has_scores=True,
        split="val",
        one_pass=lambda config: bool(config.rounds == 1),
        brief={"rounds": 3, "batches": 1},  # then two rounds' scores are there in the third
        plan=_plan,
    )
)
