"""Names of models there are, found by reading a folder: nothing is imported."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

FILE, FOLDER, CHECKPOINT = "file", "folder", "checkpoint"
"""What is recorded as the tag of weights that have none."""
FOLDER_PREFIX = "local-dir:"
"""Before the name of a model that came from a folder."""
HUB_PREFIX = "hf-hub:"
"""Before the name of a repository with a model of open_clip, as that library has it."""
T5_NAMES = {name: f"google-t5/{name}" for name in ("t5-small", "t5-base", "t5-large")}
"""Short names of repositories on the Hugging Face Hub."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a repository's on the Hugging Face Hub: ``OWNER/NAME``."""
    return _HUB_ID.fullmatch(name) is not None


def architecture_names() -> tuple[str, ...]:
    """Names that open_clip ships configurations of, in alphabetical order."""
    spec = importlib.util.find_spec("open_clip")
    folders = spec.submodule_search_locations if spec is not None else None
    files = (path for folder in folders or () for path in Path(folder).glob("model_configs/*.json"))
    return tuple(sorted(path.stem for path in files))
