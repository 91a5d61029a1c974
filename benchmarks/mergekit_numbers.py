"""The mergekit dialect against mergekit itself, on T5-shaped checkpoints; prints the largest gaps.

Not a dependency: run this with the Python of a virtual environment that has mergekit, torch and
this project. mergekit draws DARE's mask from torch's global stream; it is given ours instead.

    python benchmarks/mergekit_numbers.py

Not compared, because they are mistakes of mergekit that are not copied: Breadcrumbs on tensors with
fewer than 1/γ entries, which mergekit zeroes (``indices[n:-0]`` is empty), and trimming of tensors
of which int(density · n) = 0 entries would stay, which mergekit refuses (here all of it goes).

Entries whose sign or rank is decided by rounding differ: mergekit adds votes in float32 and sorts
equal magnitudes in no particular order. They are counted apart, see ``decided_by_rounding``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mergekit.sparsify
import torch
from mergekit.merge_methods.generalized_task_arithmetic import get_mask
from mergekit.sparsify import RescaleNorm, SparsificationMethod, sparsify
from torch import Tensor

from talos_engine.artifacts import BaseInfo, Header, TaskVector, make_entry
from talos_engine.merging.methods.dare import draw_kept
from talos_engine.merging.ops import apply_delta
from talos_engine.merging.spec import MERGE_METHODS, MergeContext

WIDTH, INNER, HEADS, VOCABULARY, LAYERS = 512, 2048, 8, 4096, 2
WEIGHTS = (1.0, 0.5, -0.3, 0.8)


def shapes() -> dict[str, tuple[int, ...]]:
    """Layers of t5-small, fewer words; ``shared`` stands for all three tied tensors."""
    found: dict[str, tuple[int, ...]] = {"shared.weight": (VOCABULARY, WIDTH)}
    for stack in ("encoder", "decoder"):
        for block in range(LAYERS):
            stem = f"{stack}.block.{block}.layer."
            for name in "qkvo":
                found[f"{stem}0.SelfAttention.{name}.weight"] = (WIDTH, WIDTH)
            found[f"{stem}0.SelfAttention.relative_attention_bias.weight"] = (32, HEADS)
            found[f"{stem}0.layer_norm.weight"] = (WIDTH,)
            found[f"{stem}1.DenseReluDense.wi.weight"] = (INNER, WIDTH)
            found[f"{stem}1.DenseReluDense.wo.weight"] = (WIDTH, INNER)
    return found


def kit(
    theta0: Tensor,
    tuned: list[Tensor],
    method: SparsificationMethod | None,
    options: Mapping[str, float],
    masks: Callable[[int], Tensor],
    *,
    consensus: bool,
    rescale: bool,
) -> Tensor:
    """One tensor merged with mergekit's own functions, put together as its methods do."""
    deltas = []
    for number, model in enumerate(tuned):
        delta = model - theta0
        if method is not None:
            mergekit.sparsify.torch.bernoulli = lambda _, n=number: masks(n).float()
            norm = RescaleNorm.l1 if rescale else None
            delta = sparsify(delta, method=method, rescale_norm=norm, **options)
        deltas.append(delta)
    weights = torch.tensor(WEIGHTS).view(-1, *(1,) * theta0.ndim)
    stacked = torch.stack(deltas) * weights
    if not consensus:
        return theta0 + stacked.sum(dim=0)
    mask = get_mask(stacked, method="sum")
    divisor = (weights * mask).sum(dim=0)
    divisor[divisor == 0] = 1
    return theta0 + (stacked * mask).sum(dim=0) / divisor


def decided_by_rounding(deltas: list[Tensor], options: Mapping[str, float]) -> Tensor:
    """Where votes cancel up to float32's rounding, or a magnitude equals a line that ties cross."""
    weights = torch.tensor(WEIGHTS).view(-1, *(1,) * deltas[0].ndim).double()
    weighted = torch.stack(deltas).double() * weights
    found = torch.zeros(deltas[0].shape, dtype=torch.bool)
    count = deltas[0].numel()
    if "gamma" not in options:  # votes are cast among what the trimming leaves: any subset
        for chosen in range(1, 2 ** len(WEIGHTS)):
            some = [at for at in range(len(WEIGHTS)) if chosen >> at & 1]
            total, mass = weighted[some].sum(dim=0), weighted[some].abs().sum(dim=0)
            found |= (total.abs() <= 1e-6 * mass) & (mass > 0)
    top = int(options.get("gamma", 0.0) * count)
    for line in (top, top + int(options["density"] * count)):
        for delta in deltas:
            magnitude = delta.abs()
            if 0 < line < count:
                found |= magnitude == magnitude.reshape(-1).kthvalue(count - line + 1).values
    return found


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    theta0 = {n: 0.05 * torch.randn(s, generator=generator) for n, s in shapes().items()}
    models = [
        {n: v + 2e-3 * torch.randn(v.shape, generator=generator) for n, v in theta0.items()}
        for _ in WEIGHTS
    ]
    info = BaseInfo("t5", "synthetic", {}, "0" * 64)
    vectors = []
    for number, model in enumerate(models):
        found = {n: make_entry(theta0[n], model[n], sparse="never") for n in theta0}
        header = Header("vector", info, "synthetic", f"task{number}", {}, 0, "")
        vectors.append(TaskVector(header, {n: e for n, e in found.items() if e is not None}))
    few = SparsificationMethod
    cases: dict[str, tuple[Any, dict[str, float], dict[str, Any], bool, bool]] = {
        "sum": (None, {}, {}, False, False),
        "ties": (few.magnitude, {"density": 0.2}, {"ties_density": 0.2}, True, False),
        "breadcrumbs": (
            few.magnitude_outliers,
            {"density": 0.3, "gamma": 0.01},
            {"breadcrumbs_density": 0.3},
            False,
            False,
        ),
        "dare": (few.random, {"density": 0.1}, {"dare_drop": 0.9}, False, True),
    }
    for name, (method, options, ours, consensus, rescale) in cases.items():
        entry = MERGE_METHODS.get(name)
        config = entry.configure({**ours, **({"dialect": "mergekit"} if ours else {})})
        (combine,) = entry.run(config, vectors, WEIGHTS, MergeContext()).models
        gap, left_out = 0.0, 0
        for key, before in theta0.items():

            def masks(number: int, key: str = key, shape: Any = tuple(before.shape)) -> Tensor:
                return draw_kept(shape, 0.9, "dare", 0, f"task{number}", 0, key)

            theirs = kit(
                before,
                [model[key] for model in models],
                method,
                options,
                masks,
                consensus=consensus,
                rescale=rescale,
            )
            mine = apply_delta(before, combine(key), 1.0)
            apart = (mine - theirs).abs()
            if method in (few.magnitude, few.magnitude_outliers):
                doubtful = decided_by_rounding([model[key] - before for model in models], options)
                left_out += int(doubtful.sum())
                apart = apart[~doubtful]
            gap = max(gap, float(apart.max()))
        print(f"{name:<12} max abs difference to mergekit {gap:.3g}"
              f"   ({left_out} entries decided by rounding left out)")  # fmt: skip


if __name__ == "__main__":
    main()
