"""Task vectors made of plain numbers, and merging methods run on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray

from talos_engine.artifacts import BaseInfo, Header, TaskVector, VectorEntry
from talos_engine.merging.ops import listed_names
from talos_engine.merging.spec import MERGE_METHODS, MergeContext

NONE = torch.empty(0, dtype=torch.int64)


def vector_of(tensors: Mapping[str, ArrayLike], task: str = "t", storage: str = "dense") -> Any:
    entries = {}
    for name, values in tensors.items():
        change = torch.from_numpy(np.array(values))
        if change.dtype != torch.float64 or isinstance(values, (list, float, int)):
            change = change.float()
        flat = change.reshape(-1)
        index = torch.nonzero(flat).reshape(-1) if storage == "sparse" else None
        kept = flat if index is None else flat[index]
        entries[name] = VectorEntry(tuple(change.shape), kept, index, NONE, change.new_empty(0))
    header = Header("vector", BaseInfo("m", "p", {}, "0" * 64), "talos", task, {}, 0, "")
    return TaskVector(header, entries)


@pytest.fixture(scope="session")
def make_vector() -> Callable[..., TaskVector]:
    """``make_vector({"a": [1, 2]}, task="t", storage="dense")``; float64 arrays stay float64."""
    return vector_of


def merge(
    method: str, vectors: Sequence[TaskVector], weights: Sequence[float] = (), seed: int = 0
) -> Any:
    def run(**options: Any) -> Any:
        entry = MERGE_METHODS.get(method)
        config = entry.configure(options)
        return entry.run(config, vectors, list(weights) or [1.0] * len(vectors), MergeContext(seed))

    return run


@pytest.fixture(scope="session")
def merged() -> Callable[..., Any]:
    """``merged("ties", vectors, weights, ties_density=0.5)``: Δ by name, one dict per model."""

    def run(
        method: str,
        vectors: Sequence[TaskVector],
        weights: Sequence[float] = (),
        *,
        seed: int = 0,
        parts: bool = False,
        **options: Any,
    ) -> Any:
        found = merge(method, vectors, weights, seed)(**options)
        names = listed_names(vectors)
        models: list[dict[str, NDArray[np.float64]]] = []
        for combine in found.parts if parts else found.models:
            deltas = {name: combine(name) for name in names}
            assert all(delta.dtype is torch.float64 for delta in deltas.values())
            models.append({name: delta.numpy() for name, delta in deltas.items()})
        single = not parts and not MERGE_METHODS.get(method).one_model_per_task
        return models[0] if single else models

    return run
