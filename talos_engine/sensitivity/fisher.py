"""The diagonal of the Fisher information matrix, from per-example gradients of the log-likelihood.

The square is taken per example, never of a batch-averaged gradient. How per-example gradients are
had in one backward pass is told in ``taps`` and ``layers``; selecting entries by these scores is
the masking room's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from talos_engine.configuration import check_at_least, check_choice
from talos_engine.device import Runtime
from talos_engine.errors import TrainingError
from talos_engine.sensitivity.coverage import (
    Coverage,
    add_one_by_one,
    check_names,
    find_coverage,
    holding,
    make_recorder,
)
from talos_engine.sensitivity.layers import TAP_MAKERS
from talos_engine.sensitivity.squared_sums import SquaredSums
from talos_engine.sensitivity.taps import Recorder, tapped

FISHER_TYPES = ("mc", "type-2", "empirical")
SCORE_KINDS = ("square", "abs")


@dataclass(frozen=True)
class FisherConfig:
    """How the expectation over labels is taken.

    Args:
        fisher: ``mc`` draws labels from the model (the paper's choice), ``type-2`` sums over every
            class weighted by its probability, ``empirical`` uses the data's own labels.
        mc_samples: Draws per example for ``mc``.
        score: ``square`` for Eq. 7, ``abs`` for the variant of the paper's footnote 2.
        seed: Key of the label draws.
        micro_batch: Examples in one forward and backward pass; bounds the memory, not the result.
    """

    fisher: str = "mc"
    mc_samples: int = 1
    score: str = "square"
    seed: int = 0
    micro_batch: int = 64

    def __post_init__(self) -> None:
        check_choice("fisher", self.fisher, FISHER_TYPES)
        check_choice("score", self.score, SCORE_KINDS)
        check_at_least("mc-samples", self.mc_samples, 1)
        check_at_least("micro-batch", self.micro_batch, 1)


@dataclass(frozen=True)
class ExampleBatch:
    """A batch that remembers which examples it holds.

    Args:
        ids: Position of each example in its split, shape (n,); keys the label draws.
        inputs: Prepared inputs, shape (n, ...).
        labels: int64, shape (n,).
    """

    ids: Tensor
    inputs: Tensor
    labels: Tensor


def estimate_fisher_diag(
    classifier: nn.Module,
    parameters: Mapping[str, Tensor],
    batches: Iterable[ExampleBatch],
    config: FisherConfig,
    *,
    round_index: int = 0,
    runtime: Runtime | None = None,
    scored: Collection[str] | None = None,
    coverage: Coverage | None = None,
) -> dict[str, Tensor]:
    """The Fisher diagonal at ``parameters``: Eq. 7 of arXiv:2504.02620, deviation: none.

    Args:
        classifier: Maps inputs to logits, shape (batch, classes); in evaluation mode, so that one
            example's logits do not depend on another example.
        parameters: Values at which to differentiate, by parameter name; those of the classifier
            that are not named keep their own value.
        batches: The examples; every one counts the same.
        config: Kind of expectation, score and label draws.
        round_index: Calibration round, part of the key of the label draws.
        runtime: Device, and the precision of the forward pass; squares are summed in float32, or
            in float64 where the parameters are.
        scored: Names among ``parameters`` that get a score; ``None`` means all of them.
        coverage: What ``find_coverage`` found for this classifier; ``None`` tries it here.

    Returns:
        For each scored name a tensor of its shape, non-negative, averaged over examples.

    Raises:
        TrainingError: a gradient is not finite, or there is no example.
        ValueError: a name is not a parameter of the classifier, or has another shape there.
    """
    runtime = runtime or Runtime()
    check_names(classifier, parameters)
    values = {name: tensor.detach().to(runtime.device) for name, tensor in parameters.items()}
    names = [name for name in values if scored is None or name in scored]
    count = 0
    recorder: Recorder | None = None
    slow: SquaredSums | None = None
    for batch in batches:
        for part in _split(batch, config.micro_batch, runtime):
            if recorder is None or slow is None:
                coverage = coverage or find_coverage(classifier, values, names, part.inputs)
                fast_names = coverage.covered.intersection(names)
                recorder = make_recorder(classifier, values, fast_names, config.score)
                slow = SquaredSums(values, set(names) - fast_names, config.score)
            with holding(classifier, values):
                _accumulate(classifier, part, config, round_index, runtime, recorder, slow)
            count += len(part.labels)
            if recorder.failed:
                name = min(recorder.failed)
                raise TrainingError(f"the layer of {name!r} was called in another way than before")
    if recorder is None or slow is None:
        raise TrainingError("no example to estimate the Fisher diagonal from")
    totals = recorder.sums.results() | slow.results()
    for name in names:
        if not bool(torch.isfinite(totals[name].div_(count)).all()):
            raise TrainingError(f"the gradient of {name!r} is not finite")
    return {name: totals[name] for name in names}


def _accumulate(
    classifier: nn.Module,
    part: ExampleBatch,
    config: FisherConfig,
    round_index: int,
    runtime: Runtime,
    recorder: Recorder,
    slow: SquaredSums,
) -> None:
    """Add the scores of some examples: one forward pass, and a backward pass per label drawn."""
    with torch.enable_grad(), tapped(classifier, recorder, TAP_MAKERS):
        recorder.examples = len(part.labels)
        with runtime.autocast():
            logits = classifier(part.inputs)  # (n, classes)
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        log_p = torch.log_softmax(wide, dim=-1)
        passes = _label_passes(log_p.detach(), part, config, round_index)
        for number, (labels, weights) in enumerate(passes):
            # Scores are linear in |g| but quadratic in g: there a weight enters as its root.
            factors = weights if config.score == "abs" else weights.sqrt()
            factors = factors.to(log_p.device, log_p.dtype)
            if log_p.requires_grad:
                chosen = log_p.gather(1, labels[:, None])[:, 0]
                # A class that an example does not have counts 0 times −∞.
                loss = (factors * chosen.masked_fill(factors == 0, 0.0)).sum()
                loss.backward(retain_graph=number + 1 < len(passes))
            passes[number] = (labels, factors)
    if len(slow):
        for labels, factors in passes:
            with runtime.autocast():
                add_one_by_one(classifier, part.inputs, labels, factors, slow)


@torch.no_grad()
def _label_passes(
    log_p: Tensor, part: ExampleBatch, config: FisherConfig, round_index: int
) -> list[tuple[Tensor, Tensor]]:
    """Pairs (labels, weights), each of shape (n,), whose weighted sum is the expectation.

    Args:
        log_p: Log-probabilities, shape (n, classes).
        part: The examples.
        config: Kind of expectation.
        round_index: Part of the key of the draws.
    """
    device = log_p.device
    if config.fisher == "empirical":
        return [(part.labels, torch.ones(len(part.labels), device=device))]
    probabilities = torch.softmax(log_p.cpu().double(), dim=-1)  # (n, classes)
    if config.fisher == "type-2":
        return [
            (torch.full_like(part.labels, label), probabilities[:, label])
            for label in range(probabilities.shape[1])
        ]
    weight = torch.full((len(part.labels),), 1 / config.mc_samples, dtype=torch.float64)
    cumulative = probabilities.cumsum(dim=1)
    passes = []
    for draw in range(config.mc_samples):
        uniform = draw_uniform(config.seed, part.ids, round_index, draw) * cumulative[:, -1:]
        labels = torch.searchsorted(cumulative, uniform, right=True)[:, 0]
        labels = labels.clamp_(max=cumulative.shape[1] - 1)
        passes.append((labels.to(device), weight))
    return passes


def draw_uniform(seed: int, ids: Tensor, round_index: int, draw: int) -> Tensor:
    """Uniform numbers in [0, 1), float64 of shape (n, 1), keyed by (seed, example, round, draw).

    The number of an example does not depend on the batch it comes in.
    """
    numbers = [
        np.random.Generator(
            np.random.Philox(key=[seed, int(example)], counter=[0, 0, round_index, draw])
        ).random()
        for example in ids.tolist()
    ]
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def _split(batch: ExampleBatch, size: int, runtime: Runtime) -> Iterator[ExampleBatch]:
    for start in range(0, len(batch.labels), size):
        chosen = slice(start, start + size)
        yield ExampleBatch(
            batch.ids[chosen],
            batch.inputs[chosen].to(runtime.device),
            batch.labels[chosen].to(runtime.device),
        )
