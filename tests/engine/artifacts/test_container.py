"""The safetensors container: round trips, same bytes, and hostile headers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from talos_engine.artifacts import TensorSpec, open_tensors, write_tensors
from talos_engine.errors import ArtifactError, CorruptFileError, OutputError, TalosError

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.complex64,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name != "__metadata__"
)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


def put(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    specs = {name: TensorSpec(t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    write_tensors(path, specs, tensors.__getitem__, metadata, force=True)


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return tensor.dtype, tuple(tensor.shape), raw


@st.composite
def tensor(draw: Callable[..., Any]) -> torch.Tensor:
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(SHAPES)
    count = torch.empty(shape, dtype=dtype).numel() * dtype.itemsize
    raw = torch.tensor(list(draw(st.binary(min_size=count, max_size=count))), dtype=torch.uint8)
    if dtype == torch.bool:
        raw %= 2
    return raw.view(dtype).reshape(shape)


@settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    tensors=st.dictionaries(NAMES, tensor(), max_size=4),
    metadata=st.dictionaries(NAMES.filter(lambda key: key != "crc32"), st.text(max_size=4)),
)
def test_any_tensors_come_back_here_and_in_the_library(
    tmp_path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    path = tmp_path / "x.safetensors"
    put(path, tensors, metadata)
    expected = {name: bits(value) for name, value in tensors.items()}
    with open_tensors(path) as file:
        assert file.metadata == metadata
        assert {name: bits(value) for name, value in file.read_all().items()} == expected
    assert {name: bits(value) for name, value in load_file(path).items()} == expected
    save_file(tensors, path, metadata or None)
    with open_tensors(path) as file:
        assert file.metadata == metadata
        assert {name: bits(file.get(name)) for name in file.specs} == expected


def test_the_library_reads_our_metadata(tmp_path: Path) -> None:
    put(tmp_path / "x", {"w": torch.ones(2)}, {"format": "pt", "talos": '{"a":"\\"é"}'})
    with safe_open(tmp_path / "x", "pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["talos"]) == ("pt", '{"a":"\\"é"}')


def test_strided_shared_and_lazy_tensors_are_written_whole(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"t": base.t(), "row": base[1], "all": base, "step": base[:, ::2]}
    put(tmp_path / "x", tensors, {})
    loaded = load_file(tmp_path / "x")
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())


def test_data_is_aligned_to_its_elements(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(3, dtype=torch.bool), "b": torch.ones(3).half(), "c": torch.ones(3)}
    put(tmp_path / "x", tensors, {})
    raw = (tmp_path / "x").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    for name, value in tensors.items():
        assert (8 + length + header[name]["data_offsets"][0]) % value.element_size() == 0


SCRIPT = """
import sys, torch
from talos_engine.artifacts import *
names = ["w", "w.values", "b", "s", "é"][:: int(sys.argv[2])]
base = BaseInfo("m", "p", dict.fromkeys(names, 1), "0" * 64)
header = Header("vector", base, "talos", "t", {name: [1e-7] for name in names}, 0, "")
torch.manual_seed(0)
start = {name: torch.randn(50) for name in sorted(names)}
entries = {name: make_entry(start[name], start[name] * 1.1) for name in names}
write_vector(sys.argv[1], TaskVector(header, entries))
write_metrics(sys.argv[1] + ".json", {"command": "x", **dict.fromkeys(names, 0.1)}, force=False)
"""


def test_equal_content_gives_equal_bytes_in_every_process(tmp_path: Path) -> None:
    runs = []
    for seed, order in (("1", "1"), ("2", "-1")):
        argv = [sys.executable, "-c", SCRIPT, str(tmp_path / seed), order]
        runs.append(subprocess.Popen(argv, env={**os.environ, "PYTHONHASHSEED": seed}))
    assert [run.wait() for run in runs] == [0, 0]
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_the_written_bytes_are_these(tmp_path: Path) -> None:
    """Golden, put together by hand; the checksums are those in ``gzip`` trailers."""
    put(tmp_path / "x", {"b": torch.tensor([1, 2], dtype=torch.uint8)}, {"k": "v"})
    header = (
        b'{"__metadata__":{"crc32":"76d17377b6cc4292","k":"v"},'
        b'"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    )
    padded = header + b" " * (-len(header) % 8)
    got = (tmp_path / "x").read_bytes()
    assert got == len(padded).to_bytes(8, "little") + padded + b"\x01\x02"


def test_a_tensor_other_than_announced_leaves_no_file(tmp_path: Path) -> None:
    specs = {"w": TensorSpec(torch.float32, (2,))}
    with pytest.raises(ValueError, match="announced"):
        write_tensors(tmp_path / "x", specs, lambda _: torch.ones(3), {}, force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "__metadata__", "\ud800"])
def test_names_that_cannot_be_stored_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError):
        put(tmp_path / "x", {name: torch.ones(1)}, {})
    assert list(tmp_path.iterdir()) == []


def test_dtypes_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="complex128"):
        put(tmp_path / "x", {"w": torch.ones(1, dtype=torch.complex128)}, {})


def raw_file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def info(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> Any:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


DATA = bytes(8)
HOSTILE = {
    "empty": b"",
    "seven bytes": bytes(7),
    "no header": bytes(8),
    "header beyond the end": raw_file({}, length=10_000),
    "endless header": raw_file({}, length=2**64 - 1),
    "header of 99 MB": raw_file({}, length=99_000_000),
    "not JSON": raw_file(b"hello world"),
    "not UTF-8": raw_file(b'{"\xff":1}'),
    "utf-16": raw_file('{"a":1}'.encode("utf-16")),
    "a list": raw_file([]),
    "a number": raw_file(b"1"),
    "nested": raw_file(b"[" * 1_000_000),
    "nested objects": raw_file(b'{"a":' * 200_000),
    "many digits": raw_file(b'{"a":' + b"9" * 100_000 + b"}"),
    "NaN": raw_file(b'{"a":NaN}'),
    "duplicate": raw_file(
        b'{"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},'
        b'"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}',
        DATA,
    ),
    "metadata list": raw_file({"__metadata__": []}),
    "metadata number": raw_file({"__metadata__": {"a": 1}}),
    "metadata null": raw_file({"__metadata__": None}),
    "tensor null": raw_file({"w": None}),
    "tensor list": raw_file({"w": []}),
    "missing field": raw_file({"w": {"dtype": "F32", "shape": [2]}}, DATA),
    "extra field": raw_file({"w": info(x=1)}, DATA),
    "dtype unknown": raw_file({"w": info("F12")}, DATA),
    "dtype number": raw_file({"w": info(32)}, DATA),
    "dtype list": raw_file({"w": info(["F32"])}, DATA),
    "shape text": raw_file({"w": info(shape="2")}, DATA),
    "shape null": raw_file({"w": info(shape=None)}, DATA),
    "shape negative": raw_file({"w": info(shape=[-2])}, DATA),
    "shape negative twice": raw_file({"w": info(shape=[-1, -2])}, DATA),
    "shape float": raw_file({"w": info(shape=[2.0])}, DATA),
    "shape bool": raw_file({"w": info(shape=[2, True])}, DATA),
    "shape overflow": raw_file({"w": info(shape=[2**32, 2**32, 2])}, DATA),
    "shape zero overflow": raw_file({"w": info(shape=[0, 2**62, 2**62], offsets=[0, 0])}),
    "too many dims": raw_file({"w": info(shape=[1] * 1000 + [2])}, DATA),
    "offsets text": raw_file({"w": info(offsets="08")}, DATA),
    "offsets three": raw_file({"w": info(offsets=[0, 8, 8])}, DATA),
    "offsets float": raw_file({"w": info(offsets=[0, 8.0])}, DATA),
    "offsets bool": raw_file({"w": info("U8", [1], [False, True])}, b"1"),
    "offsets negative": raw_file({"w": info(offsets=[-8, 0])}, DATA),
    "offsets backwards": raw_file({"w": info(offsets=[8, 0])}, DATA),
    "offsets beyond": raw_file({"w": info(offsets=[0, 8])}, bytes(4)),
    "offsets huge": raw_file({"w": info(offsets=[2**63, 2**63 + 8])}, DATA),
    "span too long": raw_file({"w": info(shape=[1])}, DATA),
    "hole at the start": raw_file({"w": info(offsets=[4, 12])}, bytes(12)),
    "hole": raw_file({"a": info(), "b": info(offsets=[12, 20])}, bytes(20)),
    "overlap": raw_file({"a": info(), "b": info(offsets=[4, 12])}, bytes(12)),
    "same place": raw_file({"a": info(), "b": info()}, DATA),
    "trailing bytes": raw_file({"w": info()}, bytes(9)),
    "zip": b"PK\x03\x04" + bytes(100),
    "pickle": b"\x80\x02}q\x00." + bytes(100),
    "checksum too short": raw_file({"__metadata__": {"crc32": "00000000"}, "w": info()}, DATA),
    "checksum of letters": raw_file({"__metadata__": {"crc32": "zz" * 8}, "w": info()}, DATA),
    "checksum empty": raw_file({"__metadata__": {"crc32": ""}}),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_hostile_file_is_refused_by_name_at_little_cost(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFileError) as caught:
            open_tensors(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in caught.value.message
    assert peak < 1_000_000 + 40 * len(HOSTILE[name])


def test_a_bool_tensor_of_other_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(raw_file({"w": info("BOOL", [2], [0, 2])}, b"\x01\x02"))
    with open_tensors(path) as file, pytest.raises(CorruptFileError, match="bool"):
        file.get("w")


def test_an_enormous_sparse_file_asks_for_no_memory(tmp_path: Path) -> None:
    path, size = tmp_path / "x", 2**43
    path.write_bytes(raw_file({"w": info("U8", [size], [0, size])}))
    try:
        os.truncate(path, path.stat().st_size + size)
    except OSError:
        pytest.skip("this file system has no files of 8 TB")
    with open_tensors(path) as file:
        with pytest.raises(ArtifactError, match="memory"):
            file.get("w")
        with pytest.raises(ArtifactError, match="memory"):
            file.read_all()


def test_a_file_cut_while_open_raises_and_spares_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    put(path, {"a": torch.full((5000,), 3.0), "b": torch.ones(5000)}, {})
    with open_tensors(path) as file:
        first = file.get("a")
        os.truncate(path, 100)
        with pytest.raises(CorruptFileError, match="ends within"):
            file.get("b")
    assert torch.equal(first, torch.full((5000,), 3.0))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_not_a_file_is_refused_without_waiting(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "x")
    with pytest.raises(ArtifactError, match=r"is not a regular file|is a folder without model"):
        open_tensors(tmp_path / "x")


@pytest.mark.parametrize("name", ["missing", "file/below", "nul\0", "n" * 300])
def test_what_cannot_be_opened_is_an_error_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TalosError):
        open_tensors(tmp_path / name)
