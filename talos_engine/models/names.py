"""Names of architectures there are, found by reading a folder: nothing is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def architecture_names() -> tuple[str, ...]:
    """Names that open_clip ships configurations of, in alphabetical order."""
    spec = importlib.util.find_spec("open_clip")
    folders = spec.submodule_search_locations if spec is not None else None
    files = (path for folder in folders or () for path in Path(folder).glob("model_configs/*.json"))
    return tuple(sorted(path.stem for path in files))
