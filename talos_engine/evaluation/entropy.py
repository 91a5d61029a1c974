"""How certain an edited model is of its predictions, and where more certainty lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talos_engine.evaluation.accuracy import EvaluationTask
from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.seeding import derive_seed


@dataclass(frozen=True)
class EntropySlope:
    """Prediction entropy on unlabeled batches, summed over tasks, and its gradient.

    Args:
        encoder: The model; every step edits it.
        tasks: Their inputs; labels are never looked at.
        batch_size: Examples of each task in a step, all where a task has fewer.
        seed: Key of the order in which examples come.
    """

    encoder: EditedEncoder
    tasks: Sequence[EvaluationTask]
    batch_size: int
    seed: int

    def __call__(self, step: int, deltas: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        """Σ over tasks of the mean entropy in nats at ``θ0 + Δ``, and ∂/∂θ of the tensors in Δ.

        Args:
            step: Number of the batch.
            deltas: Δ, float64 by name.
        """
        runtime = self.encoder.runtime
        self.encoder.set([(1.0, deltas)])
        state = self.encoder.backbone.encoder_state()
        edited = {name: state[name] for name in deltas}
        total = 0.0
        gradients = {name: torch.zeros_like(value, device="cpu") for name, value in edited.items()}
        try:
            for parameter in edited.values():
                parameter.requires_grad_(True)
            for task in self.tasks:
                inputs = task.inputs[self._batch(task, step)].to(runtime.device)
                with torch.enable_grad(), runtime.autocast():
                    logits = task.classifier(inputs)
                    log_p = torch.log_softmax(logits.float(), dim=-1)
                    finite = log_p.masked_fill(log_p == -torch.inf, 0.0)  # 0 · ln 0 is 0
                    entropy = -(log_p.exp() * finite).sum(dim=-1).mean()
                found = torch.autograd.grad(entropy, list(edited.values()), allow_unused=True)
                total += float(entropy.detach())
                for name, gradient in zip(edited, found, strict=True):
                    if gradient is not None:
                        gradients[name] += gradient.cpu()
        finally:
            for parameter in edited.values():
                parameter.requires_grad_(False)
        return total, gradients

    def _batch(self, task: EvaluationTask, step: int) -> Tensor:
        """Positions of a step's examples; every example comes once before any comes again."""
        count = len(task.inputs)
        size = min(self.batch_size, count)
        epoch, place = divmod(step, count // size)
        key = derive_seed(self.seed, "unlabeled order", task.name, epoch)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(key))
        return order[place * size : (place + 1) * size]
