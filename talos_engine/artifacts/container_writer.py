"""Writing of safetensors files: the counterpart of ``container``, where the format is told.

Larger elements come first and names in order within a size, so that all data is aligned and the
same content gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from zlib_ng.zlib_ng import crc32

from talos_engine.artifacts.container import CHECKSUMS, MAX_HEADER_BYTES, METADATA, TensorSpec
from talos_engine.artifacts.files import CHUNK_BYTES, StrPath, atomic_write, check_output
from talos_engine.artifacts.strict_json import JSON
from talos_engine.artifacts.tensors import DTYPE_NAMES, raw_bytes
from talos_engine.errors import OutputError


def write_tensors(
    path: StrPath,
    specs: Mapping[str, TensorSpec],
    tensor: Callable[[str], torch.Tensor],
    metadata: Mapping[str, str],
    *,
    force: bool,
    companions: Callable[[], object] | None = None,
) -> None:
    """Write a safetensors file, one tensor in memory at a time; same content, same bytes.

    Args:
        path: Target file.
        specs: Dtype and shape of every tensor.
        tensor: Gives the tensor of a name; called once for each, in file order.
        metadata: Text entries for the header.
        force: Whether an existing file is replaced.
        companions: Called when all data is on its way to the disk and before the file appears:
            writes what has to stand beside it.

    Raises:
        OutputError: the file cannot be written, or a name cannot be stored.
    """
    names = sorted(specs, key=lambda name: (-specs[name].dtype.itemsize, name))
    header, at = _build_header(path, specs, names, metadata)
    total = 8 + len(header) + sum(spec.nbytes for spec in specs.values())
    check_output(path, force=force, needed_bytes=total)

    def write(temporary: Path) -> None:
        checksums = [crc32(header)]
        with temporary.open("wb") as file:
            file.write(len(header).to_bytes(8, "little"))
            file.write(header)
            for name in names:
                value = tensor(name)
                if TensorSpec(value.dtype, tuple(value.shape)) != specs[name]:
                    raise ValueError(f"tensor {name!r} is not what was announced")
                checksum = 0
                data = raw_bytes(value)
                for begin in range(0, len(data), CHUNK_BYTES):
                    piece = data[begin : begin + CHUNK_BYTES]
                    file.write(piece)
                    checksum = crc32(piece, checksum)
                checksums.append(checksum)
            file.seek(8 + at)
            file.write("".join(f"{checksum:08x}" for checksum in checksums).encode())
        if companions is not None:
            companions()

    atomic_write(path, write, force=force)


def _build_header(
    path: StrPath, specs: Mapping[str, TensorSpec], names: list[str], metadata: Mapping[str, str]
) -> tuple[bytes, int]:
    """The header with zeroed checksums, and the offset of the checksums in it."""
    blank = "0" * (8 * (len(names) + 1))
    header: dict[str, JSON] = {METADATA: dict(sorted({**metadata, CHECKSUMS: blank}.items()))}
    position = 0
    for name in names:
        spec = specs[name]
        if name == METADATA or not name:
            raise OutputError(f"cannot write {path}: a tensor cannot be named {name!r}")
        if spec.dtype not in DTYPE_NAMES:
            raise OutputError(f"cannot write {path}: tensor {name!r} is {spec.dtype}")
        header[name] = {
            "dtype": DTYPE_NAMES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [position, position + spec.nbytes],
        }
        position += spec.nbytes
    try:
        data = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise OutputError(f"cannot write {path}: a name is not valid Unicode text") from error
    data += b" " * (-len(data) % 8)
    if len(data) > MAX_HEADER_BYTES:
        raise OutputError(f"cannot write {path}: its header would have {len(data)} bytes")
    entry = f'"{CHECKSUMS}":"{blank}"'.encode()
    return data, data.index(entry) + len(f'"{CHECKSUMS}":"')
