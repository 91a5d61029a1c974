"""The k lowest over many tensors against stable sorting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from talos_engine import order_statistics
from talos_engine.order_statistics import keep_lowest


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


SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1e-40, 1e-30, 0.5, 0.5000001, 3.0, -3.0, 3.4e38]


def stable_sort(
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


def places(kept: dict[str, Tensor]) -> set[tuple[str, int]]:
    return {
        (name, at)
        for name, flags in kept.items()
        for at in torch.nonzero(flags.flatten())[:, 0].tolist()
    }


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Scores full of ties over tensors of any shape, empty and 0-d ones included."""
    dtypes = draw(
        st.sampled_from(
            [(torch.float32,), (torch.float64,), (torch.bfloat16,), (torch.float32, torch.float64)]
        )
    )
    shapes = st.sampled_from([(), (0,), (1,), (7,), (3, 4), (2, 1, 5)])
    values = st.one_of(
        st.sampled_from([*SPECIAL, float("inf"), float("-inf")]), st.floats(allow_nan=False)
    )
    scores, candidates = {}, {}
    for number, shape in enumerate(draw(st.lists(shapes, min_size=1, max_size=5))):
        size = torch.Size(shape).numel()
        entries = draw(st.lists(values, min_size=size, max_size=size))
        flags = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        dtype = dtypes[number % len(dtypes)]
        scores[f"t{number}"] = torch.tensor(entries, dtype=torch.float64).to(dtype).reshape(shape)
        candidates[f"t{number}"] = torch.tensor(flags, dtype=torch.bool).reshape(shape)
    total = sum(int(flags.sum()) for flags in candidates.values())
    return scores, candidates, draw(st.integers(0, total))


@given(problems(), st.sampled_from([1, 3, 1 << 18]))
def test_it_equals_a_stable_sort(
    problem: tuple[dict[str, Tensor], dict[str, Tensor], int], size: int
) -> None:
    scores, candidates, count = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_statistics, "_SLICE", size)
        kept = keep_lowest(scores, candidates, count)
    assert {name: flags.shape for name, flags in kept.items()} == {
        name: flags.shape for name, flags in candidates.items()
    }
    assert places(kept) == stable_sort(scores, candidates, count)


@given(problems())
def test_negated_scores_give_the_highest(
    problem: tuple[dict[str, Tensor], dict[str, Tensor], int],
) -> None:
    scores, candidates, count = problem
    kept = keep_lowest({name: -value for name, value in scores.items()}, candidates, count)
    rows = sorted(
        (-float(scores[name].flatten()[at]), place, at, name)
        for place, name in enumerate(candidates)
        for at in range(scores[name].numel())
        if bool(candidates[name].flatten()[at])
    )
    assert places(kept) == {(name, at) for _, _, at, name in rows[:count]}


def test_minus_zero_is_zero_and_neighbouring_numbers_are_told_apart() -> None:
    values = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 0.0])
    everywhere = {"a": torch.ones(5, dtype=torch.bool)}
    flags = [keep_lowest({"a": values}, everywhere, count)["a"].tolist() for count in (1, 2, 3, 4)]
    assert [[at for at, flag in enumerate(row) if flag] for row in flags] == [
        [3], [0, 3], [0, 1, 3], [0, 1, 3, 4],
    ]  # fmt: skip
    near = torch.tensor([1.0 + 2**-52, 1.0, 1.0 + 2**-51], dtype=torch.float64)
    assert keep_lowest({"a": near}, {"a": torch.ones(3, dtype=torch.bool)}, 2)["a"].tolist() == [
        True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("scale", [1e-40, 1e-12, 1.0])
def test_a_large_tensor_equals_torch_sort(scale: float) -> None:
    """300,000 numbers of which many tie, in the order of ``torch.sort(stable=True)``."""
    size = 300_000  # more than one slice
    generator = torch.Generator().manual_seed(1)
    values = (torch.randn(size, generator=generator).square() * 1000).round() * scale
    order = torch.sort(values, stable=True).indices
    for count in (1, 700, 6_999, 35_000, size - 1):
        kept = keep_lowest({"a": values}, {"a": torch.ones(size, dtype=torch.bool)}, count)["a"]
        assert torch.equal(torch.nonzero(kept)[:, 0], order[:count].sort().values)


def test_nan_is_refused_by_name() -> None:
    scores = {"a": torch.zeros(2), "b": torch.tensor([0.0, float("nan")])}
    candidates = {name: torch.ones(2, dtype=torch.bool) for name in scores}
    with pytest.raises(ValueError, match="'b' hold NaN"):
        keep_lowest(scores, candidates, 1)


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
