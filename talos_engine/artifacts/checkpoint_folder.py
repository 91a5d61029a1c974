"""Checkpoints that are folders, as ``from_pretrained`` of ``transformers`` loads them.

A folder is filled beside its target, synced to disk and renamed. One that is replaced is moved
away before, and back by the next writer should the process be killed in between.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from talos_engine.artifacts.artifact_file import write_artifact
from talos_engine.artifacts.container import TensorSpec
from talos_engine.artifacts.files import StrPath, locked_output, output_errors, sync_path
from talos_engine.artifacts.folders import check_place
from talos_engine.artifacts.header import Header
from talos_engine.artifacts.strict_json import JSON, write_json
from talos_engine.artifacts.tensor_folder import INDEX, WHOLE, is_checkpoint_folder
from talos_engine.artifacts.tensors import is_finite
from talos_engine.errors import OutputError

SHARD_BYTES = 5_000_000_000
"""The largest weights file, as ``save_pretrained`` has it."""


def stream_checkpoint_folder(
    path: StrPath,
    header: Header,
    specs: Mapping[str, TensorSpec],
    tensor: Callable[[str], torch.Tensor],
    package: Callable[[Path], object],
    *,
    force: bool = False,
    companions: Callable[[], object] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a checkpoint folder, one tensor in memory at a time.

    Args:
        path: Target folder.
        header: Of kind ``checkpoint``; every weights file gets it.
        specs: Dtype and shape of every tensor.
        tensor: Gives the tensor of a name; called once for each.
        package: Writes the other files of the library into a folder.
        force: Whether an existing checkpoint folder is replaced.
        companions: Called before the folder appears: writes what has to stand beside it.
        shard_bytes: Size above which weights are divided, each tensor staying whole.

    Raises:
        OutputError: a tensor holds NaN or Inf, or the folder cannot be written.
    """

    def get(name: str) -> torch.Tensor:
        value = tensor(name)
        if not is_finite(value):
            raise OutputError(f"cannot write {path}: tensor {name!r} holds NaN or Inf")
        return value

    total = sum(spec.nbytes for spec in specs.values())
    check_checkpoint_folder(path, force=force, needed_bytes=total)
    with _replaced(Path(path), force=force) as folder:
        package(folder)
        shards = _divide(specs, shard_bytes)
        for name, own in shards.items():
            write_artifact(folder / name, header, "checkpoint", own, get, {}, force=False)
        if len(shards) > 1:
            index: dict[str, JSON] = {
                "metadata": {"total_size": total},
                "weight_map": {key: name for name, own in shards.items() for key in sorted(own)},
            }
            write_json(folder / INDEX, index, force=False)
        if companions is not None:
            companions()


def check_checkpoint_folder(path: StrPath, *, force: bool, needed_bytes: int = 0) -> None:
    """Check, before long work, that a checkpoint folder can be written; leaves nothing behind.

    Raises:
        OutputError: it exists and may not be replaced, the folder it lies in does not exist or
            cannot be written to, or there is less than ``needed_bytes`` free.
    """
    target = Path(path)
    check_place(target)
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise OutputError(f"{target} exists already", "pass --force to replace it")
        if not is_checkpoint_folder(target):
            raise OutputError(
                f"{target} is a folder that holds no checkpoint of talos",
                "choose another name, or remove it yourself",
            )
    free = shutil.disk_usage(target.parent).free
    if free < needed_bytes:
        raise OutputError(
            f"cannot write {target}: it needs {needed_bytes / 1e6:.1f} MB and its disk has "
            f"{free / 1e6:.1f} MB free",
            "free some space or choose another folder",
        )


def _divide(specs: Mapping[str, TensorSpec], limit: int) -> dict[str, dict[str, TensorSpec]]:
    """Tensors by the weights file that they go into, in order of their names."""
    shards: list[dict[str, TensorSpec]] = [{}]
    size = 0
    for name in sorted(specs):
        if shards[-1] and size + specs[name].nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = specs[name]
        size += specs[name].nbytes
    if len(shards) == 1:
        return {WHOLE: shards[0]}
    count = len(shards)
    return {f"model-{i:05d}-of-{count:05d}.safetensors": own for i, own in enumerate(shards, 1)}


@contextmanager
def _replaced(target: Path, *, force: bool) -> Iterator[Path]:
    """A folder to fill that takes the place of ``target`` at the end, whole or not at all."""
    with output_errors(target), locked_output(target):
        _clean(target)
        temporary = _beside(target, "tmp")
        try:
            temporary.mkdir()
            yield temporary
            for each in (*temporary.iterdir(), temporary):
                sync_path(each)
            _publish(temporary, target, force=force)
        finally:
            with suppress(OSError):  # gone where it was renamed
                shutil.rmtree(temporary)
        with suppress(OSError):  # some file systems cannot sync a folder
            sync_path(target.parent)


def _publish(temporary: Path, target: Path, *, force: bool) -> None:
    if not target.exists() or not any(target.iterdir()):
        temporary.rename(target)  # takes the place of an empty folder
        return
    if not force:
        raise OutputError(f"{target} exists already", "pass --force to replace it")
    old = _beside(target, "old")
    target.rename(old)
    temporary.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _clean(target: Path) -> None:
    """Put back what a killed writer had moved away, and remove what it left half written."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{8}\.(tmp|old)-talos")
    found = {path: pattern.fullmatch(path.name) for path in target.parent.iterdir()}
    for path, match in found.items():
        if match is None or not path.is_dir():
            continue
        if match.group(1) == "old" and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _beside(target: Path, purpose: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{purpose}-talos")
