"""Task vectors read from and written to disk, whole or entry by entry.

Where each part lies in the file is told in ``vector_layout``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch

from talos_engine.artifacts.artifact_file import open_artifact, refuse_layout, write_artifact
from talos_engine.artifacts.bitmap import bitmap_problem, split_bitmap
from talos_engine.artifacts.container import TensorFile, TensorSpec, check_memory, open_tensor_file
from talos_engine.artifacts.files import StrPath
from talos_engine.artifacts.header import BaseInfo, Header
from talos_engine.artifacts.strict_json import JSON
from talos_engine.artifacts.tensors import is_finite, pack_bits, unpack_bits
from talos_engine.artifacts.vector import (
    BITS_OF,
    RANGE_ENTRIES,
    SLICE_ENTRIES,
    TaskVector,
    VectorEntry,
    VectorPiece,
    entry_problem,
    fixes_problem,
    index_dtype,
    value_dtype,
)
from talos_engine.artifacts.vector_layout import Slot, choose_slot, parse_slots
from talos_engine.errors import CorruptFileError, OutputError, WrongKindError


class VectorFile:
    """An open task vector whose entries are read one at a time; a context manager.

    Args:
        file: The open container.
        header: The vector's header.
        slots: Where every entry is stored.
    """

    def __init__(self, file: TensorFile, header: Header, slots: dict[str, Slot]) -> None:
        """Made by ``open_vector``."""
        self.header = header
        self._file = file
        self._slots = slots

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every changed parameter, by name in sorted order; no tensor is read."""
        return {name: self._slots[name].shape for name in sorted(self._slots)}

    @functools.cached_property
    def dtypes(self) -> dict[str, torch.dtype]:
        """Dtype of every changed parameter, by name in sorted order; no tensor is read."""
        return {name: self._slots[name].dtype for name in sorted(self._slots)}

    def entry(self, name: str) -> VectorEntry:
        """Change of parameter ``name``.

        Raises:
            KeyError: it is not changed.
            CorruptFileError: its bytes are damaged or contradict each other.
            ArtifactError: this machine has not enough memory for it.
        """
        slot = self._slots[name]
        entry = self._plain(name) if slot.form == "plain" else self._stored(slot)
        if problem := entry_problem(entry):
            raise CorruptFileError(f"{self._file.path}: tensor {name!r} {problem}")
        return entry

    def pieces(self, name: str) -> Iterator[VectorPiece]:
        """Changes of parameter ``name`` in flat order, checked as by ``entry``.

        A bitmap is unpacked range by range, so that positions stay in the processor's cache.

        Raises:
            KeyError: it is not changed.
            CorruptFileError: as in ``entry``.
            ArtifactError: as in ``entry``.
        """
        slot = self._slots[name]
        if slot.form == "dense":
            starts = range(0, slot.numel, RANGE_ENTRIES)
            for start, values in zip(starts, self._streamed(name, RANGE_ENTRIES), strict=True):
                yield VectorPiece(start, start + len(values), None, values)
        elif slot.form == "bits":
            bits, values = self._bitmap(name)
            yield from split_bitmap(bits, values, slot.numel)
        else:
            yield from self.entry(name).pieces()

    def values(self, name: str) -> Iterator[torch.Tensor]:
        """The stored changes of parameter ``name`` in flat order, without their positions.

        Raises:
            KeyError: it is not changed.
            CorruptFileError: as in ``entry``.
            ArtifactError: as in ``entry``.
        """
        slot = self._slots[name]
        if slot.form == "dense":
            yield from self._streamed(name, SLICE_ENTRIES)
            return
        found = self._bitmap(name)[1] if slot.form == "bits" else self.entry(name).values
        yield from found.reshape(-1).split(SLICE_ENTRIES)

    def stored_bytes(self, name: str) -> int:
        """How much memory ``pieces`` of parameter ``name`` hold while they are taken."""
        slot, specs = self._slots[name], self._file.specs
        if slot.form == "dense":
            return min(slot.numel, RANGE_ENTRIES) * value_dtype(slot.dtype).itemsize
        parts = ("", "values", "bits", "index", "fix_index", "fix_values")
        keys = {key for part in parts if (key := slot.key(part)) in specs}
        return sum(specs[key].nbytes for key in keys)

    def check_foreign(self) -> None:
        """Read a file without our header once: nobody vouches for its content.

        Raises:
            CorruptFileError: a tensor holds NaN or Inf; it is named.
        """
        for name, slot in self._slots.items():
            if slot.form == "plain":
                self.entry(name)

    def read(self) -> TaskVector:
        """The whole vector.

        Raises:
            CorruptFileError: as in ``entry``.
            ArtifactError: as in ``entry``.
        """
        check_memory(sum(spec.nbytes for spec in self._file.specs.values()), str(self._file.path))
        return TaskVector(self.header, {name: self.entry(name) for name in sorted(self._slots)})

    def close(self) -> None:
        """Close the file; entries already read stay valid."""
        self._file.close()

    def __enter__(self) -> VectorFile:
        """The file itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def _stored(self, slot: Slot) -> VectorEntry:
        file = self._file
        fix_index, fix_values = self._fixes(slot)
        if slot.form == "dense":
            values, index = file.get(slot.key("")).reshape(-1), None
        else:
            values, index = file.get(slot.key("values")), self._positions(slot)
        return VectorEntry(slot.shape, values, index, fix_index, fix_values)

    def _bitmap(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Bits and changes of a tensor stored so, checked."""
        slot = self._slots[name]
        values, bits = self._file.get(slot.key("values")), self._file.get(slot.key("bits"))
        index, fixes = self._fixes(slot)
        if problem := bitmap_problem(bits, values, index, fixes, slot.numel):
            raise CorruptFileError(f"{self._file.path}: tensor {name!r} {problem}")
        return bits, values

    def _streamed(self, name: str, entries: int) -> Iterator[torch.Tensor]:
        """All changes of a tensor stored densely, some at a time, checked as they come."""
        slot = self._slots[name]
        where = f"{self._file.path}: tensor {name!r}"
        if problem := fixes_problem(*self._fixes(slot), slot.numel):
            raise CorruptFileError(f"{where} {problem}")
        for values in self._file.stream(slot.key(""), entries):
            if not is_finite(values):
                raise CorruptFileError(f"{where} holds NaN or Inf")
            yield values

    def _fixes(self, slot: Slot) -> tuple[torch.Tensor, torch.Tensor]:
        if not slot.fixes:
            return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=slot.dtype)
        index = self._file.get(slot.key("fix_index")).to(torch.int64)
        return index, self._file.get(slot.key("fix_values"))

    def _positions(self, slot: Slot) -> torch.Tensor:
        if slot.form == "index":
            return self._file.get(slot.key("index")).to(torch.int64)
        key = slot.key("bits")
        check_memory(slot.numel, f"{self._file.path}: tensor {key!r}")
        try:
            flags = unpack_bits(self._file.get(key), slot.numel)
        except ValueError as error:
            raise CorruptFileError(f"{self._file.path}: in tensor {key!r}, {error}") from error
        return torch.from_numpy(np.flatnonzero(flags.numpy()))  # torch's takes 1.6 times as long

    def _plain(self, name: str) -> VectorEntry:
        change = self._file.get(name)
        changed = bool(torch.count_nonzero(change))
        if changed and change.dtype not in BITS_OF:
            raise CorruptFileError(
                f"{self._file.path}: tensor {name!r} is a change in {change.dtype}; only "
                "floating-point parameters can change"
            )
        values = change.reshape(-1).to(value_dtype(change.dtype))
        none = torch.empty(0, dtype=torch.int64)
        if not changed:
            return VectorEntry(tuple(change.shape), values[:0], none, none, change.new_empty(0))
        return VectorEntry(tuple(change.shape), values, None, none, change.new_empty(0))


