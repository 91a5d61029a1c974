"""Checkpoints and scores: state dicts as the library wants them, and finite numbers only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from talos_engine.artifacts import (
    Checkpoint,
    Header,
    Scores,
    TensorFile,
    TensorSpec,
    hash_tensors,
    open_checkpoint,
    open_tensors,
    read_checkpoint,
    read_checkpoint_header,
    read_scores,
    read_scores_header,
    stream_checkpoint,
    write_checkpoint,
    write_scores,
)
from talos_engine.errors import CorruptFileError, OutputError

MakeHeader = Callable[..., Header]


def test_a_module_with_tied_weights_loads_the_file_with_the_library(
    tmp_path: Path, make_header: MakeHeader
) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 2)
    )
    model.append(model[2])
    write_checkpoint(tmp_path / "x", Checkpoint(make_header("checkpoint"), model.state_dict()))
    loaded = load_file(tmp_path / "x")
    read = read_checkpoint(tmp_path / "x")
    assert set(loaded) == set(read.tensors) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value)
        assert torch.equal(read.tensors[name], value)
        assert read.tensors[name].dtype == value.dtype
    assert read.header == make_header("checkpoint") == read_checkpoint_header(tmp_path / "x")
    model.load_state_dict(read.tensors)


def test_read_tensors_are_independent_of_each_other_and_the_file(
    tmp_path: Path, make_header: MakeHeader
) -> None:
    shared = torch.ones(3)
    write_checkpoint(
        tmp_path / "x", Checkpoint(make_header("checkpoint"), {"a": shared, "b": shared})
    )
    read = read_checkpoint(tmp_path / "x").tensors
    read["a"].zero_()
    assert torch.equal(read["b"], torch.ones(3))
    assert torch.equal(read_checkpoint(tmp_path / "x").tensors["a"], torch.ones(3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_checkpoints_are_neither_written_nor_read(
    tmp_path: Path, make_header: MakeHeader, dtype: torch.dtype, bad: float
) -> None:
    path = tmp_path / "x"
    tensor = torch.zeros(100, dtype=dtype)
    tensor[37] = bad
    tensors = {"fine": torch.ones(2), "broken.weight": tensor}
    with pytest.raises(OutputError, match=r"broken\.weight"):
        write_checkpoint(path, Checkpoint(make_header("checkpoint"), tensors))
    assert not path.exists()
    write_checkpoint(path, Checkpoint(make_header("checkpoint"), {}))
    with open_tensors(path) as file:
        save_file(tensors, path, file.metadata)
    with pytest.raises(CorruptFileError, match=r"broken\.weight"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([1.0, float("nan")]),
        torch.tensor([float("inf")]),
        torch.tensor([[0.0, -1e-30]]),
        torch.tensor([1.0]).double(),
        torch.tensor([1]),
    ],
)
def test_scores_are_finite_non_negative_float32(
    tmp_path: Path, make_header: MakeHeader, tensor: torch.Tensor
) -> None:
    path = tmp_path / "x"
    with pytest.raises(OutputError, match=r"block\.weight"):
        write_scores(path, Scores(make_header("scores"), {"block.weight": tensor}))
    write_scores(path, Scores(make_header("scores"), {}))
    with open_tensors(path) as file:
        save_file({"block.weight": tensor}, path, file.metadata)
    with pytest.raises(CorruptFileError, match=r"block\.weight"):
        read_scores(path)


def test_the_header_of_scores_is_read_alone(tmp_path: Path, make_header: MakeHeader) -> None:
    header = make_header("scores")
    write_scores(tmp_path / "x", Scores(header, {"w": torch.zeros(3)}))
    assert read_scores_header(tmp_path / "x") == header
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-1])
    with pytest.raises(CorruptFileError):
        read_scores_header(tmp_path / "x")


def test_scores_come_back(tmp_path: Path, make_header: MakeHeader) -> None:
    tensors = {"w": torch.tensor([[0.0, 1e-45], [3e38, 1.0]]), "s": torch.tensor(2.0)}
    write_scores(tmp_path / "x", Scores(make_header("scores"), tensors))
    read = read_scores(tmp_path / "x").tensors
    assert {name: t.tolist() for name, t in read.items()} == {
        name: t.tolist() for name, t in tensors.items()
    }


def test_an_open_checkpoint_reads_one_tensor_at_a_time(
    tmp_path: Path, make_header: Callable[..., Header], monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(0.5), "i": torch.tensor([1])}
    write_checkpoint(tmp_path / "c", Checkpoint(make_header("checkpoint"), tensors))
    read: list[str] = []
    get = TensorFile.get
    monkeypatch.setattr(TensorFile, "get", lambda file, name: read.append(name) or get(file, name))
    with open_checkpoint(tmp_path / "c") as file:
        assert file.header == make_header("checkpoint")
        assert set(file) == set(tensors)
        assert len(file) == 3
        assert file.specs["w"] == TensorSpec(torch.float32, (2, 3))
        assert read == []
        assert torch.equal(file["w"], tensors["w"])
        assert read == ["w"]
        with pytest.raises(KeyError):
            file["missing"]
        assert hash_tensors(file) == hash_tensors(tensors)


def test_streaming_writes_the_same_bytes_and_calls_companions_last(
    tmp_path: Path, make_header: Callable[..., Header]
) -> None:
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(0.5)}
    header = make_header("checkpoint")
    write_checkpoint(tmp_path / "whole", Checkpoint(header, tensors))
    specs = {name: TensorSpec(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    calls: list[str] = []

    def tensor(name: str) -> torch.Tensor:
        calls.append(name)
        return tensors[name]

    def companions() -> None:
        calls.append("companions")
        assert not (tmp_path / "streamed").exists()

    stream_checkpoint(tmp_path / "streamed", header, specs, tensor, companions=companions)
    assert calls == ["n", "w", "companions"]
    assert (tmp_path / "streamed").read_bytes() == (tmp_path / "whole").read_bytes()
    with pytest.raises(OutputError, match="'w' holds NaN"):
        stream_checkpoint(
            tmp_path / "bad",
            header,
            specs,
            lambda name: tensors[name] * float("nan" if name == "w" else 1),
            companions=lambda: pytest.fail("too early"),
        )
    assert not (tmp_path / "bad").exists()
