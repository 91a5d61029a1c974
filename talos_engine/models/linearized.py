"""Encoders replaced by their first-order expansion around θ0. Heads stay as they are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call, jvp

from talos_engine.models.attention import plain_attention, sequence_first_memory


class LinearizedEncoder(nn.Module):
    """``f(x, θ0) + (θ − θ0)ᵀ ∇f(x, θ0)``: Eq. 4 of arXiv:2504.02620; deviation: none.

    One Jacobian-vector product in forward mode. θ are the encoder's own parameters as they are when
    it runs: training them trains τ, editing them edits τ.

    Args:
        encoder: Maps inputs to features; shared, not copied. Parameters named in ``theta0`` may
            move, the others count as constants.
        theta0: Where to expand, by parameter name of ``encoder``; not copied.
    """

    def __init__(self, encoder: nn.Module, theta0: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.encoder = encoder
        own = dict(encoder.named_parameters())
        self._theta0 = {name: value.detach().to(own[name].device) for name, value in theta0.items()}

    def forward(self, inputs: Tensor) -> Tensor:
        """Features, shape (batch, dim), for inputs of shape (batch, ...)."""
        own = dict(self.encoder.named_parameters())
        change = {name: own[name] - value for name, value in self._theta0.items()}  # τ

        def features(parameters: dict[str, Tensor]) -> Tensor:
            found: Tensor = functional_call(self.encoder, parameters, (inputs,))
            return found

        with (
            plain_attention(),
            sequence_first_memory(self.encoder),
            warnings.catch_warnings(),
        ):
            # torch compiles its forward-mode formulas with a function that it deprecates itself.
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.script")
            value, slope = jvp(features, (self._theta0,), (change,))  # type: ignore[misc]
        linear: Tensor = value + slope
        return linear
