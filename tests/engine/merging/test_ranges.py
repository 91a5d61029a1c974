"""Merging range by range gives the bits of merging whole tensors, however vectors are stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from talos_engine.artifacts import (
    RANGE_ENTRIES,
    BaseInfo,
    Header,
    TaskVector,
    VectorFile,
    make_entry,
    open_vector,
    write_vector,
)
from talos_engine.merging import ops
from talos_engine.merging.methods import ties
from talos_engine.merging.ops import apply_combined, apply_delta, fits_ranges
from talos_engine.merging.spec import MERGE_METHODS, MergeContext, RangeCombine

SHAPES = {"long": (2 * RANGE_ENTRIES + 13,), "even": (2, RANGE_ENTRIES), "dot": (), "none": (0, 3)}
WEIGHTS = [1.0, 0.3, -2.0, 0.7, 1.0]
STORED = [("always", 0.9), ("always", 0.93), ("always", 0.999), ("never", 0.5), ("always", 0.3)]
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("sum", {}),
    ("mean", {}),
    ("ties", {}),
    ("ties", {"ties_density": 1.0}),
    ("ties", {"ties_density": 0.5, "ties_merge": "sum"}),
    ("ties", {"dialect": "mergekit"}),
]


def theta(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    found["long"][::5] = -0.0
    return found


@pytest.fixture
def vectors(tmp_path: Path) -> Iterator[list[VectorFile]]:
    """Bitmaps, positions, dense entries, a tensor that one does not list, whole ranges unchanged."""
    start, header = (
        theta(0),
        Header("vector", BaseInfo("m", "p", {}, "0" * 64), "x", "t", {}, 0, ""),
    )
    with ExitStack() as stack:
        files = []
        for number, (storage, sparsity) in enumerate(STORED):
            generator = torch.Generator().manual_seed(number)
            entries = {}
            for name, before in start.items():
                live = torch.rand(before.shape, generator=generator) >= sparsity
                if name == "even" and number == 1:
                    live[0] = False
                step = torch.randn(before.shape, generator=generator).round()  # sums that cancel
                moved = torch.where(live, before + step, before)
                entry = make_entry(before, moved, sparse=storage)  # type: ignore[arg-type]
                if entry is not None and (name, number) != ("long", 4):
                    entries[name] = entry
            write_vector(tmp_path / str(number), TaskVector(header, entries))
            files.append(stack.enter_context(open_vector(tmp_path / str(number))))
        yield files


@pytest.mark.parametrize(("method", "options"), METHODS, ids=str)
def test_ranges_have_the_bits_of_the_whole(
    vectors: list[VectorFile],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    options: dict[str, Any],
) -> None:
    entry, start = MERGE_METHODS.get(method), theta(0)
    merge = entry.run(entry.configure(options), vectors, WEIGHTS, MergeContext())
    (combine,) = merge.models
    assert isinstance(combine, RangeCombine)
    listed = [name for name in SHAPES if any(name in vector.shapes for vector in vectors)]
    ranged = {name: torch.cat(list(map(torch.clone, combine.ranges(name)))) for name in listed}
    edited = {name: apply_combined(start[name], combine, name, 0.3) for name in listed}
    for module in (ops, ties):
        monkeypatch.setattr(module, "fits_ranges", lambda *_: False)
    for name in listed:
        whole = combine(name)
        assert whole.shape == SHAPES[name]
        assert torch.equal(ranged[name].view(torch.int64), whole.view(-1).view(torch.int64))
        expected = apply_delta(start[name], whole, 0.3)
        assert torch.equal(edited[name].view(torch.int32), expected.view(torch.int32))


def test_the_sum_is_that_of_numpy(vectors: list[VectorFile]) -> None:
    entry = MERGE_METHODS.get("sum")
    (combine,) = entry.run(entry.configure({}), vectors, WEIGHTS, MergeContext()).models
    assert isinstance(combine, RangeCombine)
    expected = np.zeros(SHAPES["long"])
    for weight, vector in zip(WEIGHTS, vectors, strict=True):
        if "long" in vector.shapes:
            expected += weight * vector.entry("long").dense().double().numpy()
    np.testing.assert_array_equal(
        torch.cat(list(map(torch.clone, combine.ranges("long")))), expected
    )


def test_values_are_the_stored_changes_without_their_places(vectors: list[VectorFile]) -> None:
    for vector in vectors:
        for name in vector.shapes:
            values = torch.cat([torch.empty(0), *vector.values(name)])
            assert torch.equal(values, vector.entry(name).values.reshape(-1))


def test_entries_too_large_to_hold_at_once_are_summed_one_by_one(
    vectors: list[VectorFile],
) -> None:
    """A bitmap with 40% live entries takes 1.9 bytes an entry; what is dense is streamed."""
    assert fits_ranges(vectors, "even")
    assert fits_ranges([vectors[4]] * 4, "even")
    assert not fits_ranges([vectors[4]] * 8, "even")
    assert fits_ranges([vectors[3]] * 6, "even")
