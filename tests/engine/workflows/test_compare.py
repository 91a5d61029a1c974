"""Comparisons of files, by hand and against each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from talos_engine.artifacts import (
    Checkpoint,
    read_checkpoint,
    read_mask,
    read_vector,
    write_checkpoint,
    write_mask,
    write_metrics,
    write_vector,
)
from talos_engine.errors import CorruptFileError, MismatchError, WrongKindError
from talos_engine.workflows.compare import compare_files


def checkpoint(path: Path, like: Path, tensors: dict[str, torch.Tensor]) -> Path:
    write_checkpoint(path, Checkpoint(read_checkpoint(like).header, tensors))
    return path


@pytest.fixture
def small(toy_files: Any, tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    tensors = {
        "a": torch.tensor([[1.0, 2.0], [0.0, -4.0]]),
        "h": torch.tensor([1.0, 2.0], dtype=torch.float16),
        "n": torch.tensor(7),
        "e": torch.empty(0, 3),
    }
    return checkpoint(tmp_path / "one", toy_files.checkpoint(), tensors), tensors


def test_by_hand(
    small: tuple[Path, dict[str, torch.Tensor]], toy_files: Any, tmp_path: Path
) -> None:
    one, tensors = small
    other = {
        **tensors,
        "a": torch.tensor([[1.0, 2.5], [-0.0, -7.0]]),
        "n": torch.tensor(9),
    }
    two = checkpoint(tmp_path / "two", toy_files.checkpoint(), other)
    found = compare_files(one, two)
    assert (found.kind, found.equal, found.same_base, found.largest) == (
        "checkpoint",
        False,
        True,
        3,
    )
    by_name = {each.name: each for each in found.tensors}
    assert list(by_name) == ["a", "e", "h", "n"]
    a = by_name["a"]
    assert (a.equal, a.entries, a.differing, a.largest) == (False, 4, 3, 3.0), "-0.0 is another bit"
    assert (by_name["n"].differing, by_name["n"].largest) == (1, 2.0)
    assert by_name["h"].equal
    assert by_name["e"].equal


def test_a_file_equals_itself_and_its_plain_copy(
    small: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    one, tensors = small
    save_file(tensors, tmp_path / "plain")
    assert compare_files(one, one).equal
    found = compare_files(one, tmp_path / "plain")
    assert (found.equal, found.kind, found.same_base) == (True, "tensors", None)


def test_numbers_that_are_none_have_no_difference(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "one")
    save_file({"a": torch.tensor([1.0, 2.0])}, tmp_path / "two")
    found = compare_files(tmp_path / "one", tmp_path / "two")
    assert (found.equal, found.largest, found.tensors[0].differing) == (False, None, 1)
    assert compare_files(tmp_path / "one", tmp_path / "one").equal


@pytest.mark.parametrize("method", ["talos", "nonlinear"])
def test_storage_of_vectors_does_not_matter(toy_files: Any, method: str) -> None:
    files = [toy_files.vector("a", method, how) for how in ("auto", "always", "never")]
    for path in files[1:]:
        assert compare_files(files[0], path).equal
    found = compare_files(files[0], toy_files.vector("b", method))
    assert not found.equal
    first, second = (
        read_vector(files[0]).entries,
        read_vector(toy_files.vector("b", method)).entries,
    )
    for each in found.tensors:
        shape = (first.get(each.name) or second[each.name]).shape
        dense = [
            e[each.name].dense() if each.name in e else torch.zeros(shape) for e in (first, second)
        ]
        assert each.largest == pytest.approx(float((dense[0] - dense[1]).abs().max()))
        assert each.differing == int((dense[0] != dense[1]).sum())


def test_what_restores_other_bits_is_not_equal(toy_files: Any, tmp_path: Path) -> None:
    """Same τ, but one of the entries that rounding would lose is another."""
    path = toy_files.vector("a", "nonlinear")
    vector = read_vector(path)
    name = next(name for name, entry in vector.entries.items() if len(entry.fix_index))
    entry = vector.entries[name]
    fixes = entry.fix_values.clone()
    fixes[0] += 1
    odd = dataclasses.replace(entry, fix_values=fixes)
    write_vector(tmp_path / "v", dataclasses.replace(vector, entries={**vector.entries, name: odd}))
    found = compare_files(path, tmp_path / "v")
    assert [(each.name, each.differing, each.largest) for each in found.differing] == [(name, 0, 0)]


def test_masks(toy_files: Any, tmp_path: Path) -> None:
    one, two = toy_files.mask("a"), toy_files.mask("b")
    assert compare_files(one, one).equal
    found = compare_files(one, two)
    masks = [read_mask(path) for path in (one, two)]
    assert {each.name for each in found.tensors} == set(masks[0].shapes)
    for each in found.tensors:
        zero = torch.zeros(masks[0].shapes[each.name], dtype=torch.bool)
        flags = [mask.live.get(each.name, zero) for mask in masks]
        assert each.differing == int((flags[0] ^ flags[1]).sum())
        assert each.largest == (1.0 if each.differing else 0.0)


def test_files_that_cannot_be_compared(toy_files: Any, tmp_path: Path) -> None:
    vector, mask, whole = toy_files.vector(), toy_files.mask(), toy_files.checkpoint()
    for one, two in ((vector, mask), (whole, vector), (mask, whole)):
        with pytest.raises(WrongKindError, match="is of kind"):
            compare_files(one, two)
    write_metrics(tmp_path / "m.json", {"command": "x"}, force=False)
    with pytest.raises(WrongKindError, match="kind metrics"):
        compare_files(tmp_path / "m.json", tmp_path / "m.json")
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[:-4])
    with pytest.raises(CorruptFileError, match="cut"):
        compare_files(whole, cut)


def test_the_first_differing_names_are_listed(toy_files: Any, tmp_path: Path) -> None:
    tensors = {name: torch.zeros(2) for name in "abcdef"}
    like = toy_files.checkpoint()
    one = checkpoint(tmp_path / "one", like, tensors)
    two = checkpoint(tmp_path / "two", like, {"a": torch.zeros(2), "z": torch.zeros(1)})
    with pytest.raises(MismatchError, match=r"one lacks 'z'"):
        compare_files(one, two)
    with pytest.raises(MismatchError, match=r"three lacks 'b', 'c', 'd' and 2 more"):
        compare_files(one, checkpoint(tmp_path / "three", like, {"a": torch.zeros(2)}))
    other = checkpoint(tmp_path / "four", like, {**tensors, "c": torch.zeros(2, 1)})
    with pytest.raises(MismatchError, match=r"'c' is torch.float32 of shape \(2,\)"):
        compare_files(one, other)
    mask = read_mask(toy_files.mask())
    fewer = dict(list(mask.shapes.items())[1:])
    live = {name: flags for name, flags in mask.live.items() if name in fewer}
    write_mask(tmp_path / "mask", dataclasses.replace(mask, shapes=fewer, live=live))
    with pytest.raises(MismatchError, match="lacks"):
        compare_files(toy_files.mask(), tmp_path / "mask")