def open_vector(path: StrPath, *, allow_plain_base: BaseInfo | None = None) -> VectorFile:
    """Task vector at ``path``, its header and keys checked and no tensor read yet.

    Args:
        path: The file.
        allow_plain_base: The base model at hand. With it, a plain state dict of differences
            without our header is accepted and ascribed to that base, with method ``external``;
            its unchanged tensors are entries without values, so that all names can be checked.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is damaged or contradicts itself.
        WrongKindError: it is not a task vector, or has a newer schema.
    """
    if allow_plain_base is not None:
        plain = _open_plain(path, allow_plain_base)
        if plain is not None:
            return plain
    try:
        file, header, layout = open_artifact(path, "vector")
    except WrongKindError as error:
        if allow_plain_base is None and not error.hint:
            error.hint = "a plain state dict of differences is accepted where --model is given"
        raise
    try:
        refuse_layout(path, layout, {"entries"})
        return VectorFile(file, header, parse_slots(file, layout["entries"]))
    except BaseException:
        file.close()
        raise


def _open_plain(path: StrPath, base: BaseInfo) -> VectorFile | None:
    file = open_tensor_file(path)
    if "talos" in file.metadata:
        file.close()
        return None
    header = Header("vector", base, "external", "", {}, 0, "")
    slots = {
        name: Slot(spec.shape, spec.dtype, "plain", 0, name) for name, spec in file.specs.items()
    }
    return VectorFile(file, header, slots)


