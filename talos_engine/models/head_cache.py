"""Zero-shot heads kept on disk, so that a text tower reads its prompts once.

A file's name is a hash of everything that its content depends on, to the last bit: the prompts'
tokens, the text tower's weights and configuration, the libraries, the device and the number of
threads. So a command gives the same bytes whether the head was kept or not. Files may be deleted at
any time; one that is damaged is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talos_engine.artifacts import TensorSpec, open_tensors, write_tensors
from talos_engine.artifacts.tensors import is_finite
from talos_engine.cache import cache_folder
from talos_engine.errors import ArtifactError, OutputError

MAKE_ANEW = 10**11
"""Heads of fewer multiplications are made anew each time: a second or two of one core."""
_VERSION = 1  # of what is stored; part of the names
_HEAD = "head"


def cached_head(
    made_from: Mapping[str, Any], classes: int, device: torch.device, compute: Callable[[], Tensor]
) -> Tensor:
    """A head from the disk, or computed and kept there.

    Where the cache cannot be written, or another process is writing the same head, it is only
    computed.

    Args:
        made_from: Everything that belongs to the model and the classes, JSON-able.
        classes: How many classes there are.
        device: Where it is computed, and where it is returned.
        compute: Computes it, float32 of shape (classes, features).
    """
    path = _path(made_from, device)
    kept = _read(path, classes)
    if kept is not None:
        return kept.to(device)
    head = compute()
    stored = head.detach().cpu().contiguous()
    specs = {_HEAD: TensorSpec(stored.dtype, tuple(stored.shape))}
    with suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, specs, lambda _: stored, {}, force=True)
    return head


def _path(made_from: Mapping[str, Any], device: torch.device) -> Path:
    import open_clip

    where = [device.type, torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()]
    if device.type == "cuda":
        where.append(torch.cuda.get_device_name(device))
    libraries = [torch.__version__, open_clip.__version__]
    key = json.dumps([_VERSION, dict(made_from), where, libraries], sort_keys=True)
    return cache_folder("heads") / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"


def _read(path: Path, classes: int) -> Tensor | None:
    if not path.is_file():
        return None
    try:
        with open_tensors(path) as tensors:
            head = tensors.read_all().get(_HEAD)
    except (ArtifactError, OSError):
        return None
    sound = head is not None and head.dtype == torch.float32 and head.ndim == 2
    return head if sound and head is not None and len(head) == classes and is_finite(head) else None
