"""AdamW that keeps moments for live entries only, and its plain reference twin.

Decoupled weight decay is masked like the update: a frozen entry keeps its bits forever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AdamWConfig:
    """Constants of AdamW; the learning rate is an argument of each step.

    Args:
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        epsilon: Added to the root of the second moment.
        weight_decay: Decoupled decay, multiplied by the learning rate.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0


class SparseAdamW:
    """AdamW over one flat buffer of live entries (Eq. 8 of arXiv:2504.02620 with AdamW for γ).

    Args:
        parameters: Tensors to update in place, by name; each needs ``.grad`` when stepping.
        live: Bool tensors in the parameters' shapes, at least one live entry each; a name that is
            not there is wholly live.
        config: Constants.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        live: Mapping[str, Tensor],
        config: AdamWConfig,
    ) -> None:
        self.config = config
        self.parameters = dict(parameters)
        self.indices: dict[str, Tensor | None] = {}
        sizes = []
        for name, parameter in self.parameters.items():
            flags = live.get(name)
            dense = flags is None or bool(flags.all())
            self.indices[name] = (
                None if dense else torch.nonzero(flags.flatten())[:, 0].to(parameter.device)  # type: ignore[union-attr]
            )
            index = self.indices[name]
            sizes.append(parameter.numel() if index is None else len(index))
        self.sizes = sizes
        like = next(iter(self.parameters.values()))
        self.first = torch.zeros(sum(sizes), dtype=like.dtype, device=like.device)
        self.second = torch.zeros_like(self.first)
        self.step_count = 0

    def gather_gradients(self) -> Tensor:
        """Gradients of the live entries, flat, shape (live,)."""
        pieces = []
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                raise ValueError(f"{name} has no gradient")
            pieces.append(_take(parameter.grad, self.indices[name]))
        return torch.cat(pieces)

    def step(self, gradients: Tensor, learning_rate: float) -> None:
        """Update every live entry once.

        Args:
            gradients: As ``gather_gradients`` returns them, clipped or not; overwritten.
            learning_rate: γ of this step.
        """
        constants = self.config
        self.step_count += 1
        self.first.lerp_(gradients, 1 - constants.beta1)
        self.second.mul_(constants.beta2).addcmul_(gradients, gradients, value=1 - constants.beta2)
        correction1 = 1 - constants.beta1**self.step_count
        correction2 = 1 - constants.beta2**self.step_count
        scale = self.second.sqrt().div_(correction2**0.5).add_(constants.epsilon)
        update = torch.div(self.first, scale, out=gradients).mul_(-learning_rate / correction1)
        decay = 1 - learning_rate * constants.weight_decay
        with torch.no_grad():
            for (name, parameter), piece in zip(
                self.parameters.items(), update.split(self.sizes), strict=True
            ):
                _add(parameter.data, self.indices[name], piece, decay)

    def state_bytes(self) -> int:
        """Bytes held by the moments: two numbers per live entry."""
        return 2 * self.first.numel() * self.first.element_size()


def clip_gradients(gradients: Tensor, limit: float) -> Tensor:
    """The norm of ``gradients``, which are scaled in place so that it does not exceed ``limit``.

    Args:
        gradients: Flat live gradients.
        limit: Largest norm allowed; 0 switches clipping off.
    """
    norm: Tensor = torch.linalg.vector_norm(gradients)
    if limit > 0:
        gradients.mul_(torch.clamp(limit / (norm + 1e-6), max=1.0))
    return norm


def reference_step(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    live: Tensor,
    step_count: int,
    learning_rate: float,
    config: AdamWConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """One masked AdamW step written plainly on dense tensors: (parameter, first, second).

    The oracle of ``SparseAdamW``; nothing is changed in place.
    """
    first = config.beta1 * first + (1 - config.beta1) * gradient
    second = config.beta2 * second + (1 - config.beta2) * gradient**2
    corrected1 = first / (1 - config.beta1**step_count)
    corrected2 = second / (1 - config.beta2**step_count)
    decayed = parameter * (1 - learning_rate * config.weight_decay)
    moved = decayed - learning_rate * corrected1 / (corrected2.sqrt() + config.epsilon)
    return torch.where(live, moved, parameter), first, second


def _take(gradient: Tensor, index: Tensor | None) -> Tensor:
    flat: Tensor = gradient.reshape(-1)
    if index is None:
        return flat
    live: Tensor = flat.index_select(0, index)
    return live


def _add(parameter: Tensor, index: Tensor | None, update: Tensor, decay: float) -> None:
    flat = parameter.view(-1)
    if index is None:
        flat.mul_(decay).add_(update)
        return
    values = flat.index_select(0, index).mul_(decay).add_(update)
    flat.index_copy_(0, index, values)
