"""Folders of the library ``transformers``: a model's tensors in one safetensors file or in shards.

A folder is read as if it were one file. Where talos wrote it, every shard carries the header.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch

from talos_engine.artifacts.container import TensorFile, TensorSpec, open_tensor_file
from talos_engine.artifacts.files import StrPath, file_hash
from talos_engine.artifacts.strict_json import JSON, read_json
from talos_engine.errors import ArtifactError, CorruptFileError

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class TensorFolder(TensorFile):
    """The open weights of a model's folder; a context manager.

    Args:
        path: The folder.
        files: Its open weights files.

    Raises:
        CorruptFileError: two files have a tensor of one name, or different metadata.
    """

    def __init__(self, path: StrPath, files: list[TensorFile]) -> None:
        """Made by ``open_tensors``."""
        self.path = path
        self.metadata = files[0].metadata
        self._files: dict[str, TensorFile] = {}
        self._all = files
        specs: dict[str, TensorSpec] = {}
        for file in files:
            if file.metadata != self.metadata:
                raise CorruptFileError(f"{path}: its shards are of different models")
            for name, spec in file.specs.items():
                if name in specs:
                    raise CorruptFileError(f"{path}: two shards hold {name[:80]!r}")
                specs[name], self._files[name] = spec, file
        self.specs = specs

    def get(self, name: str) -> torch.Tensor:
        """Tensor ``name`` in fresh CPU memory; see ``TensorFile.get``."""
        return self._files[name].get(name)

    def stream(self, name: str, entries: int) -> Iterator[torch.Tensor]:
        """Tensor ``name`` some entries at a time; see ``TensorFile.stream``."""
        return self._files[name].stream(name, entries)

    def close(self) -> None:
        """Close all files; tensors already read stay valid."""
        for file in self._all:
            file.close()


def open_tensors(path: StrPath) -> TensorFile:
    """A safetensors file, or a folder with a model's; headers validated and no tensor read yet.

    Raises:
        ArtifactError: there is no such file or folder, or it cannot be opened.
        CorruptFileError: a file is not a sound safetensors file, or the shards do not fit.
    """
    if not _is_folder(path):
        return open_tensor_file(path)
    files: list[TensorFile] = []
    try:
        files.extend(open_tensor_file(shard) for shard in weights_paths(path))
        return TensorFolder(path, files)
    except BaseException:
        for file in files:
            file.close()
        raise


def weights_paths(folder: StrPath) -> list[Path]:
    """The weights files of a model's folder, in order of their names.

    Raises:
        ArtifactError: it has none.
        CorruptFileError: the index of its shards is none.
    """
    place = Path(folder)
    if (place / WHOLE).is_file():
        return [place / WHOLE]
    index = place / INDEX
    if not index.is_file():
        raise ArtifactError(
            f"{folder} is a folder without {WHOLE}", "a file, or the folder of a T5 model"
        )
    return [place / name for name in sorted(set(read_index(index).values()))]


def read_index(path: Path) -> dict[str, str]:
    """File of each tensor by its name, all in the index's own folder.

    Raises:
        CorruptFileError: the file says nothing of the kind.
    """
    found: JSON = read_json(path)
    shards = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise CorruptFileError(f"{path} does not say in which files the weights are")
    files = {name: shard for name, shard in shards.items() if isinstance(shard, str)}
    if len(files) < len(shards) or any(Path(shard).name != shard for shard in files.values()):
        raise CorruptFileError(f"{path} names a file that is not in its folder")
    return files


def is_checkpoint_folder(path: StrPath) -> bool:
    """Whether a path is a folder whose weights have a header of ours."""
    if not _is_folder(path):
        return False
    try:
        with open_tensors(path) as file:
            return "talos" in file.metadata
    except ArtifactError:
        return False


def artifact_hash(path: StrPath) -> str:
    """SHA-256 of a file's bytes, or of the weights files of a folder, as 64 hex digits.

    Raises:
        ArtifactError: a file cannot be read.
    """
    if not _is_folder(path):
        return file_hash(path)
    digest = hashlib.sha256()
    for shard in weights_paths(path):
        digest.update(f"{shard.name} {file_hash(shard)}\n".encode())
    return digest.hexdigest()


def artifact_bytes(path: Path) -> int:
    """Size of a file, or of all files of a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.iterdir() if each.is_file())


def _is_folder(path: StrPath) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # a name that no file system takes
        return False
