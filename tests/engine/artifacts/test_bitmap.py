"""Range-by-range reading of bitmaps gives what reading whole entries gives, and refuses as much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from talos_engine.artifacts import TaskVector, make_entry, open_vector, write_vector
from talos_engine.artifacts.bitmap import bitmap_problem, split_bitmap
from talos_engine.artifacts.header import Header
from talos_engine.artifacts.tensors import pack_bits
from talos_engine.errors import CorruptFileError

RANGE = 2**16


@given(
    numel=st.sampled_from([1, 7, 8, 9, 1000, RANGE - 1, RANGE, RANGE + 1, 2 * RANGE + 13]),
    density=st.sampled_from([0.0, 0.001, 0.03, 0.05, 0.0999, 0.1, 0.9, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_pieces_add_up_to_the_tensor(numel: int, density: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    flags = torch.rand(numel, generator=generator) < density
    dense = torch.where(flags, torch.randn(numel, generator=generator), 0.0)
    rebuilt = torch.zeros(numel)
    end = 0
    for piece in split_bitmap(pack_bits(flags), dense[flags], numel):
        assert end <= piece.start < piece.stop <= numel, "in flat order, without overlap"
        assert piece.positions is not None
        assert len(piece.positions), "ranges without a change are left out"
        rebuilt[piece.start : piece.stop][piece.positions] = piece.values
        end = piece.stop
    assert torch.equal(rebuilt, dense)


def test_a_files_pieces_are_its_entries(tmp_path: Path, make_header: Callable[..., Header]) -> None:
    generator = torch.Generator().manual_seed(0)
    theta0 = torch.randn(300, 401, generator=generator)
    live = torch.rand(theta0.shape, generator=generator) < 0.1
    small = 1e-4 * torch.randn(theta0.shape, generator=generator)
    entry = make_entry(theta0, torch.where(live, small, theta0), sparse="always")
    assert entry is not None
    assert len(entry.fix_index), "some entries take a fix"
    write_vector(tmp_path / "v", TaskVector(make_header("vector"), {"w": entry}))
    with open_vector(tmp_path / "v") as file:
        rebuilt = torch.zeros(theta0.numel())
        pieces = list(file.pieces("w"))
        for piece in pieces:
            rebuilt[piece.start : piece.stop][piece.positions] = piece.values
        assert len(pieces) == 2
        assert torch.equal(rebuilt.view_as(theta0), file.entry("w").dense())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"values": torch.tensor([1.0])}, "other numbers"),
        ({"values": torch.tensor([1.0, torch.nan])}, "NaN"),
        ({"values": torch.tensor([1.0, 2.0], dtype=torch.float64)}, "float64"),
        ({"bits": torch.tensor([0b10, 0b11], dtype=torch.uint8)}, "no entry"),
        ({"fix_index": torch.tensor([2])}, "where it has no changes"),
        ({"fix_index": torch.tensor([9])}, "out of range"),
        ({"fix_index": torch.tensor([-1])}, "out of range"),
        ({"fix_index": torch.tensor([1, 1])}, "other numbers"),
        ({"fix_index": torch.tensor([8, 1]), "fix_values": torch.ones(2)}, "not increase"),
        ({"fix_values": torch.tensor([torch.inf])}, "NaN"),
    ],
)
def test_contradictions_are_named(change: dict[str, torch.Tensor], problem: str) -> None:
    sound = {
        "bits": torch.tensor([0b10, 0b1], dtype=torch.uint8),
        "values": torch.tensor([1.0, 2.0]),
        "fix_index": torch.tensor([8]),
        "fix_values": torch.tensor([3.0]),
    }
    assert bitmap_problem(**sound, numel=9) == ""
    assert problem in bitmap_problem(**{**sound, **change}, numel=9)


def test_a_damaged_file_is_refused_naming_the_tensor(
    tmp_path: Path, make_header: Callable[..., Header]
) -> None:
    theta0 = torch.zeros(64)
    entry = make_entry(theta0, torch.arange(64) % 3 * 1.0, sparse="always")
    assert entry is not None
    write_vector(tmp_path / "v", TaskVector(make_header("vector"), {"some.weight": entry}))
    data = bytearray((tmp_path / "v").read_bytes())
    data[-1] ^= 1
    (tmp_path / "v").write_bytes(data)
    with (
        open_vector(tmp_path / "v") as file,
        pytest.raises(CorruptFileError, match=r"some\.weight"),
    ):
        list(file.pieces("some.weight"))
