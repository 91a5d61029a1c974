"""Files that are either the old one or the new one, whole, and never something in between.

Here live atomic writing with its lock, the checks worth making before hours of work, and the safe
opening and hashing of files. What the bytes mean is told by the other modules of this room.

A writer fills ``.NAME.XXXXXXXX.tmp-talos`` beside the target, syncs it to disk and renames it. It
holds a ``flock`` on ``.NAME.lock-talos`` meanwhile, so a second writer of the same target is
refused; the kernel drops the lock with the process, so a killed run never blocks a later one, and
whatever temporaries the holder of the lock finds are strays that it removes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from talos_engine.errors import ArtifactError, CorruptFileError, OutputError

StrPath: TypeAlias = "str | os.PathLike[str]"

CHUNK_BYTES = 4 * 1024 * 1024
_MAX_NAME = 150  # bytes of the target's name that go into the names of its companions
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
_NO_LINKS = _NO_LOCKS | {errno.EPERM, errno.EMLINK, errno.EXDEV}
_HINTS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up: free some space or choose another folder",
    errno.EFBIG: "the file system or a limit does not allow files this large",
    errno.EACCES: "choose a folder that you can write to",
    errno.EPERM: "choose a folder that you can write to",
    errno.EROFS: "choose a folder that you can write to",
    errno.ENOENT: "create the folder first",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def atomic_write(path: StrPath, writer: Callable[[Path], object], *, force: bool) -> None:
    """Write a file so that it appears whole or not at all.

    Args:
        path: Target file; its folder must exist. A symbolic link is replaced, not followed.
        writer: Fills the empty temporary file whose path it is given.
        force: Whether an existing file is replaced. Without it, a file that appears while
            ``writer`` works is kept too.

    Raises:
        OutputError: the target exists, its folder does not, another run is writing it, or the
            system refuses (no space, no permission). Nothing is left behind then.
    """
    target = Path(path)
    with output_errors(target):
        _check_target(target, force=force)
        with locked_output(target) as locked:
            if locked:
                _remove_strays(target)
            with _temporary(target) as temporary:
                writer(temporary)
                sync_path(temporary)
                _publish(temporary, target, force=force)
        with suppress(OSError):  # some file systems cannot sync a folder
            sync_path(target.parent)


@contextmanager
def reserve_output(path: StrPath) -> Iterator[None]:
    """Keep other runs from making the same file for as long as this one works on it.

    Only runs that reserve it too are kept off; ``atomic_write`` has a lock of its own.

    Args:
        path: Target file; its folder must exist.

    Raises:
        OutputError: another run has reserved it, or its folder cannot be written to.
    """
    target = Path(path)
    with ExitStack() as stack:
        with output_errors(target):
            stack.enter_context(locked_output(target, "run."))
        yield


def discard_output(path: StrPath) -> None:
    """Remove a file, if it is there, and what killed writers of it have left beside it.

    Raises:
        OutputError: another run is writing it, or the system refuses.
    """
    target = Path(path)
    with output_errors(target), locked_output(target) as locked:
        if locked:
            _remove_strays(target)
        with suppress(FileNotFoundError):
            target.unlink()


def check_output(path: StrPath, *, force: bool, needed_bytes: int = 0) -> None:
    """Check, before long work, that a file can be written; leaves nothing behind.

    Args:
        path: Target file.
        force: Whether an existing file may be replaced.
        needed_bytes: Expected size; that much must be free on the target's disk.

    Raises:
        OutputError: as ``atomic_write`` would, or there is less than ``needed_bytes`` free.
    """
    target = Path(path)
    with output_errors(target):
        _check_target(target, force=force)
        with locked_output(target), _temporary(target):
            pass  # a file could be made, so the folder can be written to
        free = shutil.disk_usage(target.parent).free
    if free < needed_bytes:
        raise OutputError(
            f"cannot write {target}: it needs {needed_bytes / 1e6:.1f} MB and its disk has "
            f"{free / 1e6:.1f} MB free",
            _HINTS[errno.ENOSPC],
        )


def open_regular(path: StrPath) -> tuple[io.FileIO, int]:
    """Regular file opened for reading, with its size; pipes and devices are refused, not awaited.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ArtifactError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ArtifactError(f"cannot read {path}: {reason}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise CorruptFileError(f"{path} is {what}")
    return io.FileIO(descriptor, "rb"), status.st_size


def file_hash(path: StrPath) -> str:
    """SHA-256 of a file's bytes as 64 hex digits, read in small pieces.

    Raises:
        ArtifactError: the file cannot be read.
    """
    digest = hashlib.sha256()
    file, _ = open_regular(path)
    with file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn what the system refuses inside into one message about ``target``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {target}: {reason}", _HINTS.get(error.errno or 0, "")
        ) from error


def _check_target(target: Path, *, force: bool) -> None:
    if not target.name or target.name == ".." or "\0" in str(target):
        raise OutputError(f"{str(target)!r} does not name a file")
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        if target.parent.is_dir():
            return
        raise OutputError(
            f"cannot write {target}: there is no folder {target.parent}", "create the folder first"
        ) from None
    if stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {target}: it is a folder")
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise OutputError(f"cannot write {target}: it is not a regular file")
    if not force:
        raise _exists(target)


def _exists(target: Path) -> OutputError:
    return OutputError(f"{target} exists already", "pass --force to overwrite it")


def _prefix(target: Path) -> str:
    name = os.fsencode(target.name)
    if len(name) > _MAX_NAME:
        return f".{hashlib.sha256(name).hexdigest()[:32]}."
    return f".{target.name}."


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """New empty file beside ``target``; removed at the end if it is still there."""
    path = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.tmp-talos")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        yield path
    finally:
        with suppress(OSError):  # gone where it was renamed
            path.unlink()


def _remove_strays(target: Path) -> None:
    stray = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{8}\.tmp-talos")
    for path in target.parent.iterdir():
        if stray.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


@contextmanager
def locked_output(target: Path, purpose: str = "") -> Iterator[bool]:
    """Exclusive right to write ``target``; yields False where the file system has no locks."""
    lock = target.with_name(f"{_prefix(target)}{purpose}lock-talos")
    descriptor = _take_lock(lock, target)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _take_lock(lock: Path, target: Path) -> int | None:
    while True:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise OutputError(
                f"another run is writing {target} right now", "wait for it or choose another name"
            ) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                return None
            raise
        # The last holder removes the lock file: a lock on a removed one protects nothing.
        try:
            current = lock.lstat()
        except FileNotFoundError:
            current = None
        if current is not None and os.path.samestat(current, os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)


def sync_path(path: Path) -> None:
    """Have a file's or folder's content on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(temporary: Path, target: Path, *, force: bool) -> None:
    if force:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # unlike a rename, refuses an existing target
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise _exists(target) from None
        temporary.replace(target)
