"""What files hold, as hashes: of a file its bytes, of a folder the names and bytes of its files.

A hash is taken once per state of a file (its size, time of modification and inode).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from talos_engine.artifacts import file_hash
from talos_engine.errors import ArtifactError


class ContentHashes:
    """Hashes of files and folders, kept for as long as these look unchanged."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def remember(self, path: Path, signature: str, digest: str) -> None:
        """Believe a hash that an earlier run took, as long as the file looks as it did then."""
        self._known[(str(path), signature)] = digest

    def digest(self, path: Path) -> str:
        """Hash of what is at ``path``.

        Raises:
            ArtifactError: there is nothing, or it cannot be read.
        """
        key = (str(path), signature(path))
        if key not in self._known:
            self._known[key] = _hash(path)
        return self._known[key]


def signature(path: Path) -> str:
    """How a file or folder looks from outside; it changes whenever something writes to it.

    Raises:
        ArtifactError: there is nothing at ``path``.
    """
    try:
        files = _files(path) if path.is_dir() else [path]
        seen = []
        for file in files:
            status = file.stat()
            seen.append(
                f"{file.relative_to(path)}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"
            )
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    if len(seen) == 1:
        return seen[0]
    return hashlib.sha256("\n".join(seen).encode("utf-8", "surrogateescape")).hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _hash(path: Path) -> str:
    if not path.is_dir():
        return file_hash(path)
    digest = hashlib.sha256()
    for file in _files(path):
        name = str(file.relative_to(path)).encode("utf-8", "surrogateescape")
        digest.update(len(name).to_bytes(8, "little") + name + bytes.fromhex(file_hash(file)))
    return digest.hexdigest()
