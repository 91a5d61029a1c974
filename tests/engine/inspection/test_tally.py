"""Counts and norms per block: by hand, and against dense numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.artifacts import VectorEntry, make_entry
from talos_engine.inspection.blocks import OUTSIDE, Block
from talos_engine.inspection.tally import Count, stored_values, tally_mask, tally_vector

BLOCKS = (
    Block("w", "q", 0, 0, 4),
    Block("w", "k", 0, 4, 6),
    Block("v", "q", 1, 0, 2),
    Block("c", "conv", OUTSIDE, 0, 3),
)


def test_a_mask_by_hand() -> None:
    flags = {
        "w": torch.tensor([[True, False, True], [False, True, True]]),
        "v": torch.tensor([False, True]),
    }
    asked: list[str] = []

    def get(name: str) -> torch.Tensor | None:
        asked.append(name)
        return flags.get(name)

    tally = tally_mask(BLOCKS, get)
    assert asked == ["w", "v", "c"], "every tensor is read once"
    assert tally.overall == Count(5, 11)
    assert tally.by_kind == {"q": Count(3, 6), "k": Count(2, 2), "conv": Count(0, 3)}
    assert tally.by_layer == {0: Count(4, 6), 1: Count(1, 2), OUTSIDE: Count(0, 3)}
    assert list(tally.by_layer) == [0, 1, OUTSIDE]
    assert tally.by_cell[0, "q"] == Count(2, 4)
    assert not tally.measured
    assert tally.overall.norm is None
    values = tally.as_json()
    assert (values["live"], values["total"], values["share"]) == (5, 11, 5 / 11)
    assert "norm" not in values
    assert values["by_layer"]["outside"] == {"live": 0, "total": 3, "share": 0.0}
    assert values["cells"][-1] == {
        "layer": None, "kind": "conv", "live": 0, "total": 3, "share": 0.0,
    }  # fmt: skip


def test_a_vector_by_hand() -> None:
    """Changes 3 and 4 among the queries of layer 0: norm 5; 12 in layer 1: norm 13 together."""
    base = torch.zeros(6)
    w = make_entry(base, torch.tensor([3.0, 0, -4, 0, 0, 0]), sparse="always")
    v = make_entry(torch.zeros(2), torch.tensor([0.0, 12.0]), sparse="never")
    tally = tally_vector(BLOCKS, {"w": w, "v": v}.get)
    assert tally.by_cell[0, "q"] == Count(2, 4, 25.0)
    assert tally.by_kind["q"].norm == 13.0
    assert tally.by_kind["k"] == Count(0, 2, 0.0)
    assert tally.overall == Count(3, 11, 169.0)
    assert tally.as_json()["norm"] == 13.0


def test_sums_are_taken_in_float64() -> None:
    """In float32 the small squares would vanish beside the large one."""
    values = torch.full((10_001,), 1e-4)
    values[0] = 1.0
    entry = make_entry(torch.zeros(10_001), values, sparse="never")
    tally = tally_vector([Block("w", "q", 0, 0, 10_001)], {"w": entry}.get)
    exact = 1 + 10_000 * float(torch.tensor(1e-4).double()) ** 2
    assert tally.overall.squared == pytest.approx(exact, rel=1e-14)


def test_a_norm_beyond_float64_is_none_and_not_infinite() -> None:
    entry = make_entry(torch.zeros(2).double(), torch.full((2,), 1e200, dtype=torch.float64))
    assert tally_vector([Block("w", "q", 0, 0, 2)], {"w": entry}.get).as_json()["norm"] is None


def random_entry(size: int, density: float, sparse: str, seed: int) -> VectorEntry | None:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(size, generator=generator)
    change = torch.randn(size, generator=generator)
    change[torch.rand(size, generator=generator) >= density] = 0
    return make_entry(base, base + change, sparse=sparse)  # type: ignore[arg-type]


@given(
    seed=st.integers(0, 99),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    sparse=st.sampled_from(["always", "never"]),
    cuts=st.lists(st.integers(0, 40), max_size=4).map(sorted),
)
def test_any_cut_of_a_vector_against_numpy(
    seed: int, density: float, sparse: str, cuts: list[int]
) -> None:
    entry = random_entry(40, density, sparse, seed)
    bounds = [0, *cuts, 40]
    blocks = [Block("w", str(i), 0, a, b) for i, (a, b) in enumerate(itertools.pairwise(bounds))]
    tally = tally_vector(blocks, {"w": entry}.get if entry is not None else lambda name: None)
    dense = np.zeros(40) if entry is None else entry.dense().double().numpy()
    for block, count in tally.parts:
        piece = dense[block.start : block.stop]
        assert count.live == np.count_nonzero(piece)
        assert count.total == len(piece)
        assert count.squared == pytest.approx(np.square(piece).sum(), rel=1e-12)


def test_stored_values_are_relative_to_the_start() -> None:
    entry = make_entry(torch.zeros(9), torch.tensor([0.0, 1, 0, 0, 2, 0, 0, 3, 0]), sparse="always")
    assert entry is not None
    positions, values = stored_values(entry, 4, 8)
    assert positions is not None
    assert (positions.tolist(), values.tolist()) == ([0, 3], [2.0, 3.0])
