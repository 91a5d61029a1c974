"""The safetensors container: a header of names, dtypes, shapes and offsets, then raw bytes.

Everything a file says about itself is checked here before a single tensor is touched: lengths,
offsets, overlaps, holes, sizes. Which tensors a kind of artifact must have is told elsewhere, and
writing is the affair of ``container_writer``.

Two things differ from the ``safetensors`` library, whose files are read and which reads ours.
Tensors are read into memory of their own rather than mapped: a mapped file that is truncated while
in use kills the process, and one that is overwritten changes the tensors. And the same content
gives the same bytes (the library writes metadata in random order), with one more metadata entry
``crc32``: eight hex digits for the header (taken with that entry zeroed) and eight for each tensor
in file order. Files without it are read too, but then a flipped bit cannot be noticed.
"""

from __future__ import annotations

import io
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from zlib_ng.zlib_ng import crc32  # zlib's own takes six times as long

from talos_engine.artifacts.files import CHUNK_BYTES, StrPath, open_regular
from talos_engine.artifacts.strict_json import JSON, parse_json
from talos_engine.artifacts.tensors import DTYPES
from talos_engine.errors import ArtifactError, CorruptFileError

if sys.byteorder != "little":
    raise ImportError("talos_engine.artifacts supports little-endian machines only")

MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_DIMS = 32
METADATA = "__metadata__"
CHECKSUMS = "crc32"


@dataclass(frozen=True)
class TensorSpec:
    """What is known of a stored tensor without reading it.

    Args:
        dtype: Element type, one of ``DTYPES``.
        shape: Non-negative lengths, outermost first.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the data in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """An open, validated safetensors file; a context manager.

    Not for several threads at once.

    Args:
        path: Where it is, for messages.
        file: The open file.
        metadata: Text entries of the header.
        specs: Dtype and shape of every tensor, in file order.
        start: Offset of the first tensor's data in the file.
        checksums: CRC-32 of every tensor, or None where the file has none.
    """

    def __init__(
        self,
        path: StrPath,
        file: io.FileIO,
        metadata: dict[str, str],
        specs: dict[str, TensorSpec],
        start: int,
        checksums: dict[str, int] | None,
    ) -> None:
        """Made by ``open_tensor_file``."""
        self.path = path
        self.metadata = metadata
        self.specs = specs
        self._file = file
        self._checksums = checksums
        self._offsets: dict[str, int] = {}
        for name, spec in specs.items():
            self._offsets[name] = start
            start += spec.nbytes

    def get(self, name: str) -> torch.Tensor:
        """Tensor ``name`` in fresh CPU memory.

        Raises:
            KeyError: there is none of that name.
            CorruptFileError: its bytes are damaged, or the file got shorter since it was opened.
            ArtifactError: this machine has not enough memory for it.
        """
        spec = self.specs[name]
        check_memory(spec.nbytes, f"{self.path}: tensor {name!r}")
        try:
            buffer = torch.empty(spec.nbytes, dtype=torch.uint8)
        except RuntimeError as error:
            raise ArtifactError(f"{self.path}: no memory for tensor {name!r}") from error
        self._compare(name, self._fill(buffer.numpy().data, name))
        if spec.dtype == torch.bool and bool((buffer > 1).any()):
            raise CorruptFileError(f"{self.path}: tensor {name!r} is bool but holds other bytes")
        return buffer.view(spec.dtype).reshape(spec.shape)

    def stream(self, name: str, entries: int) -> Iterator[torch.Tensor]:
        """Tensor ``name`` in flat order, some entries at a time, each in fresh CPU memory.

        Damage shows when the last of them was taken: until then nothing may rest on them.

        Args:
            name: The tensor, not of bools.
            entries: How many at a time.

        Raises:
            KeyError: there is none of that name.
            CorruptFileError: as in ``get``.
            ArtifactError: the system refuses to read.
        """
        spec = self.specs[name]
        checksum, size = 0, entries * spec.dtype.itemsize
        for begin in range(0, spec.nbytes, size):
            buffer = torch.empty(min(size, spec.nbytes - begin), dtype=torch.uint8)
            checksum = self._fill(buffer.numpy().data, name, begin, checksum)
            yield buffer.view(spec.dtype)
        self._compare(name, checksum)

    def read_all(self) -> dict[str, torch.Tensor]:
        """All tensors, by name in sorted order.

        Raises:
            CorruptFileError: as in ``get``.
            ArtifactError: as in ``get``.
        """
        check_memory(sum(spec.nbytes for spec in self.specs.values()), str(self.path))
        return {name: self.get(name) for name in sorted(self.specs)}

    def close(self) -> None:
        """Close the file; tensors already read stay valid."""
        self._file.close()

    def __enter__(self) -> TensorFile:
        """The file itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def _compare(self, name: str, checksum: int) -> None:
        if self._checksums is not None and checksum != self._checksums[name]:
            raise CorruptFileError(f"{self.path}: the bytes of tensor {name!r} are damaged")

    def _fill(self, view: memoryview, name: str, begin: int = 0, checksum: int = 0) -> int:
        """Read bytes from ``begin`` of a tensor; ``checksum`` goes on with that of those before."""
        done = 0
        try:
            self._file.seek(self._offsets[name] + begin)
            while done < len(view):
                count = self._file.readinto(view[done : done + CHUNK_BYTES])
                if not count:
                    raise CorruptFileError(f"{self.path}: the file ends within tensor {name!r}")
                checksum = crc32(view[done : done + count], checksum)
                done += count
        except OSError as error:
            raise ArtifactError(f"cannot read {self.path}: {error.strerror}") from error
        return checksum


