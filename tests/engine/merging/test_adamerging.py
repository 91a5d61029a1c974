"""Learned coefficients against Adam written out in numpy, on slopes known by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from talos_engine.errors import OptionError
from talos_engine.merging.adamerging import AdaMergingConfig
from talos_engine.merging.spec import MERGE_METHODS, MergeContext

TARGET = {"a": np.array([1.0, -2.0, 0.5]), "b": np.array([3.0])}
TAUS = [
    {"a": np.array([1.0, 0.0, 2.0], np.float32), "b": np.array([-1.0], np.float32)},
    {"a": np.array([0.5, -4.0, 0.0], np.float32)},
]


def slope(step: int, deltas: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """½‖Δ − target‖², its gradient in float32 as a model gives it."""
    apart = {name: delta - torch.from_numpy(TARGET[name]) for name, delta in deltas.items()}
    loss = sum(float(each.square().sum()) / 2 for each in apart.values())
    return loss, {name: each.float() for name, each in apart.items()}


def oracle(layerwise: bool, steps: int, lr: float, most: float) -> NDArray[np.float64]:
    """Adam on λ, clamped in the forward pass: beyond the clamp the slope is 0, moments go on."""
    names = ["a", "b"]
    raw = np.full((2, 2 if layerwise else 1), 0.3)
    first, second = np.zeros_like(raw), np.zeros_like(raw)
    for step in range(1, steps + 1):
        lam = np.clip(raw, 0, most)
        gradient = np.zeros((2, 2))
        for column, name in enumerate(names):
            rates = lam[:, column if layerwise else 0]
            delta = sum(
                rate * tau[name].astype(np.float64)
                for rate, tau in zip(rates, TAUS, strict=True)
                if name in tau
            )
            apart = (delta - TARGET[name]).astype(np.float32).astype(np.float64)
            for row, tau in enumerate(TAUS):
                if name in tau:
                    gradient[row, column] = apart @ tau[name].astype(np.float64)
        own = gradient if layerwise else gradient.sum(axis=1, keepdims=True)
        own = np.where((raw >= 0) & (raw <= most), own, 0.0)
        first = 0.9 * first + 0.1 * own
        second = 0.999 * second + 0.001 * own**2
        hat = first / (1 - 0.9**step)
        raw = raw - lr * hat / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return np.clip(raw, 0, most)


@pytest.fixture(params=["dense", "sparse"])
def vectors(request: pytest.FixtureRequest, make_vector: Any) -> list[Any]:
    return [
        make_vector(tau, task=task, storage=request.param)
        for tau, task in zip(TAUS, "tu", strict=True)
    ]


@pytest.mark.parametrize("layerwise", [False, True])
@pytest.mark.parametrize(
    ("steps", "lr", "most"), [(1, 1e-3, 1.0), (200, 0.05, 1.0), (50, 0.1, 0.4)]
)
def test_against_adam_in_numpy(
    vectors: list[Any], layerwise: bool, steps: int, lr: float, most: float
) -> None:
    entry = MERGE_METHODS.get("adamerging-layer" if layerwise else "adamerging-task")
    config = AdaMergingConfig(steps, lr, most)
    merge = entry.run(config, vectors, [1.0, 1.0], MergeContext(slope=slope))
    expected = oracle(layerwise, steps, lr, most)
    if layerwise:
        found = np.array([merge.notes["lambdas"][name] for name in ("a", "b")]).T
    else:
        found = np.array(merge.notes["lambdas"])[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    (combine,) = merge.models
    delta = sum(
        rate * tau["a"].astype(np.float64) for rate, tau in zip(found[:, 0], TAUS, strict=True)
    )
    np.testing.assert_allclose(combine("a").numpy(), delta, rtol=1e-12)
    assert merge.parts[1]("a").tolist() == TAUS[1]["a"].tolist()
    assert merge.parts[1]("b").tolist() == [0.0]


@pytest.mark.parametrize("method", ["adamerging-task", "adamerging-layer"])
def test_storage_does_not_change_a_bit_of_the_coefficients(method: str, make_vector: Any) -> None:
    """Products over two ranges of entries that nearly cancel, so that their order tells."""
    draws = np.random.default_rng(0)
    halves = [
        (draws.standard_normal(35_000) * (draws.random(35_000) < share)).astype(np.float32)
        for share in (0.1, 1.0)
    ]
    taus = [np.concatenate([half, half]) for half in halves]

    def descend(step: int, deltas: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        half = np.random.default_rng(step).standard_normal(35_000)
        gradient = torch.from_numpy(np.concatenate([half, 1e-6 - half]))
        return float((deltas["a"] * gradient).sum()), {"a": gradient}

    found = []
    for storages in (("dense",) * 2, ("sparse",) * 2, ("dense", "sparse")):
        vectors = [
            make_vector({"a": tau}, storage=how) for tau, how in zip(taus, storages, strict=True)
        ]
        entry = MERGE_METHODS.get(method)
        context = MergeContext(slope=descend)
        found.append(entry.run(AdaMergingConfig(5, 0.05), vectors, [1.0, 1.0], context))
    assert found[0].notes == found[1].notes == found[2].notes
    assert torch.equal(found[0].models[0]("a"), found[1].models[0]("a"))


def test_learning_lowers_the_loss_and_tells_it(vectors: list[Any]) -> None:
    entry = MERGE_METHODS.get("adamerging-layer")
    merge = entry.run(AdaMergingConfig(100, 0.02), vectors, [1.0, 1.0], MergeContext(slope=slope))
    assert merge.notes["entropy"]["last"] < merge.notes["entropy"]["first"]


def test_weights_multiply_the_vectors(vectors: list[Any], make_vector: Any) -> None:
    entry = MERGE_METHODS.get("adamerging-task")
    config = AdaMergingConfig(20, 0.01)
    weighted = entry.run(config, vectors, [2.0, -1.0], MergeContext(slope=slope))
    scaled = [
        make_vector({name: np.float32(factor) * value for name, value in tau.items()})
        for factor, tau in zip((2.0, -1.0), TAUS, strict=True)
    ]
    direct = entry.run(config, scaled, [1.0, 1.0], MergeContext(slope=slope))
    assert weighted.notes["lambdas"] == pytest.approx(direct.notes["lambdas"], rel=1e-9)
    assert weighted.models[0]("a").tolist() == pytest.approx(direct.models[0]("a").tolist())


def test_the_clamp_stretches_for_sparse_vectors(vectors: list[Any]) -> None:
    entry = MERGE_METHODS.get("adamerging-task")
    context = MergeContext(slope=slope, stretch=10.0)
    assert entry.run(AdaMergingConfig(1), vectors, [1.0, 1.0], context).notes["max"] == 10.0
    given = AdaMergingConfig(1, adamerging_max=0.7)
    assert entry.run(given, vectors, [1.0, 1.0], context).notes["max"] == 0.7


def test_options() -> None:
    assert AdaMergingConfig().split == "val"
    assert AdaMergingConfig(transductive=True).split == "test"
    for options in ({"adamerging_steps": 0}, {"adamerging_lr": 0.0}, {"adamerging_max": -1.0}):
        with pytest.raises(OptionError, match="--adamerging"):
            AdaMergingConfig(**options)
