"""Checkpoints as their library loads them: a file, or for some models a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from talos_engine.artifacts import (
    SHARD_BYTES,
    Header,
    TensorSpec,
    check_checkpoint_folder,
    check_output,
    read_header,
    stream_checkpoint,
    stream_checkpoint_folder,
)
from talos_engine.models.loading import checkpoint_package, find_spec
from talos_engine.models.spec import BaseWeights


def stream_model(
    out: Path,
    folder: Callable[[], Path | None],
    header: Header,
    specs: Mapping[str, TensorSpec],
    tensor: Callable[[str], Tensor],
    *,
    force: bool,
    companions: Callable[[], object] | None = None,
    shard_bytes: int | None = None,
) -> None:
    """Write a model made from a base, one tensor in memory at a time.

    Args:
        out: The file or folder.
        folder: Returns where the base's configuration and tokenizer lie, which go into a folder.
        header: Of kind ``checkpoint``.
        specs: Dtype and shape of every tensor.
        tensor: Gives the tensor of a name; called once for each.
        force: Whether an existing checkpoint is replaced.
        companions: Called before the checkpoint appears: writes what has to stand beside it.
        shard_bytes: Size above which weights are divided, so that the checkpoint is a folder;
            ``None`` is the library's own way.

    Raises:
        OutputError: a tensor holds NaN or Inf, or the checkpoint cannot be written.
    """
    package = checkpoint_package(header.base, folder)
    if package is None and shard_bytes is None:
        stream_checkpoint(out, header, specs, tensor, force=force, companions=companions)
    else:
        stream_checkpoint_folder(
            out,
            header,
            specs,
            tensor,
            package or (lambda folder: None),
            force=force,
            companions=companions,
            shard_bytes=shard_bytes or SHARD_BYTES,
        )


def write_model(
    out: Path, weights: BaseWeights, header: Header, tensors: Mapping[str, Tensor], *, force: bool
) -> None:
    """Write a model made from a base whose tensors are all in memory.

    Raises:
        OutputError: a tensor holds NaN or Inf, or the checkpoint cannot be written.
    """
    specs = {
        name: TensorSpec(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()
    }
    stream_model(out, lambda: weights.folder, header, specs, tensors.__getitem__, force=force)


def checkpoint_name(
    stem: str,
    model: str | None,
    pretrained: str | None = None,
    made_from: Path | None = None,
    *,
    sharded: bool = False,
) -> str:
    """What a checkpoint is called if nothing is said: files and folders have other endings.

    Args:
        stem: Its name without an ending.
        model: What the user named, or ``None``.
        pretrained: What the user said of the weights, or ``None``.
        made_from: An artifact that records the base, where ``model`` does not name it.
        sharded: Whether it is a folder of shards in any case.
    """
    if sharded:
        return f"{stem}.ckpt"
    header = read_header(made_from) if model is None and made_from is not None else None
    if model is None and header is None:
        return f"{stem}.safetensors"
    spec = find_spec(model, pretrained, header.base if header is not None else None)
    return f"{stem}.{'safetensors' if spec.package is None else 'ckpt'}"


def check_place_of(out: Path, *, force: bool, sharded: bool = False) -> None:
    """Raise before any work if a checkpoint, be it a file or a folder, could not be written.

    Args:
        out: Where it is to go.
        force: Whether an existing checkpoint is replaced.
        sharded: Whether it is a folder of shards in any case.

    Raises:
        OutputError: it could not.
    """
    check = check_checkpoint_folder if sharded or out.is_dir() else check_output
    check(out, force=force)


def check_model_output(
    out: Path, model: str, pretrained: str | None, *, force: bool, needed_bytes: int = 0
) -> None:
    """Raise before any work if a checkpoint of this model could not be written.

    Raises:
        OutputError: it could not.
    """
    is_folder = find_spec(model, pretrained).package is not None
    check = check_checkpoint_folder if is_folder else check_output
    check(out, force=force, needed_bytes=needed_bytes)
