"""Running sums of squared (or absolute) per-example gradients, one tensor per parameter.

A layer's per-example weight gradient is a sum over its positions of outer products. It is formed
block by block, squared and added while it is in the cache, so that no per-example gradient of a
whole model ever exists.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

# Entries of one per-example block: 8 MiB of float32 stays in a CPU's last-level cache.
_CPU_BLOCK = 2**21
# Below this, several examples share one batched product, so that call overhead does not dominate.
_CPU_BATCHED = 2**18
# On an accelerator launches are what costs: up to 1 GiB of float32 at once.
_DEVICE_BLOCK = 2**28


class SquaredSums:
    """Sums over examples of ``g²`` (Eq. 7) or ``|g|`` for every entry of some parameters.

    Args:
        values: The parameters by name; sums have their shapes and devices, and are float64 where
            the parameter is, float32 otherwise.
        names: Which of them are summed.
        score: ``square`` or ``abs``.
    """

    def __init__(self, values: Mapping[str, Tensor], names: Collection[str], score: str) -> None:
        self._absolute = score == "abs"
        self._shapes = {name: values[name].shape for name in values if name in names}
        self._sums: dict[str, Tensor] = {}
        self._turned: set[str] = set()
        for name, shape in self._shapes.items():
            rows = shape[0] if shape else 1
            columns = shape.numel() // max(1, rows)
            dtype = torch.float64 if values[name].dtype is torch.float64 else torch.float32
            if columns > rows > 1:  # products are fastest with more rows than columns
                self._turned.add(name)
                rows, columns = columns, rows
            self._sums[name] = torch.zeros(rows, columns, dtype=dtype, device=values[name].device)

    def __contains__(self, name: object) -> bool:
        return name in self._sums

    def __len__(self) -> int:
        return len(self._sums)

    def add_gradients(self, name: str, gradients: Tensor, start: int = 0) -> None:
        """Add given per-example gradients of a range of rows.

        Args:
            name: Parameter.
            gradients: Shape (examples, rows, ...), the parameter's own from ``start`` on.
            start: First row along the parameter's dimension 0.
        """
        sizes = gradients.to(self._sums[name].dtype)
        sizes = sizes.abs() if self._absolute else sizes.square()
        target = self._rows(name, start, gradients.shape[1] if gradients.ndim > 1 else 1)
        target += sizes.sum(dim=0).reshape(target.shape)

    def add_outer(self, name: str, outputs: Tensor, inputs: Tensor, start: int = 0) -> None:
        """Add the per-example gradients ``Σ_t outputs[i, t] ⊗ inputs[i, t]`` of a linear map.

        Args:
            name: Parameter of shape (rows, columns), or one that flattens to it.
            outputs: Gradients at the map's outputs, shape (examples, positions, range of rows).
            inputs: The map's inputs, shape (examples, positions, columns).
            start: First row along the parameter's dimension 0.
        """
        target = self._rows(name, start, outputs.shape[2])
        left, right = outputs, inputs.to(outputs.dtype)
        if name in self._turned:
            target, left, right = target.T, inputs.to(outputs.dtype), outputs
        if left.shape[1] == 1:
            self._add_single(target, left[:, 0], right[:, 0])
            return
        rows, columns = target.shape
        if left.device.type == "cpu":
            block = max(1, _CPU_BLOCK // columns)
            together = max(1, _CPU_BATCHED // (rows * columns))
        else:
            block = max(1, _DEVICE_BLOCK // columns)
            together = max(1, _DEVICE_BLOCK // (min(block, rows) * columns))
        for first in range(0, rows, block):
            part = target[first : first + block]
            factor = left[:, :, first : first + block].transpose(1, 2)  # (n, block, positions)
            if together == 1:
                self._add_one_by_one(part, factor, right)
            else:
                self._add_batched(part, factor, right, together)

    def results(self) -> dict[str, Tensor]:
        """The sums in the parameters' shapes."""
        return {
            name: (total.T.contiguous() if name in self._turned else total).view(self._shapes[name])
            for name, total in self._sums.items()
        }

    def _rows(self, name: str, start: int, count: int) -> Tensor:
        """A view of some rows of a sum, in the parameter's own orientation."""
        total = self._sums[name]
        return (total.T if name in self._turned else total)[start : start + count]

    def _add_single(self, target: Tensor, left: Tensor, right: Tensor) -> None:
        """One position: the square of an outer product is the outer product of squares."""
        left, right = left.to(target.dtype), right.to(target.dtype)
        if self._absolute:
            target += left.abs().T @ right.abs()
        else:
            target += left.square().T @ right.square()

    def _add_one_by_one(self, target: Tensor, factor: Tensor, right: Tensor) -> None:
        gradient = torch.empty(target.shape, dtype=right.dtype, device=right.device)
        for one, other in zip(factor, right, strict=True):
            torch.mm(one, other, out=gradient)
            exact = gradient.to(target.dtype)
            if self._absolute:
                target += exact.abs_() if exact is gradient else exact.abs()
            else:
                target.addcmul_(exact, exact)

    def _add_batched(self, target: Tensor, factor: Tensor, right: Tensor, together: int) -> None:
        for first in range(0, len(right), together):
            chosen = slice(first, first + together)
            gradients = torch.bmm(factor[chosen], right[chosen]).to(target.dtype)
            sizes = gradients.abs_() if self._absolute else gradients.square_()
            target += sizes.sum(dim=0)
