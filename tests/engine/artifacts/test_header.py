"""Headers: what they accept, how they travel, and when they are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from talos_engine.artifacts import (
    BaseInfo,
    Checkpoint,
    Header,
    check_base,
    hash_tensors,
    header,
    open_tensors,
    read_checkpoint,
    read_checkpoint_header,
    write_checkpoint,
)
from talos_engine.errors import CorruptFileError, MismatchError, WrongKindError

MakeHeader = Callable[..., Header]


@pytest.fixture
def stored(tmp_path: Path, make_header: MakeHeader) -> dict[str, Any]:
    """Header fields of a checkpoint as they lie in the file."""
    path = tmp_path / "sample.safetensors"
    write_checkpoint(path, Checkpoint(make_header("checkpoint"), {"w": torch.ones(2)}))
    with open_tensors(path) as file:
        fields: dict[str, Any] = json.loads(file.metadata["talos"])
    return fields


@pytest.fixture
def forged(tmp_path: Path) -> Callable[[Any], Path]:
    """Path of a checkpoint with these header fields, written by the safetensors library."""

    def forge(fields: Any) -> Path:
        path = tmp_path / "forged.safetensors"
        text = fields if isinstance(fields, str) else json.dumps(fields)
        save_file({"w": torch.ones(2)}, path, {"talos": text, "format": "pt"})
        return path

    return forge


def test_a_header_comes_back_as_it_was(tmp_path: Path, make_header: MakeHeader) -> None:
    config = {"sparsity": 0.1, "steps": (1, 2), "nested": {"β": None, "flag": True}, "lr": 1e-300}
    written = make_header("checkpoint", config=config, seed=2**63, task="", data="")
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, Checkpoint(written, {}))
    read = read_checkpoint_header(path)
    assert read == written
    assert read.config["steps"] == [1, 2]
    assert (read.seed, read.schema, read.engine) == (2**63, 1, "0.1.0")
    assert read.base.architecture == {"width": 64, "heads": [4, 4]}


def test_a_header_keeps_its_own_copy_of_the_config(make_header: MakeHeader) -> None:
    config = {"inputs": [1]}
    made = make_header("mask", config=config)
    config["inputs"].append(2)
    assert made.config == {"inputs": [1]}


def test_the_stored_fields_are_those_of_the_contract(stored: dict[str, Any]) -> None:
    expected = {"kind", "schema", "engine", "base", "method", "task", "config", "seed", "data"}
    assert set(stored) == expected
    assert set(stored["base"]) == {"name", "pretrained", "architecture", "hash"}


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "model"},
        {"method": "a" * 129},
        {"task": "../../etc/passwd"},
        {"task": "..\\x"},
        {"task": 3},
        {"method": "red\x1b[31m"},
        {"seed": 1.5},
        {"seed": True},
        {"seed": 2**64},
        {"config": [1]},
        {"config": {"x": float("nan")}},
        {"config": {"x": torch.ones(1)}},
        {"config": {1: 2}},
        {"schema": 2},
        {"base": None},
    ],
)
def test_impossible_headers_cannot_be_made(
    make_header: MakeHeader, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        make_header("mask", **changes)


@pytest.mark.parametrize("bad", ["", "ab", "AB" * 32, "zz" * 32, "ab" * 32 + "\n", 7])
def test_a_base_hash_is_64_lower_case_hex_digits(bad: Any) -> None:
    with pytest.raises(ValueError, match="hash"):
        BaseInfo("m", "", {}, bad)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", 3),
        ("kind", "model"),
        ("schema", "1"),
        ("schema", True),
        ("schema", 0),
        ("schema", -1),
        ("schema", None),
        ("engine", None),
        ("base", None),
        ("base", {}),
        ("base", {"name": "m", "pretrained": "", "architecture": [], "hash": "ab" * 32}),
        ("base", {"name": "m", "pretrained": "", "architecture": {}, "hash": "ab"}),
        ("method", ["talos"]),
        ("task", "a\nb"),
        ("config", "x"),
        ("config", None),
        ("seed", "3"),
        ("seed", 0.0),
        ("data", {}),
        ("surprise", 1),
    ],
)
def test_a_malformed_field_is_refused_by_name(
    stored: dict[str, Any], forged: Callable[[Any], Path], field: str, value: Any
) -> None:
    path = forged({**stored, field: value})
    with pytest.raises(CorruptFileError, match=field) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("field", ["kind", "schema", "engine", "base", "config", "seed", "data"])
def test_a_missing_field_is_refused_by_name(
    stored: dict[str, Any], forged: Callable[[Any], Path], field: str
) -> None:
    del stored[field]
    with pytest.raises(CorruptFileError, match=field):
        read_checkpoint(forged(stored))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"kind": "checkpoint", "kind": "checkpoint"}',
        '{"schema": NaN}',
        '{"schema": 1e999}',
        '{"schema": ' + "9" * 5000 + "}",
        "[" * 100_000,
        '{"a":' * 5_000 + "1" + "}" * 5_000,
    ],
)
def test_a_header_that_is_no_strict_json_is_refused(
    forged: Callable[[Any], Path], text: str
) -> None:
    with pytest.raises(CorruptFileError):
        read_checkpoint(forged(text))


def test_a_newer_schema_asks_for_an_upgrade(
    stored: dict[str, Any], forged: Callable[[Any], Path]
) -> None:
    path = forged({"schema": 2, "kind": stored["kind"]})
    with pytest.raises(WrongKindError, match="schema 2") as caught:
        read_checkpoint(path)
    assert "upgrade" in caught.value.hint


def test_an_older_schema_is_migrated_step_by_step(
    stored: dict[str, Any], forged: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {**stored, "schema": -1, "dataset": "old"}
    del old["data"]

    def rename(fields: dict[str, Any]) -> dict[str, Any]:
        fields["split"] = fields.pop("dataset")
        return fields

    def rename_again(fields: dict[str, Any]) -> dict[str, Any]:
        return {**{k: v for k, v in fields.items() if k != "split"}, "data": fields["split"] + "er"}

    monkeypatch.setitem(header.MIGRATIONS, -1, rename)
    monkeypatch.setitem(header.MIGRATIONS, 0, rename_again)
    read = read_checkpoint(forged(old)).header
    assert (read.data, read.schema) == ("older", 1)


def test_metadata_that_is_not_ours_is_refused(stored: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    text = json.dumps(stored)
    for metadata in ({"talos": text, "format": "tf"}, {"talos": text, "note": "hello"}):
        save_file({"w": torch.ones(2)}, path, metadata)
        with pytest.raises(CorruptFileError, match="metadata"):
            read_checkpoint(path)


def test_another_base_is_refused_with_both_hashes(make_header: MakeHeader) -> None:
    made = make_header("mask")
    check_base(made, "ab" * 32, "m.safetensors", "mask")
    with pytest.raises(MismatchError) as caught:
        check_base(made, "cd" * 32, "m.safetensors", "mask")
    for part in ("ab" * 32, "cd" * 32, "m.safetensors", "mask"):
        assert part in str(caught.value)


def test_the_hash_sees_content_and_not_layout() -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": weight, "b": torch.ones(2)}
    expected = hash_tensors(tensors)
    assert hash_tensors({"b": torch.ones(2), "a": weight}) == expected
    assert hash_tensors({"a": weight.t().contiguous().t(), "b": torch.ones(4)[::2]}) == expected
    assert hash_tensors({"a": weight, "b": torch.ones(1).expand(2)}) == expected


def test_the_hash_sees_every_difference() -> None:
    zero = torch.zeros(4)
    variants: list[dict[str, torch.Tensor]] = [
        {"a": zero},
        {"b": zero},
        {"a": -zero},
        {"a": zero.reshape(2, 2)},
        {"a": zero.int()},
        {"a": zero.double()[:2]},
        {"a": zero[:0]},
        {"a": zero[0]},
        {},
        {"a": zero[:2], "b": zero[:2]},
        {"a": zero[:0], "b": zero},
        {"a|F32|4|": zero},
    ]
    assert len({hash_tensors(variant) for variant in variants}) == len(variants)


def test_the_hash_never_changes_between_versions() -> None:
    """Golden: sha256 of b'1:a|F32|2,1|' + the bytes of 1.0 and -2.0, by ``sha256sum``."""
    tensors = {"a": torch.tensor([[1.0], [-2.0]])}
    assert (
        hash_tensors(tensors) == "78cd8dd6aa26f24f6c55f5db0d121e29c81383ee941346f46536aa0599de2441"
    )
