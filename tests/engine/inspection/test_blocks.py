"""Blocks cover every entry once, and know which rows are queries."""

from __future__ import annotations

import itertools
import math

import pytest

from talos_engine.inspection.blocks import (
    OTHER,
    OUTSIDE,
    kind_order,
    structure_blocks,
    structure_problem,
    tensor_blocks,
)
from talos_engine.models.loading import open_skeleton
from talos_engine.models.structure import EncoderStructure, ParameterGroup

FUSED = EncoderStructure(
    ("w", "b", "emb"),
    {"w": (6, 4), "b": (6,), "emb": (5,)},
    (
        ParameterGroup("w", "q", 3, False, 0, 2),
        ParameterGroup("w", "k", 3, False, 2, 6),
        ParameterGroup("b", "q", 3, True, 0, 6),
    ),
)


def test_rows_become_flat_ranges() -> None:
    blocks = structure_blocks(FUSED, FUSED.shapes)
    assert [(b.name, b.kind, b.layer, b.start, b.stop, b.size) for b in blocks] == [
        ("w", "q", 3, 0, 8, 8),
        ("w", "k", 3, 8, 24, 16),
        ("b", "q bias", 3, 0, 6, 6),
        ("emb", OTHER, OUTSIDE, 0, 5, 5),
    ]


def test_only_the_tensors_asked_for() -> None:
    assert [block.name for block in structure_blocks(FUSED, {"b": (6,), "text": (2, 2)})] == [
        "b",
        "text",
    ]


@pytest.mark.parametrize("model", ["toy-clip", "tiny-clip"])
def test_blocks_of_a_real_model_cover_every_entry_once(model: str) -> None:
    structure = open_skeleton(model).structure
    blocks = structure_blocks(structure, structure.shapes)
    for name, shape in structure.shapes.items():
        own = sorted((b.start, b.stop) for b in blocks if b.name == name)
        assert own[0][0] == 0
        assert own[-1][1] == math.prod(shape)
        assert all(before[1] == after[0] for before, after in itertools.pairwise(own))
    kinds = {block.kind for block in blocks}
    assert {"q", "k", "v", "o", "mlp_in", "mlp_out", "ln", "conv", "k bias", OTHER} <= kinds
    assert "ln bias" not in kinds


def test_whole_tensors_where_the_model_is_not_known() -> None:
    blocks = tensor_blocks({"z": (2, 3), "a": ()})
    assert [(b.name, b.kind, b.layer, b.size) for b in blocks] == [
        ("a", "a", OUTSIDE, 1),
        ("z", "z", OUTSIDE, 6),
    ]


def test_kinds_are_ordered_weights_biases_others() -> None:
    kinds = ["other", "ln", "q bias", "v", "mlp_in bias", "some.tensor", "q"]
    assert sorted(kinds, key=kind_order) == [
        "q", "v", "ln", "q bias", "mlp_in bias", "other", "some.tensor",
    ]  # fmt: skip


def test_what_does_not_fit_a_structure_is_told() -> None:
    assert structure_problem(FUSED, {"w": (6, 4), "text": (9,)}) == ""
    assert structure_problem(FUSED, {}) == ""
    assert "'w' has shape (6, 5), in the model (6, 4)" in structure_problem(FUSED, {"w": (6, 5)})
    assert "no tensor 'text'" in structure_problem(FUSED, {"text": (9,)})
