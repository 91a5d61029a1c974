"""Folders of results: a new one appears whole or not at all.

A writer fills ``.NAME.XXXXXXXX.tmp-talos`` beside the target, which is then renamed. Into a folder
that has files already, the new ones are moved one by one; nothing else in it is touched.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from talos_engine.artifacts.files import StrPath, atomic_write
from talos_engine.errors import OutputError


@contextmanager
def atomic_folder(path: StrPath, *, force: bool) -> Iterator[Path]:
    """Context in which an empty folder is filled that becomes ``path`` at its end.

    If the context ends by an exception, nothing is left behind.

    Args:
        path: Target folder; the folder it lies in must exist.
        force: Whether files of the same names in an existing folder are replaced.

    Raises:
        OutputError: as ``check_folder``, or the system refuses.
    """
    target = Path(path)
    check_folder(target, force=force)
    temporary = _beside(target)
    try:
        with _reported(target):
            temporary.mkdir()
        yield temporary
        with _reported(target):
            _publish(temporary, target, force=force)
    finally:
        with suppress(OSError):  # gone where it was renamed
            shutil.rmtree(temporary)


def copy_output(source: Path, target: Path) -> None:
    """Copy a file, or a folder of files, atomically over what is at ``target``.

    Raises:
        OutputError: the target cannot be written.
    """
    if not source.is_dir():
        atomic_write(target, lambda temporary: shutil.copyfile(source, temporary), force=True)
        return
    with atomic_folder(target, force=True) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def check_folder(path: StrPath, *, force: bool) -> None:
    """Check, before long work, that a folder of results can be written; leaves nothing behind.

    Raises:
        OutputError: it exists and is no empty folder, or the folder it lies in does not exist or
            cannot be written to.
    """
    target = Path(path)
    check_place(target)
    if target.is_dir() and any(target.iterdir()) and not force:
        raise OutputError(f"{target} exists already", "pass --force to overwrite the files in it")


def check_place(target: Path) -> None:
    """Raise unless a folder of this name could be made where it lies; leaves nothing behind.

    Raises:
        OutputError: something else has the name, or the folder around it does not exist or cannot
            be written to.
    """
    if not target.name or target.name == "..":
        raise OutputError(f"{str(target)!r} does not name a folder")
    if not target.parent.is_dir():
        raise OutputError(
            f"cannot write {target}: there is no folder {target.parent}", "create the folder first"
        )
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"cannot write {target}: it is not a folder")
    with _reported(target):
        probe = _beside(target)
        probe.mkdir()
        probe.rmdir()


def _publish(temporary: Path, target: Path, *, force: bool) -> None:
    if not target.exists() or not any(target.iterdir()):
        temporary.rename(target)
        return
    if not force:
        raise OutputError(f"{target} exists already", "pass --force to overwrite the files in it")
    for path in sorted(temporary.iterdir()):
        path.replace(target / path.name)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp-talos")


@contextmanager
def _reported(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
