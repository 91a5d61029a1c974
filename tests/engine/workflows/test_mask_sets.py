"""Masks combined over files: the right entries, an honest header, the same bytes in any order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import Mask, hash_tensors, read_mask, write_mask
from talos_engine.errors import CorruptFileError, MismatchError, OptionError, OutputError
from talos_engine.training.methods.talos import TalosConfig, train_live_entries
from talos_engine.workflows.mask_sets import MaskSetRequest, MaskSetResult, combine_masks
from talos_engine.workflows.opening import Common, Session


def combine(operation: str, *paths: Path, out: Path, force: bool = False) -> MaskSetResult:
    return combine_masks(MaskSetRequest(operation, paths, out, Common(force=force)))


def live_set(path: Path) -> set[tuple[str, int]]:
    live = read_mask(path).live
    return {(n, int(i)) for n, t in live.items() for i in torch.nonzero(t.flatten()).flatten()}


@pytest.fixture
def three(toy_files: Any) -> list[Path]:
    return [toy_files.mask(task) for task in "abc"]


def test_entries_are_those_of_sets(three: list[Path], tmp_path: Path) -> None:
    a, b, c = (live_set(path) for path in three)
    expected = {"union": a | b | c, "intersect": a & b & c, "subtract": a - b - c}
    for operation, entries in expected.items():
        out = tmp_path / operation
        result = combine(operation, *three, out=out)
        mask = read_mask(out)
        assert live_set(out) == entries
        assert result == MaskSetResult(out, len(entries), mask.total, (len(a), len(b), len(c)))
        assert mask.shapes == read_mask(three[0]).shapes
        assert 0 < len(entries) < mask.total


def test_the_header_records_operation_and_inputs(three: list[Path], tmp_path: Path) -> None:
    combine("union", *three, out=tmp_path / "m")
    mask = read_mask(tmp_path / "m")
    header = mask.header
    inputs = [read_mask(path) for path in three]
    assert (header.method, header.task, header.seed, header.data) == ("union", "", 0, "")
    assert header.base == inputs[0].header.base
    assert mask.sparsity == 1 - mask.live_count / mask.total
    assert header.config["operation"] == "union"
    assert {each["hash"] for each in header.config["inputs"]} == {
        hash_tensors(each.live) for each in inputs
    }
    assert {each["task"] for each in header.config["inputs"]} == {"toy-a", "toy-b", "toy-c"}
    assert not [text for text in map(str, three) if text in str(header.config)], "no path"


@pytest.mark.parametrize("operation", ["union", "intersect", "subtract"])
def test_the_same_masks_give_the_same_bytes(
    three: list[Path], tmp_path: Path, operation: str
) -> None:
    orders = list(itertools.permutations(three))
    if operation == "subtract":
        orders = [order for order in orders if order[0] == three[0]]
    contents = set()
    for number, order in enumerate(orders):
        copies = [tmp_path / f"{number}-{place}" for place in range(3)]
        for source, copy in zip(order, copies, strict=True):
            copy.write_bytes(source.read_bytes())
        combine(operation, *copies, out=tmp_path / f"out-{number}")
        contents.add((tmp_path / f"out-{number}").read_bytes())
    assert len(contents) == 1


def test_a_task_that_all_share_is_kept(three: list[Path], tmp_path: Path) -> None:
    combine("union", three[0], three[0], out=tmp_path / "m")
    assert read_mask(tmp_path / "m").header.task == "toy-a"
    assert live_set(tmp_path / "m") == live_set(three[0])


def test_a_combined_mask_can_train(three: list[Path], tmp_path: Path, toy_session: Session) -> None:
    combine("intersect", *three, out=tmp_path / "m")
    mask = read_mask(tmp_path / "m")
    trained = train_live_entries(TalosConfig(), toy_session.backbone.structure, mask)
    assert trained.keys() == mask.live.keys()


def changed(path: Path, out: Path, change: Callable[[Mask], Mask]) -> Path:
    write_mask(out, change(read_mask(path)))
    return out


def test_another_base_is_refused_with_both_hashes(three: list[Path], tmp_path: Path) -> None:
    def other(mask: Mask) -> Mask:
        base = dataclasses.replace(mask.header.base, name="elsewhere", hash="ab" * 32)
        return dataclasses.replace(mask, header=dataclasses.replace(mask.header, base=base))

    foreign = changed(three[1], tmp_path / "foreign", other)
    with pytest.raises(MismatchError) as caught:
        combine("union", three[0], foreign, out=tmp_path / "m")
    assert "ab" * 6 in str(caught.value)
    assert read_mask(three[0]).header.base.hash[:12] in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_other_shapes_are_refused_and_named(three: list[Path], tmp_path: Path) -> None:
    def wider(mask: Mask) -> Mask:
        return dataclasses.replace(mask, shapes={**mask.shapes, "extra": (3,)})

    odd = changed(three[1], tmp_path / "odd", wider)
    with pytest.raises(MismatchError, match=r"'extra' has shape None in one, \(3,\)"):
        combine("union", three[0], odd, out=tmp_path / "m")


def test_an_empty_result_is_refused(three: list[Path], tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="no live entry") as caught:
        combine("subtract", three[0], three[0], out=tmp_path / "m")
    assert "inspect" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_wrong_requests(three: list[Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least two"):
        combine("union", three[0], out=tmp_path / "m")
    with pytest.raises(OptionError, match="operation"):
        combine("xor", *three, out=tmp_path / "m")
    torn = tmp_path / "torn"
    torn.write_bytes(three[1].read_bytes()[:-3])
    with pytest.raises(CorruptFileError, match="torn"):
        combine("union", three[0], torn, out=tmp_path / "m")
    (tmp_path / "m").write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        combine("union", *three, out=tmp_path / "m")
    combine("union", *three, out=tmp_path / "m", force=True)
    assert read_mask(tmp_path / "m").live_count
