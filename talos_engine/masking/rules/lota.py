"""The ``lota`` mask: the entries that a short dense fine-tuning run moves most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from talos_engine.configuration import check_at_least, check_positive
from talos_engine.errors import TrainingError
from talos_engine.masking.spec import MASK_RULES, MaskContext, MaskEntry, PlanContext, Ranking
from talos_engine.training.loop import TrainConfig, TrainJob, train

_FLOAT = 4  # bytes


@dataclass(frozen=True)
class LotaConfig:
    """Options of the LoTA mask; what is not given is the model's default for fine-tuning.

    Args:
        lota_steps: Steps of the dense run; by default as many as TaLoS's calibration takes batches.
        lota_lr: Peak learning rate of the dense run.
        batch_size: Examples per step.
    """

    lota_steps: int = 40
    lota_lr: float | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_at_least("lota-steps", self.lota_steps, 1)
        if self.lota_lr is not None:
            check_positive("lota-lr", self.lota_lr)
        if self.batch_size is not None:
            check_at_least("batch-size", self.batch_size, 1)


def rank_by_change(config: LotaConfig, context: MaskContext) -> Ranking:
    """A ranking by |θ − θ0| after dense fine-tuning, largest first; the model is at θ0 again.

    Lottery Ticket Adaptation, Panda et al. 2024, arXiv:2406.16797; deviation: entries that cannot
    change any output come last, since Adam turns their rounding noise into steps.

    Args:
        config: Length and rate of the dense run.
        context: Model, training split and training defaults. Every parameter of the encoder
            trains, the maskable ones are ranked.

    Raises:
        TrainingError: the loss, or a parameter after the last step, is not finite.
    """
    classifier = context.load_model()
    inputs, labels = context.load_inputs()
    training = _resolve(config, context.training, context.seed)
    parameters = dict(classifier.named_parameters())
    job = TrainJob(
        classifier=classifier,
        parameters=parameters,
        live={},
        inputs=inputs,
        labels=labels,
        config=training,
        runtime=context.runtime,
        progress=context.progress,
    )
    with _restored(parameters) as start:
        train(job)
        changes = {
            name: (parameters[name].detach() - start[name]).abs_().neg_().cpu()
            for name in context.theta0
        }
    for name, change in changes.items():
        if not bool(torch.isfinite(change).all()):
            raise TrainingError(
                f"{name!r} is not finite after the dense run", "try a lower --lota-lr"
            )
        if name in context.zero_scores:
            change[context.zero_scores[name]] = 0.0
    notes = {"steps": training.steps, "batch_size": min(training.batch_size, len(labels))}
    return Ranking(changes, notes=notes, settings={"training": asdict(training)})


@contextmanager
def _restored(parameters: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Copies of the parameters, which have these values again afterwards."""
    start = {name: value.detach().clone() for name, value in parameters.items()}
    try:
        yield start
    finally:
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(start[name])


def _resolve(config: LotaConfig, defaults: Mapping[str, Any], seed: int) -> TrainConfig:
    given = {"lr": config.lota_lr, "batch_size": config.batch_size}
    chosen = {name: value for name, value in given.items() if value is not None}
    warmup = min(defaults["warmup"], config.lota_steps // 10)  # must reach its learning rate
    fixed = {"steps": config.lota_steps, "warmup": warmup, "seed": seed, "early_stop": 0}
    return TrainConfig(**{**defaults, **chosen, **fixed})


def _plan(config: LotaConfig, context: PlanContext) -> Mapping[str, int]:
    """Steps, and the memory of θ0, gradients, the flat values and two moments, all dense."""
    training = _resolve(config, context.training, 0)
    batch = min(training.batch_size, context.examples)
    saved = context.skeleton.saved_bytes(batch, context.skeleton.structure.trainable)
    memory = 5 * context.skeleton.encoder_entries * _FLOAT + saved
    return {"steps": training.steps, "batch_size": batch, "memory_bytes": memory}


MASK_RULES.register("lota")(
    MaskEntry(
        "lota",
        "LoTA, Panda et al. 2024, arXiv:2406.16797",
        LotaConfig,
        rank_by_change,
        split="train",
        brief={"lota_steps": 2},
        plan=_plan,
    )
)
