"""Overlaps, cosines and sign conflicts: by hand, and against dense numpy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.artifacts import VectorEntry, make_entry
from talos_engine.inspection import comparison
from talos_engine.inspection.comparison import compare_masks, compare_vectors

Entries = list[VectorEntry | None]


def flags(*live: int) -> torch.Tensor:
    return torch.tensor(live, dtype=torch.bool)


def test_masks_by_hand() -> None:
    """A = {0, 1, 4}, B = {1, 2}, C = {} of 8 entries in two tensors."""
    found = compare_masks(
        iter([[flags(1, 1, 0, 0), flags(0, 1, 1, 0), None], [flags(1, 0, 0, 0), None, None]]), 3, 8
    )
    assert found.iou == ((1.0, 0.25, 0.0), (0.25, 1.0, 0.0), (0.0, 0.0, 1.0))
    by_chance = (3 * 2 / 8) / (3 + 2 - 3 * 2 / 8)
    assert found.chance == ((1.0, by_chance, 0.0), (by_chance, 1.0, 0.0), (0.0, 0.0, 1.0))
    assert found.as_json()["iou"][0] == [1.0, 0.25, 0.0]


def test_independent_masks_overlap_as_by_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.rand(200_000, generator=generator) < 0.1 for _ in range(2)]
    found = compare_masks([drawn], 2, 200_000)
    assert found.iou[0][1] == pytest.approx(found.chance[0][1], rel=0.05)
    assert found.chance[0][1] == pytest.approx(0.1 / 1.9, rel=0.02)


def entry(*values: float, sparse: str = "always") -> VectorEntry | None:
    return make_entry(torch.zeros(len(values)), torch.tensor(values).float(), sparse=sparse)  # type: ignore[arg-type]


def test_vectors_by_hand() -> None:
    """a = (3, 0, 4 | 0), b = (−3, 5, 4 | 0), c = (0, 0, 0 | 2), d = 0."""
    first: Entries = [entry(3, 0, 4), entry(-3, 5, 4, sparse="never"), None, None]
    second: Entries = [None, None, entry(2), None]
    found = compare_vectors(iter([first, second]), 4)
    assert found.norms == (5.0, math.sqrt(50), 2.0, 0.0)
    assert found.cosine[0][1] == pytest.approx(7 / (5 * math.sqrt(50)))
    assert found.cosine[0][0] == found.cosine[1][1] == 1.0
    assert found.cosine[0][2] == 0.0
    assert found.cosine[3] == (None, None, None, None), "no angle with zero"
    assert found.iou[0] == (1.0, 2 / 3, 0.0, 0.0)
    assert found.iou[3][3] == 1.0
    assert found.conflicts[0] == (0.0, 0.5, None, None), "of two shared entries one turns"


def numpy_oracle(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosine, IoU and sign conflicts, pair by pair on dense float64 rows."""
    count = len(vectors)
    cosine, iou, conflicts = (np.full((count, count), np.nan) for _ in range(3))
    for i, a in enumerate(vectors):
        for j, b in enumerate(vectors):
            if a.any() and b.any():
                cosine[i, j] = a @ b / np.sqrt((a @ a) * (b @ b))
            both, either = (a != 0) & (b != 0), (a != 0) | (b != 0)
            iou[i, j] = both.sum() / either.sum() if either.any() else 1.0
            if both.any():
                conflicts[i, j] = np.mean(np.sign(a[both]) != np.sign(b[both]))
    return cosine, iou, conflicts


@given(
    seed=st.integers(0, 999),
    densities=st.lists(st.sampled_from([0.0, 0.02, 0.3, 1.0]), min_size=1, max_size=4),
    sparse=st.sampled_from(["always", "never", "auto"]),
)
def test_vectors_against_numpy_over_tensors_and_slices(
    seed: int, densities: list[float], sparse: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    stored: list[Entries] = []
    for size in (30, 7, 1):
        bases = torch.randn(size, generator=generator)
        own: Entries = []
        for number, density in enumerate(densities):
            change = torch.randn(size, generator=generator) * 10.0 ** (number - 1)
            change[torch.rand(size, generator=generator) >= density] = 0
            own.append(make_entry(bases, bases + change, sparse=sparse))  # type: ignore[arg-type]
        stored.append(own)
        rows.append([np.zeros(size) if e is None else e.dense().double().numpy() for e in own])
    vectors = np.concatenate([np.stack(own) for own in rows], axis=1)

    def tensors() -> Iterator[Entries]:
        yield from stored

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "SLICE", 8)
        sliced = compare_vectors(tensors(), len(densities))
    whole = compare_vectors(tensors(), len(densities))
    cosine, iou, conflicts = numpy_oracle(vectors)
    for found in (sliced, whole):
        np.testing.assert_allclose(np.array(found.cosine, dtype=float), cosine, atol=1e-12)
        np.testing.assert_allclose(np.array(found.iou), iou, rtol=1e-15)
        np.testing.assert_allclose(np.array(found.conflicts, dtype=float), conflicts, rtol=1e-15)
        np.testing.assert_allclose(
            np.array(found.norms, dtype=float), np.linalg.norm(vectors, axis=1), rtol=1e-12
        )


def test_scale_and_sign() -> None:
    """Parallel vectors have cosine 1 at any length, opposite ones −1 and every sign against."""
    values = (0.1, -0.2, 0.7)
    several = [entry(*(factor * value for value in values)) for factor in (1.0, 1e6, -1e-6)]
    found = compare_vectors([several], 3)
    np.testing.assert_allclose(
        np.array(found.cosine), [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], rtol=1e-6
    )
    assert all(abs(value) <= 1 for row in found.cosine for value in row if value is not None)
    assert found.conflicts[0] == (0.0, 0.0, 1.0)


def test_vectors_beyond_float64_have_no_numbers_instead_of_infinite_ones() -> None:
    huge = make_entry(torch.zeros(2).double(), torch.full((2,), 1e200, dtype=torch.float64))
    found = compare_vectors([[huge, huge]], 2)
    assert found.norms == (None, None)
    assert found.cosine == ((None, None), (None, None))
    assert found.iou == ((1.0, 1.0), (1.0, 1.0))
