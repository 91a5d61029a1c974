"""Masks: bits on disk, counts, and what a mask may not be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from talos_engine.artifacts import Header, Mask, open_mask, open_tensors, read_mask, write_mask
from talos_engine.errors import CorruptFileError, OutputError

MakeHeader = Callable[..., Header]


def test_the_bits_on_disk_are_those_worked_out_by_hand(
    tmp_path: Path, make_header: MakeHeader
) -> None:
    """Entries 0, 2 and 8 of 9 are live: bytes 0b00000101 and 0b00000001."""
    live = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 1]], dtype=torch.bool)
    mask = Mask(make_header("mask"), {"w": live}, {"w": (3, 3), "b": (7,), "s": ()})
    write_mask(tmp_path / "x", mask)
    assert {name: t.tolist() for name, t in load_file(tmp_path / "x").items()} == {"w.bits": [5, 1]}
    read = read_mask(tmp_path / "x")
    assert torch.equal(read.live["w"], live)
    assert read.header == mask.header
    assert read.shapes == {"w": (3, 3), "b": (7,), "s": ()}
    assert (read.live_count, read.total, read.sparsity) == (3, 9 + 7 + 1, 0.5)


@settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    shapes=st.dictionaries(
        st.sampled_from(["w", "w.bits", "b", "é", "a.b.c"]),
        st.lists(st.integers(0, 5), max_size=3).map(tuple),
        max_size=4,
    ),
    seed=st.integers(0, 1000),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_any_mask_comes_back(
    tmp_path: Path,
    make_header: MakeHeader,
    shapes: dict[str, tuple[int, ...]],
    seed: int,
    density: float,
) -> None:
    random = torch.Generator().manual_seed(seed)
    live = {name: torch.rand(shape, generator=random) < density for name, shape in shapes.items()}
    mask = Mask(make_header("mask"), live, shapes)
    write_mask(tmp_path / "x", mask, force=True)
    read = read_mask(tmp_path / "x")
    assert read.shapes == shapes
    assert read.live_count == mask.live_count
    assert set(read.live) == {name for name, flags in live.items() if flags.any()}
    for name, flags in read.live.items():
        assert flags.dtype == torch.bool
        assert torch.equal(flags, live[name])


def test_an_existing_mask_is_kept_without_force(tmp_path: Path, make_header: MakeHeader) -> None:
    mask = Mask(make_header("mask"), {}, {"w": (2,)})
    write_mask(tmp_path / "x", mask)
    with pytest.raises(OutputError, match="exists"):
        write_mask(tmp_path / "x", mask)


@pytest.mark.parametrize(
    "changes",
    [
        {"shapes": {"w": (5,)}},
        {"shapes": {}},
        {"live": {"w": torch.ones(4)}},
        {"header": {"config": {}}},
        {"header": {"config": {"sparsity": 1.5}}},
        {"header": {"config": {"sparsity": True}}},
        {"header": {"config": {"sparsity": "0.5"}}},
    ],
)
def test_a_mask_that_contradicts_itself_is_not_written(
    tmp_path: Path, make_header: MakeHeader, changes: dict[str, Any]
) -> None:
    mask = Mask(make_header("mask"), {"w": torch.ones(4, dtype=torch.bool)}, {"w": (4,)})
    if "header" in changes:
        changes = {"header": make_header("mask", **changes["header"])}
    with pytest.raises(OutputError):
        write_mask(tmp_path / "x", dataclasses.replace(mask, **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_mask_with_the_header_of_another_kind_is_a_bug(
    tmp_path: Path, make_header: MakeHeader
) -> None:
    with pytest.raises(ValueError, match="a mask cannot have the header of a task vector"):
        write_mask(tmp_path / "x", Mask(make_header("vector"), {}, {}))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"w.bits": torch.tensor([0b10101], dtype=torch.uint8)}, "unused bit"),
        ({"w.bits": torch.tensor([0], dtype=torch.uint8)}, "no live entry"),
        ({"w.bits": torch.tensor([1, 0], dtype=torch.uint8)}, "w.bits"),
        ({"w.bits": torch.tensor([[1]], dtype=torch.uint8)}, "w.bits"),
        ({"w.bits": torch.tensor([1], dtype=torch.int8)}, "w.bits"),
        ({"w": torch.tensor([1], dtype=torch.uint8)}, "unexpected"),
        ({"v.bits": torch.tensor([1], dtype=torch.uint8)}, "unexpected"),
        ({".bits": torch.tensor([1], dtype=torch.uint8)}, "unexpected"),
    ],
)
def test_bits_that_do_not_fit_are_refused(
    tmp_path: Path, make_header: MakeHeader, tensors: dict[str, torch.Tensor], message: str
) -> None:
    path = tmp_path / "x"
    write_mask(path, Mask(make_header("mask"), {}, {"w": (2, 2)}))
    with open_tensors(path) as file:
        metadata = file.metadata
    save_file(tensors, path, metadata)
    with pytest.raises(CorruptFileError, match=message) as caught:
        read_mask(path)
    assert str(path) in str(caught.value)


def test_enormous_shapes_cost_nothing(tmp_path: Path, make_header: MakeHeader) -> None:
    write_mask(tmp_path / "x", Mask(make_header("mask"), {}, {"w": (2**29, 2**30)}))
    assert read_mask(tmp_path / "x").total == math.prod((2**29, 2**30))


def test_an_open_mask_gives_one_tensor_at_a_time(tmp_path: Path, make_header: MakeHeader) -> None:
    live = {"b": torch.tensor([True, False]), "a": torch.tensor([[True], [True]])}
    shapes = {"b": (2,), "c": (5,), "a": (2, 1)}
    write_mask(tmp_path / "x", Mask(make_header("mask"), live, shapes))
    content = bytearray((tmp_path / "x").read_bytes())
    with open_mask(tmp_path / "x") as file:
        assert (file.names, file.shapes) == (("a", "b"), shapes)
        assert file.header == make_header("mask")
        assert torch.equal(file.flags("a"), live["a"])
        with pytest.raises(KeyError):
            file.flags("c")
    content[-1] ^= 2  # the bits of b, the last tensor
    (tmp_path / "x").write_bytes(content)
    with open_mask(tmp_path / "x") as file:
        assert torch.equal(file.flags("a"), live["a"]), "what is damaged elsewhere is not read"
        with pytest.raises(CorruptFileError, match=r"b\.bits"):
            file.flags("b")
        with pytest.raises(CorruptFileError, match=r"b\.bits"):
            file.read()
