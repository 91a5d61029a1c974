"""Sample artifacts of every kind, small enough to damage in every place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import (
    BaseInfo,
    Checkpoint,
    Header,
    Mask,
    ResumeState,
    Scores,
    TaskVector,
    make_entry,
    read_checkpoint,
    read_mask,
    read_metrics,
    read_resume,
    read_scores,
    read_vector,
    write_checkpoint,
    write_mask,
    write_metrics,
    write_resume,
    write_scores,
    write_vector,
)


@dataclass(frozen=True)
class Sample:
    """One kind of artifact: how to write an example and how to read any."""

    write: Callable[[Path], None]
    read: Callable[[Path], Any]


def header_of(kind: str, /, **changes: Any) -> Header:
    base = BaseInfo("tiny-clip", "v1", {"width": 64, "heads": [4, 4]}, "ab" * 32)
    fields = {
        "kind": kind,
        "base": base,
        "method": "talos",
        "task": "digits",
        "config": {"sparsity": 0.5, "lr": 1e-5},
        "seed": 3,
        "data": "f" * 64,
    }
    return Header(**{**fields, **changes})


def _mask() -> Mask:
    live = {"a.weight": torch.tensor([[True, False, True], [False, False, False]])}
    return Mask(header_of("mask"), live, {"a.weight": (2, 3), "a.bias": (3,)})


def _vector() -> TaskVector:
    torch.manual_seed(0)
    base = torch.randn(40)
    few, some = base.clone(), base.clone()
    few[7] += 1.0
    some[::3] += 0.1
    entries = {
        "few": make_entry(base, few, sparse="always"),
        "some": make_entry(base, some, sparse="always"),
        "all": make_entry(base, base + 0.3 * torch.randn(40), sparse="never"),
    }
    return TaskVector(header_of("vector"), {n: e for n, e in entries.items() if e is not None})


def _tensors() -> dict[str, torch.Tensor]:
    return {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(0.5)}


SAMPLES = {
    "mask": Sample(lambda path: write_mask(path, _mask()), read_mask),
    "checkpoint": Sample(
        lambda path: write_checkpoint(path, Checkpoint(header_of("checkpoint"), _tensors())),
        read_checkpoint,
    ),
    "vector": Sample(lambda path: write_vector(path, _vector()), read_vector),
    "scores": Sample(
        lambda path: write_scores(path, Scores(header_of("scores"), _tensors())), read_scores
    ),
    "resume": Sample(
        lambda path: write_resume(
            path, ResumeState(header_of("resume"), {"step": 3, "waited": -1}, _tensors())
        ),
        read_resume,
    ),
    "metrics": Sample(
        lambda path: write_metrics(path, {"command": "evaluate", "mean": 0.75}, force=False),
        read_metrics,
    ),
}
TENSOR_KINDS = ("mask", "checkpoint", "vector", "scores", "resume")


@pytest.fixture
def make_header() -> Callable[..., Header]:
    """``make_header(kind, **changes)`` gives a valid header."""
    return header_of


@pytest.fixture(params=list(SAMPLES))
def any_kind(request: pytest.FixtureRequest) -> tuple[str, Sample]:
    """Every kind of artifact in turn, metrics too."""
    return request.param, SAMPLES[request.param]


@pytest.fixture(params=list(TENSOR_KINDS))
def tensor_kind(request: pytest.FixtureRequest) -> tuple[str, Sample]:
    """Every kind that is a safetensors file in turn."""
    return request.param, SAMPLES[request.param]


@pytest.fixture
def samples() -> dict[str, Sample]:
    """All kinds by name."""
    return SAMPLES
