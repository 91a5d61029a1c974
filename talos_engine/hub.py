"""Whether the Hugging Face Hub may be asked, and whether it answers."""

from __future__ import annotations

import os
import socket
from functools import cache
from urllib.parse import urlsplit

_PATIENCE = 3.0  # seconds to wait for the hub's port
_YES = frozenset(("1", "ON", "YES", "TRUE"))


def is_offline() -> bool:
    """Whether the user forbids asking the hub."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in _YES for name in names)


@cache
def hub_answers() -> bool:
    """Whether the hub's port answers; taken for granted behind a proxy. Asked once per process."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    place = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = place.port or (80 if place.scheme == "http" else 443)
    try:
        socket.create_connection((place.hostname or "", port), _PATIENCE).close()
    except OSError:
        return False
    return True


def hub_problem() -> str:
    """Why nothing can be had from the hub right now; empty if it can."""
    if is_offline():
        return "HF_HUB_OFFLINE is set"
    return "" if hub_answers() else "the hub cannot be reached"