def read_vector(path: StrPath, *, allow_plain_base: BaseInfo | None = None) -> TaskVector:
    """Task vector stored at ``path``; arguments and errors as in ``open_vector``.

    Raises:
        ArtifactError: there is no such file, it cannot be opened or does not fit into memory.
        CorruptFileError: it is damaged or contradicts itself.
        WrongKindError: it is not a task vector, or has a newer schema.
    """
    with open_vector(path, allow_plain_base=allow_plain_base) as file:
        return file.read()


def write_vector(path: StrPath, vector: TaskVector, *, force: bool = False) -> None:
    """Write a task vector; entries without a change are left out.

    Args:
        path: Target file.
        vector: What is written.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: an entry contradicts itself or holds NaN or Inf, or the file cannot be
            written.
    """
    specs: dict[str, TensorSpec] = {}
    described: dict[str, JSON] = {}
    owners: dict[str, tuple[VectorEntry, str]] = {}
    for name in sorted(vector.entries):
        entry = vector.entries[name]
        problem = entry_problem(entry)
        if not problem and entry.index is not None and not len(entry.index) + len(entry.fix_index):
            continue
        if not problem and entry.fix_values.dtype not in BITS_OF:
            problem = f"is {entry.fix_values.dtype}, not floating-point"
        if problem:
            raise OutputError(f"cannot write {path}: tensor {name!r} {problem}")
        slot = choose_slot(name, entry, set(specs))
        described[name] = slot.as_json(name)
        for key, spec in slot.specs(len(entry.values)).items():
            specs[key] = spec
            owners[key] = (entry, key[len(slot.stem) + 1 :])

    def get(key: str) -> torch.Tensor:
        entry, part = owners[key]
        return _stored_part(entry, part)

    write_artifact(path, vector.header, "vector", specs, get, {"entries": described}, force=force)


def _stored_part(entry: VectorEntry, part: str) -> torch.Tensor:
    if part == "":
        return entry.values.reshape(entry.shape)
    if part == "values":
        return entry.values
    if part == "fix_values":
        return entry.fix_values
    if part == "fix_index":
        return entry.fix_index.to(index_dtype(entry.numel))
    assert entry.index is not None, "only sparse entries have positions"
    if part == "index":
        return entry.index.to(index_dtype(entry.numel))
    flags = torch.zeros(entry.numel, dtype=torch.bool)
    flags[entry.index] = True
    return pack_bits(flags)
