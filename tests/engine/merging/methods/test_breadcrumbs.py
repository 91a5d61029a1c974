"""Breadcrumbs against a numpy reading of its formula, in both dialects, and cases by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from talos_engine.errors import OptionError
from talos_engine.merging.methods.breadcrumbs import BreadcrumbsConfig

Tensors = dict[str, NDArray[Any]]
FEW = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
ANY = st.floats(-1e3, 1e3, width=32)
SHAPES = {"a": (3, 5), "b": (12,), "c": (), "empty": (2, 0)}
SHARES = st.sampled_from([0.0, 0.1, 0.2, 0.34, 0.5, 0.9, 1.0])


@st.composite
def tensors(draw: Any) -> Tensors:
    elements = draw(st.sampled_from([FEW, ANY]))
    return {
        name: draw(arrays(np.float32, shape, elements=elements)) for name, shape in SHAPES.items()
    }


def middle(row: NDArray[Any], outliers: int, kept: int) -> NDArray[Any]:
    """The row without its largest entries and all but the largest of the others."""
    order = np.lexsort((np.arange(row.size), -np.abs(row)))
    result = np.zeros(row.size)
    chosen = order[outliers : outliers + kept]
    result[chosen] = row[chosen]
    return result


def counts(size: int, outliers: float, density: float, kit: bool) -> tuple[int, int]:
    kept, top = int(size * density), int(size * outliers)
    return (min(top, size - kept) if kit else top), kept


def expected(tau: Tensors, outliers: float, density: float, scope: str, kit: bool) -> Tensors:
    if scope == "global":
        names = [name for name in sorted(tau) if np.any(tau[name])]
        flat = np.concatenate([tau[name].reshape(-1) for name in names] or [np.zeros(0)])
        cut = middle(flat, *counts(flat.size, outliers, density, kit))
        found = {name: np.zeros(value.shape) for name, value in tau.items()}
        start = 0
        for name in names:
            size = tau[name].size
            found[name] = cut[start : start + size].reshape(tau[name].shape)
            start += size
    else:
        found = {}
        for name, value in tau.items():
            width = value.shape[-1] if value.ndim and scope == "row" else value.size
            rows = value.reshape(-1, width) if value.size else np.zeros((0, 1))
            cut_rows = [middle(row, *counts(row.size, outliers, density, kit)) for row in rows]
            found[name] = np.array(cut_rows).reshape(value.shape)
    return found | {name: value for name, value in tau.items() if value.ndim == 0}


@given(tensors(), SHARES, SHARES, st.sampled_from(["row", "tensor", "global"]), st.booleans())
def test_it_equals_the_formula(
    make_vector: Any,
    merged: Any,
    tau: Tensors,
    outliers: float,
    density: float,
    scope: str,
    kit: bool,
) -> None:
    found = merged(
        "breadcrumbs",
        [make_vector(tau)],
        breadcrumbs_outliers=outliers,
        breadcrumbs_density=density,
        scope=scope,
        dialect="mergekit" if kit else "official",
    )
    for name, value in expected(tau, outliers, density, scope, kit).items():
        assert np.array_equal(found[name], value), name


def test_by_hand(make_vector: Any, merged: Any) -> None:
    """Five columns: the largest is an outlier, of the others the two largest stay."""
    rows = [[5.0, -4.0, 3.0, 2.0, 1.0], [1.0, 1.0, -9.0, 0.0, 2.0]]
    vector = make_vector({"a": rows, "scalar": 7.0})
    options = {"breadcrumbs_outliers": 0.2, "breadcrumbs_density": 0.4}
    found = merged("breadcrumbs", [vector, vector], [1.0, 0.5], **options)
    assert found["a"].tolist() == [[0, -6.0, 4.5, 0, 0], [1.5, 0, 0, 0, 3.0]]
    assert found["scalar"].item() == 10.5, "0-d tensors are left whole"


def test_mergekits_empty_slice_is_not_copied(make_vector: Any, merged: Any) -> None:
    """With fewer than 1 / γ entries no outlier is left out; mergekit zeroes the tensor."""
    vector = make_vector({"a": [1.0, 2.0, 3.0, 4.0]})
    found = merged("breadcrumbs", [vector], dialect="mergekit", breadcrumbs_density=0.5)
    assert found["a"].tolist() == [0, 0, 3.0, 4.0]


def test_the_parts_are_the_rests(make_vector: Any, merged: Any) -> None:
    vectors = [make_vector({"a": [1.0, 2.0, 3.0]}), make_vector({"a": [9.0, 8.0, 7.0]})]
    options = {"breadcrumbs_outliers": 0.34, "breadcrumbs_density": 0.34}
    parts = merged("breadcrumbs", vectors, parts=True, **options)
    assert [part["a"].tolist() for part in parts] == [[0, 2.0, 0], [0, 8.0, 0]]


def test_options() -> None:
    ours, theirs = BreadcrumbsConfig(), BreadcrumbsConfig(dialect="mergekit")
    assert (ours.outliers(0), ours.density(0), ours.ranked) == (0.1, 0.2, "row")
    assert (theirs.outliers(0), theirs.density(0), theirs.ranked) == (0.01, 1.0, "tensor")
    bad: list[dict[str, Any]] = [
        {"breadcrumbs_outliers": 1.1},
        {"breadcrumbs_density": -1.0},
        {"breadcrumbs_outliers": (0.1, 1.1)},
        {"scope": "x"},
        {"dialect": "x"},
    ]
    for options in bad:
        with pytest.raises(OptionError, match="--"):
            BreadcrumbsConfig(**options)


@pytest.mark.parametrize("scope", ["global", "tensor", "row"])
def test_shares_per_vector(make_vector: Any, merged: Any, scope: str) -> None:
    rng = np.random.default_rng(1)
    vectors = [make_vector({"a": rng.normal(size=(3, 20))}) for _ in range(2)]
    parts = merged("breadcrumbs", vectors, parts=True, scope=scope,
                   breadcrumbs_outliers=(0.1, 0.3), breadcrumbs_density=(0.5, 0.2))  # fmt: skip
    for part, vector, outliers, density in zip(parts, vectors, (0.1, 0.3), (0.5, 0.2), strict=True):
        alone = merged("breadcrumbs", [vector], scope=scope,
                       breadcrumbs_outliers=outliers, breadcrumbs_density=density)  # fmt: skip
        np.testing.assert_array_equal(part["a"], alone["a"])
    assert (parts[0]["a"] != 0).sum() != (parts[1]["a"] != 0).sum()
