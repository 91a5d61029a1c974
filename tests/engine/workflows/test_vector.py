"""``vector`` over files: θ0 + τ restores the checkpoint, whatever the storage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import (
    Checkpoint,
    read_checkpoint,
    read_vector,
    restore,
    write_checkpoint,
)
from talos_engine.errors import MismatchError, OptionError, OutputError, WrongKindError
from talos_engine.models.loading import load_weights
from talos_engine.workflows.vector import VectorRequest, header_sparsity, make_vector

METHODS = ("talos", "nonlinear")


@pytest.mark.parametrize("sparse", ["auto", "always", "never"])
@pytest.mark.parametrize("method", METHODS)
def test_base_plus_vector_is_the_checkpoint_bit_for_bit(
    toy_files: Any, method: str, sparse: str
) -> None:
    theta0 = load_weights("toy-clip").tensors
    vector = read_vector(toy_files.vector("a", method, sparse))
    tuned = read_checkpoint(toy_files.checkpoint("a", method)).tensors
    for name, before in theta0.items():
        entry = vector.entries.get(name)
        after = before if entry is None else restore(before, entry)
        assert torch.equal(after.view(-1).view(torch.int32), tuned[name].view(-1).view(torch.int32))


@pytest.mark.parametrize("method", METHODS)
def test_values_are_the_differences(toy_files: Any, method: str) -> None:
    theta0 = load_weights("toy-clip").tensors
    tuned = read_checkpoint(toy_files.checkpoint("a", method)).tensors
    for sparse in ("auto", "always", "never"):
        vector = read_vector(toy_files.vector("a", method, sparse))
        for name, before in theta0.items():
            expected = tuned[name] - before
            if name in vector.entries:
                assert torch.equal(vector.entries[name].dense(), expected)
            else:
                assert not expected.any()


def test_sparse_storage_is_smaller_for_sparse_vectors(toy_files: Any) -> None:
    sizes = {
        sparse: toy_files.vector("a", "talos", sparse).stat().st_size
        for sparse in ("auto", "always", "never")
    }
    assert sizes["auto"] <= sizes["always"] < 0.6 * sizes["never"]


def test_the_report_is_right(toy_files: Any, tmp_path: Path) -> None:
    result = make_vector(VectorRequest(toy_files.checkpoint("a"), tmp_path / "v"))
    theta0 = load_weights("toy-clip").tensors
    tuned = read_checkpoint(toy_files.checkpoint("a")).tensors
    change = torch.cat([(tuned[name] - theta0[name]).flatten().double() for name in theta0])
    assert result.changed == int(change.count_nonzero())
    assert result.total == change.numel()
    assert result.norm == pytest.approx(float(change.norm()), rel=1e-6)
    assert result.file_bytes == (tmp_path / "v").stat().st_size
    assert (tmp_path / "v").read_bytes() == toy_files.vector("a").read_bytes(), "same bytes again"


def test_the_header_tells_where_it_comes_from(toy_files: Any) -> None:
    vector, dense = (read_vector(toy_files.vector("a", method)) for method in METHODS)
    assert vector.header.base == load_weights("toy-clip").info
    assert (vector.header.method, vector.header.task) == ("talos", "toy-a")
    assert header_sparsity(vector.header) == 0.75
    assert header_sparsity(dense.header) == 0.0


def test_no_change_no_entries(tmp_path: Path, toy_files: Any) -> None:
    theta0 = load_weights("toy-clip").tensors
    header = read_checkpoint(toy_files.checkpoint("a")).header
    write_checkpoint(tmp_path / "same", Checkpoint(header, dict(theta0)))
    result = make_vector(VectorRequest(tmp_path / "same", tmp_path / "v"))
    assert (result.changed, result.norm) == (0, 0.0)
    assert read_vector(tmp_path / "v").entries == {}


def test_another_base_is_refused(toy_files: Any, tmp_path: Path) -> None:
    request = VectorRequest(toy_files.checkpoint("a"), tmp_path / "v", model="toy-other")
    with pytest.raises(MismatchError, match="another base"):
        make_vector(request)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "dtype"])
def test_checkpoints_that_do_not_fit_are_refused_by_file_and_name(
    toy_files: Any, tmp_path: Path, damage: str
) -> None:
    checkpoint = read_checkpoint(toy_files.checkpoint("a"))
    tensors = dict(checkpoint.tensors)
    name = "visual.ln_pre.bias"
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        name = "visual.unknown"
        tensors[name] = torch.zeros(2)
    elif damage == "shape":
        tensors[name] = torch.zeros(8)
    else:
        tensors[name] = tensors[name].double()
    path = tmp_path / "odd.safetensors"
    write_checkpoint(path, Checkpoint(checkpoint.header, tensors))
    with pytest.raises(MismatchError) as caught:
        make_vector(VectorRequest(path, tmp_path / "v"))
    assert name in caught.value.message
    assert "odd.safetensors" in caught.value.message
    assert not (tmp_path / "v").exists()


def test_only_checkpoints_are_taken(toy_files: Any, tmp_path: Path) -> None:
    for path in (toy_files.vector("a"), toy_files.mask("a")):
        with pytest.raises(WrongKindError, match="a checkpoint was expected"):
            make_vector(VectorRequest(path, tmp_path / "v"))


def test_options_and_outputs_are_checked(toy_files: Any, tmp_path: Path) -> None:
    request = VectorRequest(toy_files.checkpoint("a"), tmp_path / "v")
    with pytest.raises(OptionError, match="auto, always, never"):
        make_vector(dataclasses.replace(request, sparse="maybe"))
    (tmp_path / "v").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        make_vector(request)
    assert (tmp_path / "v").read_text() == "precious"
