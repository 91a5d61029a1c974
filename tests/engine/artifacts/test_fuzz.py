"""Damaged files of every kind: only errors of ours, and no damage goes unnoticed."""

from __future__ import annotations

import copy
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import inspect_kind, open_tensors, read_header, read_metrics
from talos_engine.errors import ArtifactError, CorruptFileError, TalosError, WrongKindError

Sample = Any  # see conftest
JUNK: list[Any] = [
    *(None, True, -1, 0, 2, 2**31, 2**63, 2**70, 0.5, -1e308, "", "x", "F64", "BOOL", "bits"),
    *([], [0], [2, 3], [-1], [2**40], [2**31, 2**31], {}, {"a": 1}, "\x1b[2J", "../x", "a" * 5000),
]


def test_every_flipped_bit_is_noticed(tmp_path: Path, tensor_kind: tuple[str, Sample]) -> None:
    path = tmp_path / "x.safetensors"
    kind, sample = tensor_kind
    sample.write(path)
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(content):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ (1 << bit)]), position)
                with pytest.raises((CorruptFileError, WrongKindError)) as caught:
                    sample.read(path)
                assert "x.safetensors" in str(caught.value), (kind, position, bit)
            os.pwrite(file.fileno(), bytes([byte]), position)
    sample.read(path)


def test_every_truncation_and_extension_is_noticed(
    tmp_path: Path, tensor_kind: tuple[str, Sample]
) -> None:
    path = tmp_path / "x.safetensors"
    _, sample = tensor_kind
    sample.write(path)
    content = path.read_bytes()
    for length in reversed(range(len(content))):
        os.truncate(path, length)
        with pytest.raises(CorruptFileError):
            sample.read(path)
    for tail in (b"\0", b" ", content):
        path.write_bytes(content + tail)
        with pytest.raises(CorruptFileError):
            sample.read(path)


def test_damaged_metrics_are_read_or_refused(tmp_path: Path, samples: dict[str, Sample]) -> None:
    path = tmp_path / "x.json"
    samples["metrics"].write(path)
    content = path.read_bytes()
    refused = 0
    for position in range(len(content)):
        for damaged in (
            content[:position],
            *(
                content[:position]
                + bytes([content[position] ^ (1 << bit)])
                + content[position + 1 :]
                for bit in range(8)
            ),
        ):
            path.write_bytes(damaged)
            try:
                assert read_metrics(path)["schema"] == 1
            except ArtifactError:
                refused += 1
    assert refused > len(content)


@pytest.mark.parametrize("seed", range(4))
def test_forged_headers_are_read_or_refused(
    tmp_path: Path, tensor_kind: tuple[str, Sample], seed: int
) -> None:
    """Headers changed field by field, without a checksum, so that every other check is on its own."""
    path = tmp_path / "x.safetensors"
    _, sample = tensor_kind
    sample.write(path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    del header["__metadata__"]["crc32"]
    header["__metadata__"]["talos"] = json.loads(header["__metadata__"]["talos"])
    rng = random.Random(seed)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(400):
        forged = copy.deepcopy(header)
        for _ in range(rng.choice((1, 1, 2))):
            _mutate(forged, rng)
        outcomes[_try(path, sample, forged, content[end:])] += 1
    assert outcomes["refused"] > outcomes["read"]
    assert _try(path, sample, header, content[end:]) == "read"


@pytest.mark.parametrize("seed", range(2))
def test_random_data_without_a_checksum_is_read_or_refused(
    tmp_path: Path, tensor_kind: tuple[str, Sample], seed: int
) -> None:
    path = tmp_path / "x.safetensors"
    _, sample = tensor_kind
    sample.write(path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    del header["__metadata__"]["crc32"]
    header["__metadata__"]["talos"] = json.loads(header["__metadata__"]["talos"])
    rng = random.Random(seed)
    for _ in range(400):
        data = bytearray(content[end:])
        for _ in range(rng.choice((1, 2, 20))):
            data[rng.randrange(len(data))] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        _try(path, sample, header, bytes(data))


def _mutate(node: Any, rng: random.Random) -> None:
    """Replace, remove, rename or add something at a random place of a JSON value."""
    while True:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if not isinstance(node[key], (dict, list)) or not node[key] or rng.random() < 0.2:
            break
        node = node[key]
    action = rng.randrange(4)
    if action == 0 and isinstance(node, dict):
        node[rng.choice(("w", "a.bits", "few.values", "shape"))] = node.pop(key)
    elif action == 1:
        del node[key]
    elif action == 2 and isinstance(node, dict):
        node[rng.choice(("stem", "x", "all", "few"))] = copy.deepcopy(rng.choice(JUNK))
    else:
        node[key] = copy.deepcopy(rng.choice(JUNK))


def _try(path: Path, sample: Sample, header: Any, data: bytes) -> str:
    """Outcome of reading a file of these parts; anything but an error of ours escapes."""
    header = copy.deepcopy(header)
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict) and not isinstance(metadata.get("talos", ""), str):
        metadata["talos"] = json.dumps(metadata["talos"])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    message = ""
    try:
        sample.read(path)
    except TalosError as error:
        message = str(error)
    assert "\x1b" not in message
    assert len(message) < 2000
    return "refused" if message else "read"


def test_each_reader_refuses_each_other_kind(
    tmp_path: Path, any_kind: tuple[str, Sample], samples: dict[str, Sample]
) -> None:
    kind, sample = any_kind
    path = tmp_path / "other"
    sample.write(path)
    assert inspect_kind(path) == kind
    header = read_header(path)
    assert (header is None) if kind == "metrics" else (header is not None and header.kind == kind)
    nouns = {
        "vector": "a task vector",
        "scores": "a scores file",
        "resume": "the state of an unfinished run",
        "metrics": "a metrics file",
    }
    noun = nouns.get(kind, f"a {kind}")
    for name, reader in samples.items():
        if name == kind:
            continue
        expected = (WrongKindError, CorruptFileError) if name == "metrics" else WrongKindError
        with pytest.raises(expected) as caught:
            reader.read(path)
        if name != "metrics":
            wanted = nouns.get(name, f"a {name}")
            assert caught.value.message == f"{path} is {noun}, {wanted} was expected"


def test_the_kind_of_other_files_is_told_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert inspect_kind(path) == "tensors"
    assert read_header(path) is None
    with open_tensors(path) as file:
        assert not file.specs
    path.write_text('{"some": "other JSON", "of": "another program"}')
    with pytest.raises(WrongKindError):
        inspect_kind(path)
    for content in (b"", b"{", b"{}", b"hello world", b"{{{{{{{{{{{"):
        path.write_bytes(content)
        with pytest.raises(ArtifactError):
            inspect_kind(path)
