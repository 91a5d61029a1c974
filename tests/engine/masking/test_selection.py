"""Exact counts, overall and within layers and tensors."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.errors import OptionError
from talos_engine.masking.selection import (
    count_entries,
    keep_in_units,
    live_count,
    rank_units,
    round_count,
    unit_counts,
)
from talos_engine.order_statistics import keep_lowest
from talos_engine.workflows.opening import Session

SPARSITIES = ("0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.99")


@pytest.mark.parametrize("written", SPARSITIES)
@pytest.mark.parametrize("total", [1, 7, 10, 1000, 19_200, 1_234_567, 86_000_000])
def test_live_count_is_exact_for_decimal_sparsities(written: str, total: int) -> None:
    frozen = Fraction(written) * total
    assert live_count(total, float(written)) == total - frozen.numerator // frozen.denominator


def test_live_count_by_hand() -> None:
    assert live_count(1000, 0.9) == 100, "0.9 · 1000 is 900, whatever 0.9 is in binary"
    assert live_count(10, 0.3) == 7
    assert live_count(100, 0.29) == 71, "0.29 * 100 is 28.999999999999996 in floats"
    assert live_count(7, 0.99) == 1
    assert live_count(3, 0.0) == 3


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True, allow_subnormal=False))
def test_live_count_leaves_at_least_one_and_never_more_than_all(total: int, k: float) -> None:
    live = live_count(total, k)
    assert 1 <= live <= total
    exact = Decimal(repr(k)) * total
    assert total - live <= exact < total - live + 1


def test_round_counts_follow_the_exponential_schedule() -> None:
    """Section 3 of the method: .562, .316, .178, .1 at k = 0.9 over four rounds."""
    assert [round_count(1000, 0.9, r, 4) for r in (1, 2, 3, 4)] == [562, 316, 178, 100]
    assert [round_count(1000, 0.0, r, 4) for r in (1, 2, 3, 4)] == [1000] * 4
    assert [round_count(10, 0.99, r, 2) for r in (1, 2)] == [1, 1]


@given(st.integers(1, 10**6), st.floats(0, 0.999, allow_subnormal=False), st.integers(1, 12))
def test_round_counts_never_grow_and_end_exact(total: int, k: float, rounds: int) -> None:
    counts = [round_count(total, k, number, rounds) for number in range(1, rounds + 1)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == live_count(total, k)
    assert counts[0] <= total


def test_units_of_a_clip(toy_session: Session) -> None:
    structure = toy_session.backbone.structure
    (everything,) = rank_units(structure, "global")
    assert everything == structure.maskable
    assert rank_units(structure, "tensor") == tuple((name,) for name in structure.maskable)
    outside, *blocks = rank_units(structure, "layer")
    assert set(outside) == {
        "visual.conv1.weight",
        *(f"visual.ln_{place}.{kind}" for place in ("pre", "post") for kind in ("weight", "bias")),
    }
    for number, block in enumerate(blocks):
        assert all(f".resblocks.{number}." in name for name in block)
        assert len(block) == 12
    assert len(blocks) == 2
    with pytest.raises(OptionError, match="scope"):
        rank_units(structure, "row")


def test_unit_counts_by_hand() -> None:
    candidates = {
        "a": torch.ones(10, dtype=torch.bool),
        "b": torch.tensor([True] * 7 + [False] * 3),
        "c": torch.zeros(4, dtype=torch.bool),
    }
    units = (("a", "c"), ("b",))
    assert unit_counts(candidates, units, 0.9) == (1, 1), "10 − 9 and 7 − ⌊6.3⌋"
    assert unit_counts(candidates, units, 0.5) == (5, 4)
    assert unit_counts(candidates, units, 0.75, 1, 2) == (5, 4), "half after the first of two"
    assert unit_counts(candidates, (("c",), ("a", "b")), 0.5) == (0, 9)


def test_units_are_ranked_apart() -> None:
    scores = {"z": torch.tensor([5.0, 6.0]), "a": torch.tensor([[1.0], [0.0]]), "m": torch.zeros(2)}
    everywhere = {name: torch.ones(value.shape, dtype=torch.bool) for name, value in scores.items()}
    kept = keep_in_units(scores, everywhere, (("a",), ("m", "z")), (1, 3))
    assert list(kept) == ["z", "a", "m"], "the order of the candidates"
    assert kept["z"].tolist() == [True, False]
    assert kept["a"].tolist() == [[False], [True]]
    assert kept["m"].tolist() == [True, True]


@given(st.data())
def test_one_unit_is_the_global_ranking_and_each_count_is_exact(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=5))
    k = data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99]))
    generator = torch.Generator().manual_seed(len(sizes))
    scores = {f"t{i}": torch.rand(size, generator=generator) for i, size in enumerate(sizes)}
    candidates = {name: torch.ones(len(value), dtype=torch.bool) for name, value in scores.items()}
    whole = (tuple(scores),)
    counts = unit_counts(candidates, whole, k)
    kept = keep_in_units(scores, candidates, whole, counts)
    expected = keep_lowest(scores, candidates, live_count(sum(sizes), k))
    assert all(torch.equal(kept[name], expected[name]) for name in scores)
    apart = tuple((name,) for name in scores)
    kept = keep_in_units(scores, candidates, apart, unit_counts(candidates, apart, k))
    for name, size in zip(scores, sizes, strict=True):
        assert int(kept[name].sum()) == live_count(size, k)
    assert count_entries(kept) >= count_entries(expected)
