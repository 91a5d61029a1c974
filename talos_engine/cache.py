"""Where things are kept that can be made again: a folder that may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_VARIABLE = "TALOS_CACHE_DIR"


def cache_folder(kind: str) -> Path:
    """Where things of one kind are kept: in ``TALOS_CACHE_DIR``, or the user's cache folder."""
    own = os.environ.get(FOLDER_VARIABLE)
    general = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "talos"
    return Path(own or general).expanduser() / kind
