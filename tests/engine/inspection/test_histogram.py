"""Histograms of scores: by hand, and every score in the bin that its edges say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.inspection.blocks import Block, tensor_blocks
from talos_engine.inspection.histogram import BINS_PER_DECADE, ScoreSummary, summarize_scores


def test_by_hand() -> None:
    tensors = {"a": torch.tensor([[0.0, 0.5], [0.5, 2.0]]), "b": torch.tensor([8.0, 0.0])}
    blocks = [Block("a", "q", 0, 0, 2), Block("a", "k", 0, 2, 4), Block("b", "q", 1, 0, 2)]
    found = summarize_scores(tensors, blocks)
    edges = found.edges
    assert edges[0] <= 0.5 < edges[1]
    assert edges[-2] <= 8 < edges[-1]
    assert len(edges) == 7
    assert found.by_kind["q"] == ScoreSummary(4, 2, 0.5, 4.25, 8.0, (1, 0, 0, 0, 0, 1))
    assert found.by_kind["k"] == ScoreSummary(2, 0, 0.5, 1.25, 2.0, (1, 0, 0, 1, 0, 0))
    assert found.overall == ScoreSummary(6, 2, 0.5, 1.25, 8.0, (2, 0, 0, 1, 0, 1))
    assert found.as_json()["by_kind"]["k"]["median_above_zero"] == 1.25


def test_nothing_above_zero() -> None:
    found = summarize_scores({"a": torch.zeros(3)}, tensor_blocks({"a": (3,)}))
    assert found.edges == ()
    assert found.overall == ScoreSummary(3, 3, None, None, None, ())
    assert summarize_scores({}, ()).overall == ScoreSummary(0, 0, None, None, None, ())


@given(
    exponents=st.lists(st.floats(-45, 38), min_size=1, max_size=60),
    zeros=st.integers(0, 3),
)
def test_every_score_is_in_its_bin(exponents: list[float], zeros: int) -> None:
    scores = torch.tensor([10.0**e for e in exponents] + [0.0] * zeros, dtype=torch.float64)
    scores = scores.clamp(max=3e38).float()
    found = summarize_scores({"a": scores}, tensor_blocks({"a": (len(scores),)}))
    above = scores[scores > 0].double().numpy()
    overall = found.overall
    assert overall.zeros == len(scores) - len(above)
    assert sum(overall.counts) == len(above)
    if not len(above):
        return
    assert overall.counts[0] > 0, "no empty bins at the ends"
    assert overall.counts[-1] > 0
    for low, high, count in zip(found.edges, found.edges[1:], overall.counts, strict=False):
        assert high / low == pytest.approx(10 ** (1 / BINS_PER_DECADE))
        assert count == np.count_nonzero((above >= low) & (above < high))
    assert (overall.least, overall.largest) == (above.min(), above.max())
    assert overall.median == pytest.approx(np.median(above), rel=1e-6)
