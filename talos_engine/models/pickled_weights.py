"""State dicts in files of ``torch.save``, read as tensors only."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talos_engine.errors import ArtifactError, CorruptFileError

_DAMAGED = re.compile("PytorchStreamReader|unexpected EOF|truncated")  # of torch and pickle


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The state dict in a ``torch.save`` file; code in it never runs.

    Raises:
        ArtifactError: it holds anything but tensors, or one that is sparse, nested or without data.
        CorruptFileError: it is damaged.
    """
    try:
        with path.open("rb") as file:  # of a path, torch would look at the ending
            found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # damaged and hostile pickles fail in every way there is
        if "TorchScript" in str(error):
            raise ArtifactError(
                f"{path} is a TorchScript archive, which holds code; talos runs none",
                "where you trust it, save torch.jit.load(FILE).state_dict() as safetensors",
            ) from error
        if _is_cut(path) or isinstance(error, EOFError) or _DAMAGED.search(str(error)):
            raise CorruptFileError(
                f"{path} is damaged: it ends too early, or is no longer the file that was saved",
                "copy or download it again",
            ) from error
        raise ArtifactError(
            f"{path} cannot be read as tensors only; code in it is never run",
            "save the model's state_dict() as safetensors",
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise ArtifactError(f"{path} holds no state dict")
    for name, value in found.items():
        if value.is_nested or value.layout is not torch.strided or value.device.type != "cpu":
            raise ArtifactError(f"{path}: {name!r} is no plain tensor", "save it dense, on the CPU")
    return dict(found)


def _is_cut(path: Path) -> bool:
    """Whether a file begins as a zip, whose list of members, at its end, is missing."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(file)