def check_memory(nbytes: int, what: str) -> None:
    """Refuse what cannot fit into this machine's memory, before it is asked for.

    Raises:
        ArtifactError: ``nbytes`` exceed the physical memory.
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return
    if nbytes > memory > 0:
        raise ArtifactError(
            f"{what} needs {nbytes / 1e9:.1f} GB of memory, this machine has {memory / 1e9:.1f} GB"
        )


def open_tensor_file(path: StrPath) -> TensorFile:
    """Safetensors file at ``path``, its header fully validated and no tensor read yet.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is not a sound safetensors file.
    """
    file, size = open_regular(path)
    try:
        header_bytes = _read_header_bytes(path, file, size)
        header = parse_json(header_bytes, path, "the safetensors header")
        if not isinstance(header, dict):
            raise CorruptFileError(f"{path}: the safetensors header is not a JSON object")
        metadata = _parse_metadata(path, header.pop(METADATA, {}))
        specs = _parse_specs(path, header, size - 8 - len(header_bytes))
        checksums = _parse_checksums(path, header_bytes, metadata, list(specs))
        return TensorFile(path, file, metadata, specs, 8 + len(header_bytes), checksums)
    except OSError as error:
        file.close()
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except BaseException:
        file.close()
        raise


def _read_header_bytes(path: StrPath, file: io.FileIO, size: int) -> bytes:
    start = file.read(8)
    if size < 8 or len(start) < 8:
        raise CorruptFileError(f"{path}: {size} bytes are too few for a safetensors file")
    length = int.from_bytes(start, "little")
    if length > size - 8 or length > MAX_HEADER_BYTES:
        if start.startswith((b"PK\x03\x04", b"\x80\x02")):
            raise CorruptFileError(
                f"{path} is a pickle, not a safetensors file",
                "load it with torch.load(..., weights_only=True) and save it as safetensors",
            )
        raise CorruptFileError(
            f"{path} is not a safetensors file, or a damaged one: it claims a header of {length} "
            f"bytes in a file of {size} (at most {MAX_HEADER_BYTES} are accepted)"
        )
    data = file.read(length)
    if len(data) < length:
        raise CorruptFileError(f"{path}: the file ends within its header")
    return data


def _parse_metadata(path: StrPath, metadata: JSON) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CorruptFileError(f"{path}: the safetensors metadata is not a map of texts")
    return metadata


def _parse_specs(path: StrPath, header: dict[str, JSON], data_bytes: int) -> dict[str, TensorSpec]:
    found = [(*_parse_spec(path, name, info), name) for name, info in header.items()]
    found.sort(key=lambda item: item[:2])
    position = 0
    for begin, end, _, name in found:
        if begin != position:
            what = "overlaps another" if begin < position else "leaves a hole before it"
            raise CorruptFileError(f"{path}: the data of tensor {name[:80]!r} {what}")
        position = end
    if position != data_bytes:
        raise CorruptFileError(
            f"{path}: the header describes {position} bytes of data, the file has {data_bytes}"
        )
    return {name: spec for _, _, spec, name in found}


def _parse_spec(path: StrPath, name: str, info: JSON) -> tuple[int, int, TensorSpec]:
    where = f"{path}: tensor {name[:80]!r}"
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        raise CorruptFileError(f"{where} is described by other fields than it should be")
    dtype = info["dtype"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CorruptFileError(f"{where} has the unknown dtype {str(dtype)[:40]!r}")
    shape = parse_shape(info["shape"], where)
    offsets = info["data_offsets"]
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(offset) is int and offset >= 0 for offset in offsets)
    ):
        raise CorruptFileError(f"{where} has malformed offsets")
    spec = TensorSpec(DTYPES[dtype], shape)
    if offsets[1] - offsets[0] != spec.nbytes:
        raise CorruptFileError(
            f"{where} has {offsets[1] - offsets[0]} bytes, its shape needs {spec.nbytes}"
        )
    return offsets[0], offsets[1], spec


def parse_shape(shape: JSON, where: str) -> tuple[int, ...]:
    """Shape from untrusted JSON.

    Raises:
        CorruptFileError: not a short list of non-negative lengths with a countable product.
    """
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMS
        or not all(type(length) is int and length >= 0 for length in shape)
        or math.prod(max(length, 1) for length in shape) >= 2**60
    ):
        raise CorruptFileError(f"{where} has an impossible shape")
    return tuple(shape)


def _parse_checksums(
    path: StrPath, header: bytes, metadata: dict[str, str], names: list[str]
) -> dict[str, int] | None:
    text = metadata.pop(CHECKSUMS, None)
    if text is None:
        return None
    entry = f'"{CHECKSUMS}":"{text}"'.encode()
    blank = f'"{CHECKSUMS}":"{"0" * len(text)}"'.encode()
    if (
        not re.fullmatch(r"([0-9a-f]{8})+", text)
        or len(text) != 8 * (len(names) + 1)
        or header.count(entry) != 1
        or crc32(header.replace(entry, blank)) != int(text[:8], 16)
    ):
        raise CorruptFileError(f"{path}: the header is damaged")
    return {name: int(text[8 * i : 8 * i + 8], 16) for i, name in enumerate(names, start=1)}
