"""States of unfinished runs: they come back, replace each other, and counts are checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import Header, ResumeState, read_resume, write_resume
from talos_engine.artifacts.artifact_file import write_artifact
from talos_engine.errors import CorruptFileError, OutputError

MakeHeader = Callable[..., Header]


def test_a_state_comes_back_and_replaces_an_older_one(
    tmp_path: Path, make_header: MakeHeader
) -> None:
    tensors = {
        "values": torch.randn(5),
        "rng.cpu": torch.get_rng_state(),
        "adam_step": torch.tensor(3.0),
    }
    for step in (3, 4):
        state = ResumeState(make_header("resume"), {"step": step}, tensors)
        write_resume(tmp_path / "x", state)
    read = read_resume(tmp_path / "x")
    assert read.counts == {"step": 4}
    assert read.header == make_header("resume")
    assert read.tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        assert value.dtype == read.tensors[name].dtype
        assert torch.equal(value, read.tensors[name])


def test_a_state_that_broke_down_is_not_written(tmp_path: Path, make_header: MakeHeader) -> None:
    good = ResumeState(make_header("resume"), {"step": 1}, {"values": torch.ones(2)})
    write_resume(tmp_path / "x", good)
    bad = ResumeState(make_header("resume"), {"step": 2}, {"values": torch.tensor([float("inf")])})
    with pytest.raises(OutputError, match="'values' holds NaN or Inf"):
        write_resume(tmp_path / "x", bad)
    assert read_resume(tmp_path / "x").counts == {"step": 1}, "the last good one stays"


@pytest.mark.parametrize(
    "counts", [{}, [], 3, {"step": 1.5}, {"step": -2}, {"step": True}, {"waited": 1}], ids=str
)
def test_counts_are_checked(tmp_path: Path, make_header: MakeHeader, counts: Any) -> None:
    write_artifact(
        tmp_path / "x", make_header("resume"), "resume", {}, lambda name: torch.zeros(0),
        {"counts": counts}, force=False,
    )  # fmt: skip
    with pytest.raises(CorruptFileError, match="count"):
        read_resume(tmp_path / "x")
