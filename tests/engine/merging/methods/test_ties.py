"""TIES against a numpy reading of its formula, in both dialects, and cases done by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from talos_engine.errors import OptionError
from talos_engine.merging.methods.ties import TiesConfig

Tensors = dict[str, NDArray[Any]]

# Few values, so that magnitudes tie, sums cancel and everything is exact; or any floats.
FEW = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 2.0])
ANY = st.floats(-1e3, 1e3, width=32)
SHAPES = {"a": (2, 3), "b": (4,), "c": (), "empty": (0, 3)}


@st.composite
def several(draw: Any, dtype: Any = np.float32) -> list[Tensors]:
    elements = draw(st.sampled_from([FEW, ANY]))
    return [
        {name: draw(arrays(dtype, shape, elements=elements)) for name, shape in SHAPES.items()}
        for _ in range(draw(st.integers(1, 5)))
    ]


def groups(tensors: Tensors, scope: str, names: Sequence[str]) -> list[list[tuple[str, int]]]:
    """Entries that are ranked together, as pairs of name and flat position."""
    if scope == "global":
        return [[(name, at) for name in names for at in range(tensors[name].size)]]
    if scope == "tensor":
        return [[(name, at) for at in range(tensors[name].size)] for name in tensors]
    found = []
    for name, values in tensors.items():
        width = values.shape[-1] if values.ndim else 1
        for start in range(0, values.size, max(1, width)):
            found.append([(name, start + at) for at in range(width)])
    return found


def trim(
    tensors: Tensors, names: Sequence[str], density: float, scope: str, exact: bool
) -> Tensors:
    kept = {name: np.zeros(values.size) for name, values in tensors.items()}
    for group in groups(tensors, scope, names):
        values = np.array([float(tensors[name].reshape(-1)[at]) for name, at in group])
        size = len(group)
        if exact:
            order = np.lexsort((np.arange(size), -np.abs(values)))
            stays = np.zeros(size, dtype=bool)
            stays[order[: int(density * size)]] = True
        else:
            rank = size - int(size * density)
            line = np.sort(np.abs(values))[rank - 1] if rank else 0.0
            stays = np.abs(values) >= line
        for (name, at), value, stay in zip(group, values, stays, strict=True):
            kept[name][at] = value if stay else 0.0
    return {name: kept[name].reshape(values.shape) for name, values in tensors.items()}


def touched(taus: Sequence[Tensors]) -> list[str]:
    return [name for name in sorted(taus[0]) if any(np.any(tau[name]) for tau in taus)]


def official(taus: Sequence[Tensors], density: float, merge: str, scope: str) -> Tensors:
    """The formula of spec: γ = sign Σ τ̂, zeros take the majority, disjoint mean or sum."""
    names = touched(taus)
    cut = [trim(tau, names, density, scope, exact=False) for tau in taus]
    sums = {name: sum(tau[name] for tau in cut) for name in taus[0]}
    majority = np.sign(sum(float(np.sign(total).sum()) for total in sums.values()))
    found = {}
    for name, total in sums.items():
        gamma = np.where(np.sign(total) == 0, majority, np.sign(total))
        agree = [np.where((np.sign(tau[name]) == gamma) & (tau[name] != 0), 1, 0) for tau in cut]
        mass = sum(tau[name] * one for tau, one in zip(cut, agree, strict=True))
        count = np.maximum(sum(agree), 1) if merge == "mean" else 1
        found[name] = mass / count
    return found


def mergekit(
    taus: Sequence[Tensors], weights: Sequence[float], density: float, merge: str, scope: str
) -> Tensors:
    names = touched(taus)
    cut = [trim(tau, names, density, scope, exact=True) for tau in taus]
    found = {}
    for name in taus[0]:
        weighted = [w * tau[name] for w, tau in zip(weights, cut, strict=True)]
        sign = np.where(sum(weighted) >= 0, 1, -1)
        agree = [np.sign(each) == sign for each in weighted]
        mass = sum(each * one for each, one in zip(weighted, agree, strict=True))
        divisor = sum(w * one for w, one in zip(weights, agree, strict=True))
        divisor = np.where(divisor == 0, 1, divisor)
        found[name] = mass / divisor if merge == "mean" else mass
    return found


def assert_same(found: Tensors, expected: Tensors) -> None:
    for name, value in expected.items():
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


@given(
    st.one_of(several(), several(np.float64)),
    st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.75, 0.99, 1.0]),
    st.sampled_from(["mean", "sum"]),
    st.sampled_from(["global", "tensor", "row"]),
)
def test_official_equals_the_formula(
    make_vector: Any, merged: Any, taus: list[Tensors], density: float, merge: str, scope: str
) -> None:
    vectors = [make_vector(tau) for tau in taus]
    options = {"ties_density": density, "ties_merge": merge, "scope": scope}
    assert_same(merged("ties", vectors, **options), official(taus, density, merge, scope))


@given(
    several(),
    st.sampled_from([0.0, 0.2, 0.5, 0.75, 1.0]),
    st.sampled_from(["mean", "sum"]),
    st.sampled_from(["global", "tensor", "row"]),
    st.data(),
)
def test_mergekit_equals_its_formula(
    make_vector: Any,
    merged: Any,
    taus: list[Tensors],
    density: float,
    merge: str,
    scope: str,
    data: Any,
) -> None:
    weights = [data.draw(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])) for _ in taus]
    vectors = [make_vector(tau) for tau in taus]
    options = {"ties_density": density, "ties_merge": merge, "scope": scope}
    found = merged("ties", vectors, weights, dialect="mergekit", **options)
    assert_same(found, mergekit(taus, weights, density, merge, scope))


def test_by_hand(make_vector: Any, merged: Any) -> None:
    """d = 4, K = 0.5: the line is the 2nd smallest magnitude, what equals it stays."""
    first = make_vector({"a": [[4.0, -1.0], [3.0, 2.0]]})  # keeps 4, 3, 2
    second = make_vector({"a": [[-8.0, 6.0], [0.5, 1.0]]})  # keeps -8, 6, 1
    found = merged("ties", [first, second], ties_density=0.5)["a"]
    assert found.tolist() == [[-8.0, 6.0], [3.0, 1.5]]
    found = merged("ties", [first, second], ties_density=0.5, ties_merge="sum")["a"]
    assert found.tolist() == [[-8.0, 6.0], [3.0, 3.0]]


def test_the_threshold_is_global_and_a_tensor_may_lose_everything(
    make_vector: Any, merged: Any
) -> None:
    vector = make_vector({"big": [10.0, 20, 30, 40], "small": [1.0, 2, 3, 4]})
    found = merged("ties", [vector], ties_density=0.25)
    assert found["small"].tolist() == [0, 0, 0, 0]
    assert found["big"].tolist() == [0, 20, 30, 40], "the line is the 6th smallest of 8, inclusive"
    each = merged("ties", [vector], ties_density=0.25, scope="tensor")
    assert each["small"].tolist() == [0, 0, 3, 4]


def test_the_elected_sign_can_be_negative(make_vector: Any, merged: Any) -> None:
    vectors = [make_vector({"a": row}) for row in ([1.0], [-3.0], [-1.0])]
    assert merged("ties", vectors, ties_density=1.0)["a"].tolist() == [-2.0]


def test_ties_of_an_entry_go_with_the_majority(make_vector: Any, merged: Any) -> None:
    """Entry 0 cancels; of the other entries more are positive, so its positive change counts."""
    vectors = [make_vector({"a": [2.0, 1.0], "b": [1.0]}), make_vector({"a": [-2.0, 1.0]})]
    found = merged("ties", vectors, ties_density=1.0)
    assert found["a"].tolist() == [2.0, 1.0]
    turned = [make_vector({"a": [2.0, -1.0], "b": [-1.0]}), make_vector({"a": [-2.0, -1.0]})]
    assert merged("ties", turned, ties_density=1.0)["a"].tolist() == [-2.0, -1.0]


def test_a_tie_without_majority_adds_nothing(make_vector: Any, merged: Any) -> None:
    vectors = [make_vector({"a": [2.0]}), make_vector({"a": [-2.0]})]
    assert merged("ties", vectors, ties_density=1.0)["a"].tolist() == [0.0]
    found = merged("ties", vectors, dialect="mergekit")["a"]
    assert found.tolist() == [2.0], "zero counts as plus there"


@given(several())
def test_turning_every_sign_turns_the_result(
    make_vector: Any, merged: Any, taus: list[Tensors]
) -> None:
    there = merged("ties", [make_vector(tau) for tau in taus])
    turned = [make_vector({name: -value for name, value in tau.items()}) for tau in taus]
    assert_same(merged("ties", turned), {name: -value for name, value in there.items()})


@given(several())
def test_the_parts_are_the_trimmed_changes_that_agree(
    make_vector: Any, merged: Any, taus: list[Tensors]
) -> None:
    vectors = [make_vector(tau) for tau in taus]
    parts = merged("ties", vectors, parts=True, ties_density=0.5)
    together = merged("ties", vectors, ties_density=0.5, ties_merge="sum")
    for name in taus[0]:
        np.testing.assert_allclose(
            sum(part[name] for part in parts), together[name], rtol=1e-12, atol=1e-12
        )
    alone = merged("ties", vectors[:1], parts=True, ties_density=0.5)[0]
    cut = trim(taus[0], touched(taus[:1]), 0.5, "global", exact=False)
    assert_same(alone, cut)


def test_untouched_tensors_do_not_count(make_vector: Any, merged: Any) -> None:
    """Listing tensors that nobody changes, as plain files do, moves no threshold."""
    some = {"a": [1.0, 2.0, 3.0, 4.0]}
    listed = {**some, "frozen": [0.0] * 100}
    plain = merged("ties", [make_vector(some)], ties_density=0.5)["a"].tolist()
    assert merged("ties", [make_vector(listed)], ties_density=0.5)["a"].tolist() == plain


def test_defaults_follow_the_dialect() -> None:
    ours, theirs = TiesConfig(), TiesConfig(dialect="mergekit")
    assert (ours.density(0), ours.ranked, ours.ties_merge) == (0.2, "global", "mean")
    assert (theirs.density(0), theirs.ranked) == (1.0, "tensor")


@pytest.mark.parametrize(
    "options",
    [
        {"ties_density": -0.1},
        {"ties_density": 1.5},
        {"ties_density": (0.5, 1.5)},
        {"ties_merge": "max"},
        {"scope": "layer"},
        {"dialect": "peft"},
    ],
    ids=str,
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="--"):
        TiesConfig(**options)


@pytest.mark.parametrize("scope", ["global", "tensor", "row"])
@pytest.mark.parametrize("dialect", ["official", "mergekit"])
def test_a_density_per_vector(make_vector: Any, merged: Any, scope: str, dialect: str) -> None:
    """Trimming each vector on its own first, then merging without a trim, comes to the same."""
    rng = np.random.default_rng(0)
    taus = [{"a": rng.normal(size=(4, 10)), "b": rng.normal(size=7)} for _ in range(3)]
    densities = (0.2, 0.5, 1.0)
    options = {"scope": scope, "dialect": dialect}
    trimmed = [
        merged("ties", [make_vector(tau)], ties_density=density, **options)
        for tau, density in zip(taus, densities, strict=True)
    ]
    expected = merged("ties", [make_vector(it) for it in trimmed], ties_density=1.0, **options)
    found = merged("ties", [make_vector(it) for it in taus], ties_density=densities, **options)
    for name in "ab":
        np.testing.assert_array_equal(found[name], expected[name])
