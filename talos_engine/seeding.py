"""One seed, many independent streams: every random choice is keyed by what it is for."""

from __future__ import annotations

import hashlib


def derive_seed(*keys: int | str) -> int:
    """A 63-bit seed for the stream named by ``keys``, such as ``(seed, "order", epoch)``."""
    digest = hashlib.sha256("\x1f".join(f"{type(key).__name__}:{key}" for key in keys).encode())
    return int.from_bytes(digest.digest()[:8], "little") >> 1
