"""Consensus merging against its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from talos_engine.errors import OptionError
from talos_engine.merging.methods.consensus import ConsensusConfig

ROWS = arrays(
    np.float32,
    (2, 4),
    elements=st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), st.floats(-1e3, 1e3, width=32)),
)


def test_by_hand(make_vector: Any, merged: Any) -> None:
    """Entry 0 is wanted by both, 1 by one, 2 by none of them enough."""
    vectors = [make_vector({"a": [4.0, 9.0, 1.0]}), make_vector({"a": [4.0, 0.0, -1.0]})]
    assert merged("consensus", vectors)["a"].tolist() == [8.0, 0.0, 0.0]
    assert merged("consensus", vectors, consensus_threshold=1)["a"].tolist() == [8.0, 9.0, 0.0]
    first, second = merged("consensus", vectors, parts=True)
    assert first["a"].tolist() == [4.0, 0.0, 1.0]
    assert second["a"].tolist() == [4.0, 0.0, -1.0]


@given(
    st.lists(ROWS, min_size=1, max_size=6), st.integers(0, 6), st.sampled_from([0.0, 0.4, 0.6, 2.0])
)
def test_it_equals_the_definition(
    make_vector: Any, merged: Any, taus: list[Any], threshold: int, lam: float
) -> None:
    vectors = [make_vector({"a": tau}) for tau in taus]
    options = {"consensus_threshold": threshold, "tall_lambda": lam}
    if threshold > len(taus):
        with pytest.raises(OptionError, match="needs as many vectors"):
            merged("consensus", vectors, **options)
        return
    total = sum(tau.astype(np.float64) for tau in taus)
    votes = sum(np.abs(tau) > lam * np.abs(total - tau) for tau in taus)
    found = merged("consensus", vectors, **options)["a"]
    np.testing.assert_array_equal(found, np.where(votes >= threshold, total, 0.0))
    if threshold == 0:
        np.testing.assert_array_equal(found, merged("sum", vectors)["a"])


@given(st.lists(st.tuples(ROWS, st.integers(0, 3), st.sampled_from([0.0, 0.4, 2.0])), min_size=3))
def test_a_threshold_and_a_lambda_per_vector(
    make_vector: Any, merged: Any, given: list[tuple[Any, int, float]]
) -> None:
    """Each vector's change stays where as many tasks as it asks for want the entry."""
    taus = [tau.astype(np.float64) for tau, _, _ in given]
    options = {
        "consensus_threshold": tuple(threshold for _, threshold, _ in given),
        "tall_lambda": tuple(lam for _, _, lam in given),
    }
    vectors = [make_vector({"a": tau}) for tau, _, _ in given]
    total = np.sum(taus, axis=0)
    votes = sum(
        np.abs(tau) > lam * np.abs(total - tau)
        for tau, lam in zip(taus, options["tall_lambda"], strict=True)
    )
    kept = [
        np.where(votes >= threshold, tau, 0.0)
        for tau, threshold in zip(taus, options["consensus_threshold"], strict=True)
    ]
    np.testing.assert_allclose(merged("consensus", vectors, **options)["a"], np.sum(kept, axis=0))
    for part, expected in zip(
        merged("consensus", vectors, parts=True, **options), kept, strict=True
    ):
        np.testing.assert_array_equal(part["a"], expected)
    same = {**options, "consensus_threshold": (2,) * len(given)}
    np.testing.assert_allclose(
        merged("consensus", vectors, **same)["a"],
        merged("consensus", vectors, **{**options, "consensus_threshold": 2})["a"],
    )


def test_options() -> None:
    assert ConsensusConfig() == ConsensusConfig(2, 0.4)
    for options in ({"consensus_threshold": -1}, {"tall_lambda": -1.0}):
        with pytest.raises(OptionError, match="--"):
            ConsensusConfig(**options)
