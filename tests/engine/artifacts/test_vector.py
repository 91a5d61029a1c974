"""Task vectors: exact restoring, the smallest form, and what a vector may not be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from talos_engine.artifacts import (
    BaseInfo,
    Header,
    TaskVector,
    VectorEntry,
    make_entry,
    open_tensors,
    open_vector,
    read_vector,
    restore,
    vector,
    write_vector,
)
from talos_engine.errors import (
    ArtifactError,
    CorruptFileError,
    MismatchError,
    OutputError,
    WrongKindError,
)

MakeHeader = Callable[..., Header]
FORMS = get_args(vector.Sparse)
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
INTS = {8: torch.int64, 4: torch.int32, 2: torch.int16}
BASE = BaseInfo("tiny-clip", "v1", {}, "ab" * 32)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    bits = INTS[a.element_size()]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(bits), b.view(bits))


def stored(path: Path) -> int:
    """Bytes of tensor data in a file."""
    with open_tensors(path) as file:
        return sum(spec.nbytes for spec in file.specs.values())


@st.composite
def pairs(draw: Callable[..., Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Base and fine-tuned tensor: any finite bits, some entries frozen, signed zeros included."""
    dtype = draw(st.sampled_from(FLOATS))
    shape = draw(st.sampled_from([(), (0,), (1,), (2, 3), (5, 7), (3, 0, 2), (40,)]))
    bits = INTS[dtype.itemsize]
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    limits = torch.iinfo(bits)

    def wild() -> torch.Tensor:
        # Drawn in 16-bit pieces, as randint cannot span all of int64.
        pieces = torch.randint(-(2**15), 2**15, (*shape, dtype.itemsize // 2), generator=random)
        values = pieces.to(torch.int16).view(bits).reshape(shape).view(dtype)
        special = torch.tensor([0.0, -0.0, 1.0, torch.finfo(dtype).max], dtype=dtype)
        special = torch.cat((special, torch.tensor([1, limits.min + 1], dtype=bits).view(dtype)))
        choice = torch.randint(0, len(special), shape, generator=random)
        keep = (torch.rand(shape, generator=random) < 0.5) & torch.isfinite(values)
        return torch.where(keep, values, special[choice])

    start = wild()
    if draw(st.booleans()):
        near = start * (1 + 1e-2 * torch.randn(shape, generator=random, dtype=dtype))
        end = torch.where(torch.isfinite(near), near, start)
    else:
        end = wild()
    frozen = torch.rand(shape, generator=random) < draw(st.sampled_from([0.0, 0.5, 0.95]))
    return start, torch.where(frozen, start, end)


@settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pair=pairs(), sparse=st.sampled_from(FORMS))
def test_the_fine_tuned_tensor_comes_back_bit_for_bit(
    tmp_path: Path,
    make_header: MakeHeader,
    pair: tuple[torch.Tensor, torch.Tensor],
    sparse: vector.Sparse,
) -> None:
    start, end = pair
    entry = make_entry(start, end, sparse=sparse, name="w")
    if entry is None:
        assert same_bits(start, end)
        return
    assert not same_bits(start, end)
    assert same_bits(restore(start, entry), end)
    written = TaskVector(make_header("vector"), {"w": entry})
    write_vector(tmp_path / "x", written, force=True)
    read = read_vector(tmp_path / "x").entries["w"]
    assert same_bits(restore(start, read), end)
    assert same_bits(read.dense(), entry.dense())
    assert read.values.dtype == (torch.float64 if start.dtype == torch.float64 else torch.float32)
    assert read.shape == tuple(start.shape)
    assert (read.index is None) == (entry.index is None)
    assert same_bits(read.fix_values, entry.fix_values)


@settings(derandomize=True, deadline=None, database=None, max_examples=100)
@given(pair=pairs())
def test_all_forms_hold_the_same_change(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    entries = [make_entry(*pair, sparse=sparse) for sparse in FORMS]
    found = [entry for entry in entries if entry is not None]
    assert len(found) in (0, 3)
    for entry in found[1:]:
        assert torch.equal(entry.dense(), found[0].dense())
        assert entry.nnz == found[0].nnz


def test_a_change_worked_out_by_hand(tmp_path: Path, make_header: MakeHeader) -> None:
    """1e8 + 2 - 1e8 is 0 in float32: the change of that entry is lost and has to be fixed."""
    start = torch.tensor([[1.0, 2.0, 1e-8], [0.0, 5.0, 6.0]])
    end = torch.tensor([[1.0, 2.5, 1.0], [-0.0, 5.0, 6.0]])
    entry = make_entry(start, end, sparse="always")
    assert entry is not None
    assert entry.index is not None
    assert entry.index.tolist() == [1, 2, 3]
    assert entry.values.tolist() == [0.5, 1.0, 0.0]
    assert entry.fix_index.tolist() == [3]
    assert str(entry.fix_values.item()) == "-0.0"
    assert entry.dense().tolist() == [[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]
    assert entry.nnz == 2
    write_vector(tmp_path / "x", TaskVector(make_header("vector"), {"w": entry}))
    disk = {name: tensor.tolist() for name, tensor in load_file(tmp_path / "x").items()}
    assert disk == {
        "w.values": [0.5, 1.0, 0.0],
        "w.bits": [0b1110],
        "w.fix_index": [3],
        "w.fix_values": [-0.0],
    }


def test_rounding_is_found_where_it_happens() -> None:
    torch.manual_seed(0)
    start, end = torch.randn(10_000), torch.randn(10_000)
    entry = make_entry(start, end)
    assert entry is not None
    rounded = start + entry.dense()
    assert entry.fix_index.tolist() == [i for i in range(10_000) if rounded[i] != end[i]]
    assert 0 < len(entry.fix_index) < 5_000


def test_an_overflowing_change_is_kept_exactly() -> None:
    big = torch.finfo(torch.float32).max
    start, end = torch.tensor([big, -big]), torch.tensor([-big, big])
    entry = make_entry(start, end)
    assert entry is not None
    assert torch.isfinite(entry.values).all()
    assert torch.equal(restore(start, entry), end)


def test_strided_tensors_and_frozen_entries(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = torch.randn(6, 4)
    end = start.clone()
    end[2] += 1.0
    entry = make_entry(start.t(), end.t())
    assert entry is not None
    assert entry.index is not None
    assert entry.index.tolist() == [2, 8, 14, 20]
    assert torch.equal(restore(start.t(), entry), end.t())
    again = restore(start, make_entry(start, end) or entry)
    assert torch.equal(again, end)
    assert again.data_ptr() != start.data_ptr()


@pytest.mark.parametrize("numel", [1, 8, 9, 1000])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.05, 0.5, 0.95, 0.97, 0.99, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_auto_takes_the_fewest_bytes(
    tmp_path: Path, make_header: MakeHeader, numel: int, share: float, dtype: torch.dtype
) -> None:
    start = torch.zeros(numel, dtype=dtype)
    end = start.clone()
    end[: max(1, round(share * numel))] = 1.5
    sizes = {}
    for sparse in FORMS:
        entry = make_entry(start, end, sparse=sparse)
        assert entry is not None
        write_vector(tmp_path / sparse, TaskVector(make_header("vector"), {"w": entry}))
        sizes[sparse] = stored(tmp_path / sparse)
    assert sizes["auto"] == min(sizes.values())


def test_positions_are_stored_in_the_smaller_way(tmp_path: Path, make_header: MakeHeader) -> None:
    start = torch.zeros(3200)
    for count, key, size in ((99, "w.index", 4 * 99), (100, "w.bits", 400)):
        end = start.clone()
        end[:count] = 1.0
        entry = make_entry(start, end)
        assert entry is not None
        write_vector(tmp_path / key, TaskVector(make_header("vector"), {"w": entry}))
        with open_tensors(tmp_path / key) as file:
            assert {name: spec.nbytes for name, spec in file.specs.items()} == {
                "w.values": 4 * count,
                key: size,
            }
        assert torch.equal(restore(start, read_vector(tmp_path / key).entries["w"]), end)


def test_ten_percent_live_take_less_than_0_14_of_dense(
    tmp_path: Path, make_header: MakeHeader
) -> None:
    torch.manual_seed(0)
    start = torch.randn(100_000)
    end = start.clone()
    end[::10] += 1e-3 * torch.randn(10_000)
    entry = make_entry(start, end)
    assert entry is not None
    write_vector(tmp_path / "x", TaskVector(make_header("vector"), {"w": entry}))
    assert (tmp_path / "x").stat().st_size < 0.14 * 4 * 100_000


def test_names_that_look_like_parts_are_kept_apart(tmp_path: Path, make_header: MakeHeader) -> None:
    torch.manual_seed(0)
    names = ["w", "w.values", "w.bits", "w.index", "w.fix_index", "w.values~", "w.values.values"]
    starts = {name: torch.randn(64) for name in names}
    ends, entries = {}, {}
    for i, name in enumerate(names * 2):
        ends[name] = starts[name].clone()
        ends[name][: 1 + i] += torch.randn(1 + i)
        sparse = FORMS[(i + i // len(names)) % 3]
        entry = make_entry(starts[name], ends[name], sparse=sparse)
        assert entry is not None
        entries[name] = entry
        write_vector(tmp_path / "x", TaskVector(make_header("vector"), entries), force=True)
        read = read_vector(tmp_path / "x").entries
        assert set(read) == set(entries)
        assert all(torch.equal(restore(starts[n], read[n]), ends[n]) for n in read)


def test_entries_are_read_one_by_one(tmp_path: Path, make_header: MakeHeader) -> None:
    start, end = torch.zeros(2, 3), torch.ones(2, 3)
    entries = {
        name: make_entry(start.to(d), end.to(d)) for name, d in zip("dcba", FLOATS, strict=True)
    }
    write_vector(
        tmp_path / "x",
        TaskVector(make_header("vector"), {n: e for n, e in entries.items() if e is not None}),
    )
    with open_vector(tmp_path / "x") as file:
        assert list(file.shapes.items()) == [(name, (2, 3)) for name in "abcd"]
        assert file.dtypes == dict(zip("dcba", FLOATS, strict=True))
        assert file.header == make_header("vector")
        assert torch.equal(file.entry("c").dense(), end)
        with pytest.raises(KeyError):
            file.entry("missing")


def test_unchanged_tensors_are_left_out(tmp_path: Path, make_header: MakeHeader) -> None:
    assert make_entry(torch.ones(3), torch.ones(3)) is None
    assert make_entry(torch.arange(3), torch.arange(3)) is None
    none = torch.empty(0, dtype=torch.int64)
    entry = VectorEntry((2,), torch.empty(0), none, none, torch.empty(0))
    write_vector(tmp_path / "x", TaskVector(make_header("vector"), {"w": entry}))
    assert read_vector(tmp_path / "x").entries == {}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_tensors_have_no_change(which: int, bad: float) -> None:
    pair = [torch.zeros(3), torch.ones(3)]
    pair[which][1] = bad
    with pytest.raises(ArtifactError, match=r"visual\.proj"):
        make_entry(pair[0], pair[1], name="visual.proj")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (torch.zeros(2), torch.zeros(3)),
        (torch.zeros(2), torch.zeros(2).double()),
        (torch.zeros(2), torch.zeros(1, 2)),
        (torch.zeros(2).int(), torch.ones(2).int()),
    ],
)
def test_tensors_that_do_not_match_have_no_change(start: torch.Tensor, end: torch.Tensor) -> None:
    with pytest.raises(MismatchError, match=r"visual\.proj"):
        make_entry(start, end, name="visual.proj")


def test_a_change_is_not_applied_to_another_tensor() -> None:
    entry = make_entry(torch.zeros(2, 3), torch.ones(2, 3))
    assert entry is not None
    for other in (torch.zeros(3, 2), torch.zeros(2, 3).double(), torch.zeros(6)):
        with pytest.raises(MismatchError):
            restore(other, entry)


def longs(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


@pytest.mark.parametrize(
    "changes",
    [
        {"values": torch.tensor([1.0])},
        {"values": torch.tensor([[1.0, 2.0]])},
        {"values": torch.tensor([1.0, 2.0]).double()},
        {"values": torch.tensor([1.0, float("nan")])},
        {"values": torch.tensor([1.0, float("inf")])},
        {"index": longs(1, 1)},
        {"index": longs(2, 1)},
        {"index": longs(-1, 1)},
        {"index": longs(1, 4)},
        {"index": longs(1, 2).int()},
        {"index": None},
        {"shape": (2,)},
        {"fix_index": longs(3)},
        {"fix_index": longs()},
        {"fix_values": torch.tensor([float("nan")])},
        {"fix_values": torch.tensor([1])},
        {"index": longs(), "values": torch.empty(0)},
    ],
)
def test_an_entry_that_contradicts_itself_is_not_written(
    tmp_path: Path, make_header: MakeHeader, changes: dict[str, Any]
) -> None:
    good = VectorEntry((4,), torch.tensor([1.0, 2.0]), longs(1, 2), longs(2), torch.tensor([2.5]))
    write_vector(tmp_path / "good", TaskVector(make_header("vector"), {"w.a": good}))
    bad = dataclasses.replace(good, **changes)
    with pytest.raises(OutputError, match=r"w\.a"):
        write_vector(tmp_path / "x", TaskVector(make_header("vector"), {"w.a": bad}))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"w.values": torch.tensor([1.0])},
        {"w.values": torch.tensor([1.0, float("nan")])},
        {"w.values": torch.tensor([1.0, 2.0]).double()},
        {"w.values": torch.tensor([[1.0, 2.0]])},
        {"w.bits": torch.tensor([0b0010], dtype=torch.uint8)},
        {"w.bits": torch.tensor([0b0111], dtype=torch.uint8)},
        {"w.bits": torch.tensor([0b1000_0010], dtype=torch.uint8)},
        {"w.bits": torch.tensor([0b0110, 0], dtype=torch.uint8)},
        {"w.bits": None},
        {"w.values": None},
        {"w.fix_values": None},
        {"w.fix_index": torch.tensor([4], dtype=torch.int32)},
        {"w.fix_index": torch.tensor([-1], dtype=torch.int32)},
        {"w.fix_index": torch.tensor([3], dtype=torch.int32)},
        {"w.fix_index": longs(2)},
        {"w.fix_values": torch.tensor([float("inf")])},
        {"w.fix_values": torch.tensor([1.0, 2.0])},
        {"w.extra": torch.tensor([1.0])},
        {"w": torch.zeros(4)},
        {"v": torch.zeros(4)},
        {"v.index": torch.tensor([1], dtype=torch.int32)},
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(
    tmp_path: Path, make_header: MakeHeader, changes: dict[str, torch.Tensor | None]
) -> None:
    path = tmp_path / "x"
    good = VectorEntry((4,), torch.tensor([1.0, 2.0]), longs(1, 2), longs(2), torch.tensor([2.5]))
    write_vector(path, TaskVector(make_header("vector"), {"w": good}))
    with open_tensors(path) as file:
        metadata, tensors = file.metadata, file.read_all()
    changed = {**tensors, **changes}
    save_file({n: t for n, t in changed.items() if t is not None}, path, metadata)
    with pytest.raises(CorruptFileError) as caught:
        read_vector(path)
    assert str(path) in str(caught.value)
    assert any(name.split(".")[0] in str(caught.value) for name in changes)


@pytest.mark.parametrize("index", [[1, 1], [2, 1], [-1, 2], [1, 3200]])
def test_stored_positions_increase_within_the_tensor(
    tmp_path: Path, make_header: MakeHeader, index: list[int]
) -> None:
    path = tmp_path / "x"
    none = torch.empty(0, dtype=torch.int64)
    good = VectorEntry((3200,), torch.tensor([1.0, 2.0]), longs(1, 2), none, torch.empty(0))
    write_vector(path, TaskVector(make_header("vector"), {"w": good}))
    with open_tensors(path) as file:
        metadata, tensors = file.metadata, file.read_all()
    save_file({**tensors, "w.index": torch.tensor(index, dtype=torch.int32)}, path, metadata)
    with pytest.raises(CorruptFileError, match="positions"):
        read_vector(path)


def test_plain_differences_are_taken_for_a_named_base_only(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    change = torch.tensor([[0.5, 0.0], [-1.0, 2.0]])
    tensors = {
        "w": change,
        "half": change.half(),
        "zero": torch.zeros(3),
        "counter": torch.zeros(2, 2, dtype=torch.int64),
    }
    save_file(tensors, path)
    with pytest.raises(WrongKindError) as caught:
        read_vector(path)
    assert "--model" in caught.value.hint
    read = read_vector(path, allow_plain_base=BASE)
    assert read.header == Header("vector", BASE, "external", "", {}, 0, "")
    assert {name: entry.shape for name, entry in read.entries.items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    assert {name: entry.fix_values.dtype for name, entry in read.entries.items()} == {
        name: tensor.dtype for name, tensor in tensors.items()
    }
    for name in ("w", "half"):
        assert torch.equal(read.entries[name].dense(), change)
    assert read.entries["zero"].nnz == read.entries["counter"].nnz == 0
    assert torch.equal(restore(torch.zeros(2, 2), read.entries["w"]), change)


def test_our_own_vectors_keep_their_header_where_plain_ones_are_allowed(
    tmp_path: Path, make_header: MakeHeader, samples: dict[str, Any]
) -> None:
    samples["vector"].write(tmp_path / "x")
    other = BaseInfo("other", "", {}, "0" * 64)
    read = read_vector(tmp_path / "x", allow_plain_base=other)
    assert read.header == make_header("vector")
    samples["mask"].write(tmp_path / "mask")
    with pytest.raises(WrongKindError, match="a mask, a task vector was expected"):
        read_vector(tmp_path / "mask", allow_plain_base=other)


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor([1.0, float("nan")]), torch.tensor([float("inf")]), torch.tensor([1, 0])],
)
def test_plain_differences_that_cannot_be_changes_are_refused(
    tmp_path: Path, tensor: torch.Tensor
) -> None:
    save_file({"fine": torch.ones(2), "odd.weight": tensor}, tmp_path / "x")
    with pytest.raises(CorruptFileError, match=r"odd\.weight"):
        read_vector(tmp_path / "x", allow_plain_base=BASE)
