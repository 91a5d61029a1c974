"""Heads on disk: found by content, never by name; the same bytes with and without."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import open_tensors
from talos_engine.cache import FOLDER_VARIABLE
from talos_engine.models import open_clip_backbone
from talos_engine.models.head_cache import cached_head
from talos_engine.models.loading import build_backbone, load_weights

NAMES, TEMPLATES = ("red", "green", "blue"), ("a {}", "the {} picture")
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, which the toy's small heads are kept in too."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(open_clip_backbone, "MAKE_ANEW", 0)
    return tmp_path / "cache" / "heads"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of prompts of each head that was computed."""
    found: list[int] = []
    real = open_clip_backbone.OpenClipBackbone._encode_classes

    def count(backbone: Any, tokens: torch.Tensor) -> torch.Tensor:
        found.append(tokens.shape[0] * tokens.shape[1])
        return real(backbone, tokens)

    monkeypatch.setattr(open_clip_backbone.OpenClipBackbone, "_encode_classes", count)
    return found


def head_of(names: Any = NAMES, templates: Any = TEMPLATES, **changes: Any) -> torch.Tensor:
    weights = load_weights("toy-clip")
    tensors = {name: changes.get(name, value) for name, value in weights.tensors.items()}
    backbone = build_backbone(dataclasses.replace(weights, tensors=tensors))
    head: torch.Tensor = backbone.classifier(names, templates).head
    return head


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.numpy().tobytes()


def test_a_head_is_made_once_and_is_the_same_bytes(
    folder: Path, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = head_of()
    assert made == [6]
    assert bits(head_of()) == bits(first)
    assert made == [6], "found again by another process's worth of objects"
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(open_clip_backbone, "MAKE_ANEW", 10**18)
    assert bits(head_of()) == bits(first), "as without a cache"
    assert made == [6, 6]


def test_whatever_changes_a_head_misses(folder: Path, made: list[int]) -> None:
    tensors = load_weights("toy-clip").tensors
    embedding = tensors["token_embedding.weight"].clone()
    embedding[5, 3] += 2**-20
    changes: dict[str, Callable[[], torch.Tensor]] = {
        "template": lambda: head_of(templates=("a {}", "the {}")),
        "fewer templates": lambda: head_of(templates=("a {}",)),
        "class name": lambda: head_of(names=("red", "green", "grey")),
        "order of classes": lambda: head_of(names=("green", "red", "blue")),
        "one weight's last bits": lambda: head_of(**{"token_embedding.weight": embedding}),
    }
    seen = {bits(head_of())}
    for number, (what, change) in enumerate(changes.items()):
        seen.add(bits(change()))
        assert len(made) == number + 2, what
    assert len(list(folder.iterdir())) == 6
    assert len(seen) == 6


def test_classes_and_templates_are_not_mixed_up(folder: Path, made: list[int]) -> None:
    """Two classes in one template, and one class in two, are the same prompts."""
    assert len(head_of(names=("red", "green"), templates=("a {}",))) == 2
    assert len(head_of(names=("a",), templates=("{} red", "{} green"))) == 1
    assert made == [2, 2]


def test_the_image_encoder_does_not_matter(folder: Path, made: list[int]) -> None:
    first = head_of()
    weights = load_weights("toy-clip").tensors
    edited = {"visual.proj": weights["visual.proj"] + 1, "logit_scale": torch.tensor(1.0)}
    assert bits(head_of(**edited)) == bits(first)
    assert made == [6]


def test_small_heads_leave_no_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder.parent))
    head_of()
    assert not folder.exists()


def test_damage_is_repaired(folder: Path, made: list[int]) -> None:
    first = head_of()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-3], whole[:-1] + bytes([whole[-1] ^ 1]), b"x" * len(whole)):
        path.write_bytes(damaged)
        assert bits(head_of()) == bits(first)
        assert path.read_bytes() == whole
    assert len(made) == 5


def test_heads_that_are_none_are_made_again(folder: Path) -> None:
    for wrong in (torch.ones(2, 4), torch.full((3, 4), torch.nan), torch.ones(3, 4).double()):
        cached_head({"a": 1}, len(wrong), CPU, lambda value=wrong: value)
        (path,) = folder.iterdir()
        right = cached_head({"a": 1}, 3, CPU, lambda: torch.zeros(3, 4))
        assert torch.equal(right, torch.zeros(3, 4))
        path.unlink()


def test_threads_are_part_of_the_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They change the order of additions."""
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=threads: count)
        cached_head({"a": 1}, 1, CPU, lambda: torch.zeros(1, 4))
    assert len(list(folder.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(
    folder: Path, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = head_of()
    (folder.parent.parent / "file").write_text("no folder")
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder.parent.parent / "file"))
    assert bits(head_of()) == bits(first)
    assert made == [6, 6]


def _work(folder: Path, start: Any, results: Any) -> None:
    import os

    os.environ[FOLDER_VARIABLE] = str(folder)
    start.wait()
    for number in range(30):
        expected = torch.full((2, 64), float(number % 3))
        found = cached_head({"head": number % 3}, 2, CPU, lambda value=expected: value)
        if not torch.equal(found, expected):
            results.put(f"{number}: {found}")
            return
        for path in (folder / "heads").glob("*.safetensors"):
            if number % 7 == 0:
                path.unlink(missing_ok=True)  # "may be deleted at any time"
    results.put("")


def test_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    workers = [context.Process(target=_work, args=(tmp_path, start, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    start.set()
    assert [results.get(timeout=120) for _ in workers] == [""] * 4
    for worker in workers:
        worker.join(60)
    left = list((tmp_path / "heads").iterdir())
    assert all(path.suffix == ".safetensors" for path in left), "no half-written files"
    for path in left:
        with open_tensors(path) as tensors:
            assert tensors.read_all()["head"].shape == (2, 64)
