"""Exact counts and deterministic selection."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from talos_engine.masking.selection import count_entries, keep_lowest, live_count, round_count

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


def test_keep_lowest_by_hand() -> None:
    scores = {"a": torch.tensor([[3.0, 1.0], [0.0, 5.0]]), "b": torch.tensor([2.0, 0.5])}
    everywhere = {name: torch.ones(value.shape, dtype=torch.bool) for name, value in scores.items()}
    kept = keep_lowest(scores, everywhere, 3)
    assert kept["a"].tolist() == [[False, True], [True, False]]
    assert kept["b"].tolist() == [False, True]


def test_ties_go_to_the_earlier_tensor_then_to_the_lower_index() -> None:
    scores = {"z": torch.ones(3), "a": torch.ones(2, 2), "m": torch.zeros(1)}
    order = {name: torch.ones(scores[name].shape, dtype=torch.bool) for name in ("z", "a", "m")}
    kept = keep_lowest(scores, order, 5)
    assert kept["m"].tolist() == [True]
    assert kept["z"].tolist() == [True, True, True], "order of the candidates, not of names"
    assert kept["a"].tolist() == [[True, False], [False, False]]


def test_excluded_entries_are_never_kept_however_low() -> None:
    scores = {"a": torch.tensor([-9.0, 1.0, -9.0, 2.0])}
    candidates = {"a": torch.tensor([False, True, False, True])}
    assert keep_lowest(scores, candidates, 1)["a"].tolist() == [False, True, False, False]
    assert keep_lowest(scores, candidates, 2)["a"].tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match="cannot keep 3 of 2"):
        keep_lowest(scores, candidates, 3)


def test_keeping_none_and_all() -> None:
    scores = {"a": torch.rand(5)}
    candidates = {"a": torch.ones(5, dtype=torch.bool)}
    assert not keep_lowest(scores, candidates, 0)["a"].any()
    assert keep_lowest(scores, candidates, 5)["a"].all()


def naive_lowest(
    scores: dict[str, Tensor], candidates: dict[str, Tensor], count: int
) -> set[tuple[str, int]]:
    """Sort Python tuples: score, then place of the tensor, then flat index."""
    rows = [
        (float(scores[name].flatten()[at]), place, at, name)
        for place, name in enumerate(candidates)
        for at in range(scores[name].numel())
        if bool(candidates[name].flatten()[at])
    ]
    return {(name, at) for _, _, at, name in sorted(rows)[:count]}


@given(st.data())
def test_keep_lowest_equals_sorting(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    values = st.sampled_from([0.0, -0.0, 1e-30, 0.5, 0.5000001, 3.0, float("inf")])
    scores, candidates = {}, {}
    for number, size in enumerate(sizes):
        entries = data.draw(st.lists(values, min_size=size, max_size=size))
        flags = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
        scores[f"t{number}"] = torch.tensor(entries)
        candidates[f"t{number}"] = torch.tensor(flags)
    count = data.draw(st.integers(0, count_entries(candidates)))
    kept = keep_lowest(scores, candidates, count)
    assert count_entries(kept) == count
    found = {
        (name, at) for name, flags in kept.items() for at in torch.nonzero(flags)[:, 0].tolist()
    }
    assert found == naive_lowest(scores, candidates, count)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.data())
def test_raising_the_count_only_adds(entries: list[int], data: st.DataObject) -> None:
    scores = {"a": torch.tensor(entries).double()}
    candidates = {"a": torch.ones(len(entries), dtype=torch.bool)}
    fewer = data.draw(st.integers(0, len(entries)))
    more = data.draw(st.integers(fewer, len(entries)))
    small, large = (keep_lowest(scores, candidates, count)["a"] for count in (fewer, more))
    assert bool((small <= large).all())


@given(st.floats(1e-3, 1e3))
def test_positive_rescaling_changes_nothing(factor: float) -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    candidates = {"a": torch.ones(50, dtype=torch.bool)}
    kept = keep_lowest({"a": values}, candidates, 17)["a"]
    assert torch.equal(keep_lowest({"a": values * factor}, candidates, 17)["a"], kept)
