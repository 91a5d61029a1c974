"""The diagonal of the Fisher information matrix, from per-example gradients of the log-likelihood.

The square is taken per example, never of a batch-averaged gradient. Selecting entries by these
scores is the masking room's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from talos_engine.configuration import check_at_least, check_choice
from talos_engine.device import Runtime
from talos_engine.errors import TrainingError

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
        chunk: Examples differentiated at once; bounds the memory, not the result.
    """

    fisher: str = "mc"
    mc_samples: int = 1
    score: str = "square"
    seed: int = 0
    chunk: int = 16

    def __post_init__(self) -> None:
        check_choice("fisher", self.fisher, FISHER_TYPES)
        check_choice("score", self.score, SCORE_KINDS)
        check_at_least("mc-samples", self.mc_samples, 1)
        check_at_least("chunk", self.chunk, 1)


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
) -> dict[str, Tensor]:
    """The Fisher diagonal at ``parameters``: Eq. 7 of arXiv:2504.02620, deviation: none.

    Args:
        classifier: Maps inputs to logits, shape (batch, classes).
        parameters: Values at which to differentiate, by parameter name; those of the classifier
            that are not named keep their own value and get no score.
        batches: The examples; every one counts the same.
        config: Kind of expectation, score and label draws.
        round_index: Calibration round, part of the key of the label draws.
        runtime: Device; gradients are taken in the parameters' own dtype.

    Returns:
        For each name in ``parameters`` a tensor of its shape, non-negative, averaged over examples.

    Raises:
        TrainingError: a gradient is not finite, or there is no example.
    """
    runtime = runtime or Runtime()
    values = {name: tensor.detach().to(runtime.device) for name, tensor in parameters.items()}
    totals = {
        name: torch.zeros_like(tensor, dtype=_sum_dtype(tensor)) for name, tensor in values.items()
    }
    count = 0
    with _plain_attention():
        for batch in batches:
            for chunk in _split(batch, config.chunk, runtime):
                _accumulate(classifier, values, chunk, config, round_index, runtime, totals)
                count += len(chunk.labels)
    if count == 0:
        raise TrainingError("no example to estimate the Fisher diagonal from")
    for name, total in totals.items():
        if not bool(torch.isfinite(total.div_(count)).all()):
            raise TrainingError(f"the gradient of {name!r} is not finite")
    return totals


def _accumulate(
    classifier: nn.Module,
    values: Mapping[str, Tensor],
    chunk: ExampleBatch,
    config: FisherConfig,
    round_index: int,
    runtime: Runtime,
    totals: dict[str, Tensor],
) -> None:
    def log_likelihood(parameters: Mapping[str, Tensor], inputs: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(classifier, dict(parameters), (inputs[None],))[0]  # (classes,)
        return _log_probability(logits, label)

    per_example = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    for labels, weights in _label_passes(classifier, values, chunk, config, round_index, runtime):
        gradients = per_example(dict(values), chunk.inputs, labels)
        for name, gradient in gradients.items():  # (n, *shape)
            per_entry = gradient.abs() if config.score == "abs" else gradient.square()
            flat = per_entry.flatten(1).to(totals[name].dtype)  # (n, entries)
            totals[name] += (weights.to(flat.device, flat.dtype) @ flat).view_as(totals[name])


def _log_probability(logits: Tensor, label: Tensor) -> Tensor:
    return torch.log_softmax(logits, dim=-1).gather(0, label[None])[0]


@torch.no_grad()
def _label_passes(
    classifier: nn.Module,
    values: Mapping[str, Tensor],
    chunk: ExampleBatch,
    config: FisherConfig,
    round_index: int,
    runtime: Runtime,
) -> list[tuple[Tensor, Tensor]]:
    """Pairs (labels, weights), each of shape (n,), whose weighted sum is the expectation."""
    if config.fisher == "empirical":
        return [(chunk.labels, torch.ones(len(chunk.labels), device=runtime.device))]
    logits = functional_call(classifier, dict(values), (chunk.inputs,)).cpu()
    probabilities = torch.softmax(logits.double(), dim=-1)  # (n, classes)
    if config.fisher == "type-2":
        return [
            (torch.full_like(chunk.labels, label), probabilities[:, label])
            for label in range(probabilities.shape[1])
        ]
    weight = torch.full((len(chunk.labels),), 1 / config.mc_samples, device=runtime.device)
    cumulative = probabilities.cumsum(dim=1)
    passes = []
    for draw in range(config.mc_samples):
        uniform = draw_uniform(config.seed, chunk.ids, round_index, draw) * cumulative[:, -1:]
        labels = torch.searchsorted(cumulative, uniform, right=True)[:, 0]
        labels = labels.clamp_(max=cumulative.shape[1] - 1)
        passes.append((labels.to(runtime.device), weight))
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


def _sum_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype is torch.float64 else torch.float32


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention through kernels that function transforms support; restored afterwards."""
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)
