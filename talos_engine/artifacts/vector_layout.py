"""Where the parts of a task vector lie in its file.

A changed tensor NAME is kept as NAME (all changes, dense), or as NAME.values with either NAME.bits
(one bit per entry) or NAME.index (flat positions), whichever is smaller; NAME.fix_index and
NAME.fix_values hold what rounding would lose. The header's ``entries`` tells for each tensor its
shape, dtype, form and number of fixes, so that no key is ever guessed from its ending. Where two
keys would clash (a tensor that is itself named NAME.values), ``~`` is appended to the later
tensor's stem and the stem is written down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from talos_engine.artifacts.container import TensorFile, TensorSpec, parse_shape
from talos_engine.artifacts.strict_json import JSON
from talos_engine.artifacts.tensors import DTYPE_NAMES, DTYPES
from talos_engine.artifacts.vector import (
    BITS_OF,
    VectorEntry,
    index_dtype,
    index_is_smaller,
    value_dtype,
)
from talos_engine.errors import CorruptFileError


@dataclass(frozen=True)
class Slot:
    """Where and how one entry is stored.

    Args:
        shape: The tensor's shape.
        dtype: The tensor's dtype.
        form: ``dense``, ``bits`` or ``index``; ``plain`` in a file without our header.
        fixes: Number of fixed entries.
        stem: What the entry's keys start with, nearly always the tensor's name.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    form: str
    fixes: int
    stem: str

    @property
    def numel(self) -> int:
        """Number of entries of the tensor."""
        return math.prod(self.shape)

    def key(self, part: str) -> str:
        """Key of a part such as ``values``; the empty part is the dense change itself."""
        return f"{self.stem}.{part}" if part else self.stem

    def specs(self, count: int) -> dict[str, TensorSpec]:
        """Every key of the entry with its dtype and shape; ``count`` stored values."""
        values = value_dtype(self.dtype)
        positions = index_dtype(self.numel)
        result: dict[str, TensorSpec] = {}
        if self.form == "dense":
            result[""] = TensorSpec(values, self.shape)
        else:
            result["values"] = TensorSpec(values, (count,))
        if self.form == "bits":
            result["bits"] = TensorSpec(torch.uint8, (-(-self.numel // 8),))
        if self.form == "index":
            result["index"] = TensorSpec(positions, (count,))
        if self.fixes:
            result["fix_index"] = TensorSpec(positions, (self.fixes,))
            result["fix_values"] = TensorSpec(self.dtype, (self.fixes,))
        return {self.key(part): spec for part, spec in result.items()}

    def as_json(self, name: str) -> dict[str, JSON]:
        """What the header tells of the tensor called ``name``."""
        fields: dict[str, JSON] = {
            "shape": list(self.shape),
            "dtype": DTYPE_NAMES[self.dtype],
            "form": self.form,
            "fixes": self.fixes,
        }
        return fields if self.stem == name else {**fields, "stem": self.stem}


def parse_slots(file: TensorFile, entries: JSON) -> dict[str, Slot]:
    """Slots by tensor name, from the untrusted header of ``file``.

    Raises:
        CorruptFileError: malformed, or the file has other tensors than the header describes.
    """
    if not isinstance(entries, dict):
        raise CorruptFileError(f"{file.path}: field entries is not a JSON object")
    slots: dict[str, Slot] = {}
    expected: dict[str, TensorSpec] = {}
    for name, fields in entries.items():
        where = f"{file.path}: tensor {name[:80]!r}"
        slot = slots[name] = _parse_slot(where, name, fields)
        values = file.specs.get(slot.key("values"))
        count = values.shape[0] if values is not None and len(values.shape) == 1 else 0
        for key, spec in slot.specs(count).items():
            if key in expected or file.specs.get(key) != spec:
                raise CorruptFileError(f"{where} is not stored as the header says, see {key!r}")
            expected[key] = spec
    if unknown := sorted(set(file.specs) - set(expected)):
        raise CorruptFileError(f"{file.path}: unexpected tensor {unknown[0][:80]!r}")
    return slots


def _parse_slot(where: str, name: str, fields: JSON) -> Slot:
    needed = {"shape", "dtype", "form", "fixes"}
    if not isinstance(fields, dict) or not needed <= set(fields) <= needed | {"stem"}:
        raise CorruptFileError(f"{where} is described by other fields than it should be")
    dtype, form, fixes = fields["dtype"], fields["form"], fields["fixes"]
    stem = fields.get("stem", name)
    if (
        not isinstance(dtype, str)
        or DTYPES.get(dtype) not in BITS_OF
        or form not in ("dense", "bits", "index")
        or type(fixes) is not int
        or fixes < 0
        or not isinstance(stem, str)
    ):
        raise CorruptFileError(f"{where} has a malformed description")
    return Slot(parse_shape(fields["shape"], where), DTYPES[dtype], form, fixes, stem)


def choose_slot(name: str, entry: VectorEntry, taken: set[str]) -> Slot:
    """Slot for a tensor called ``name`` whose keys are none of ``taken``."""
    form = "dense"
    if entry.index is not None:
        form = "index" if index_is_smaller(entry.numel, len(entry.index)) else "bits"
    stem = name
    while True:
        slot = Slot(entry.shape, entry.fix_values.dtype, form, len(entry.fix_index), stem)
        if taken.isdisjoint(slot.specs(len(entry.values))):
            return slot
        stem += "~"
