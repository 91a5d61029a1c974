"""AdamW that keeps values and moments of live entries only.

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

    Gradients are gathered into the buffer, torch's fused AdamW updates it, and its values are
    scattered back; values and moments exist for live entries only.

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
        self.parameters = dict(parameters)
        self.indices = {
            name: _live_index(live[name], parameter) if name in live else None
            for name, parameter in self.parameters.items()
        }
        pieces = [
            _take(parameter.detach(), self.indices[name])
            for name, parameter in self.parameters.items()
        ]
        self.sizes = [len(piece) for piece in pieces]
        self.values = torch.cat(pieces).requires_grad_()
        self._gradients = torch.empty_like(self.values)  # kept: fresh pages cost more than copies
        self.optimizer = torch.optim.AdamW(
            [self.values],
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def gather_gradients(self) -> Tensor:
        """Gradients of the live entries, flat, shape (live,); overwritten by the next call."""
        for (name, parameter), piece in zip(
            self.parameters.items(), self._gradients.split(self.sizes), strict=True
        ):
            if parameter.grad is None:
                raise ValueError(f"{name} has no gradient")
            flat, index = parameter.grad.reshape(-1), self.indices[name]
            if index is None:
                piece.copy_(flat)
            else:
                torch.index_select(flat, 0, index, out=piece)
        return self._gradients

    @torch.no_grad()
    def step(self, gradients: Tensor, learning_rate: float) -> None:
        """Update every live entry once.

        Args:
            gradients: As ``gather_gradients`` returns them, clipped or not.
            learning_rate: γ of this step.
        """
        self.values.grad = gradients
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        self.values.grad = None
        self._scatter()

    @torch.no_grad()
    def set_values(self, values: Tensor) -> None:
        """Give every live entry a value, flat, shape (live,); the moments stay."""
        self.values.copy_(values)
        self._scatter()

    def state(self) -> dict[str, Tensor]:
        """Values, moments and number of updates, not copied; moments are 0 before the first."""
        kept = self.optimizer.state.get(self.values, {})
        zeros = torch.zeros_like(self.values)
        return {
            "values": self.values.detach(),
            "exp_avg": kept.get("exp_avg", zeros),
            "exp_avg_sq": kept.get("exp_avg_sq", zeros),
            "adam_step": kept.get("step", torch.zeros((), dtype=torch.float32)),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` once gave; copied. Shapes and dtypes must be its own."""
        self.set_values(state["values"].to(self.values.device))
        moved = {name: state[name].to(self.values.device) for name in ("exp_avg", "exp_avg_sq")}
        step = state["adam_step"].to(self.values.device)  # where the fused kernel wants it
        self.optimizer.state[self.values] = {
            "step": step.clone(),
            **{name: tensor.clone() for name, tensor in moved.items()},
        }

    def _scatter(self) -> None:
        """Write the buffer's values into the parameters."""
        for (name, parameter), piece in zip(
            self.parameters.items(), self.values.detach().split(self.sizes), strict=True
        ):
            index = self.indices[name]
            if index is None:
                parameter.copy_(piece.view(parameter.shape))
            else:
                parameter.view(-1).scatter_(0, index, piece)


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


def _live_index(flags: Tensor, parameter: Tensor) -> Tensor | None:
    """Flat positions of the live entries, None where all are."""
    if bool(flags.all()):
        return None
    return torch.nonzero(flags.flatten())[:, 0].to(parameter.device)


def _take(tensor: Tensor, index: Tensor | None) -> Tensor:
    flat: Tensor = tensor.reshape(-1)
    if index is None:
        return flat
    live: Tensor = flat.index_select(0, index)
    return live
