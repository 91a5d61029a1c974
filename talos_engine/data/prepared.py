"""Images as a model takes them, kept on disk as bytes: decoded and resized once per model size.

A prepared image is what is left before it is divided and normalized: uint8 pixels of the model's
size. That is what the pixels are at that point anyway, so nothing is lost, and a split takes a
quarter of the room of float32. Files are mapped into memory: a split larger than the memory can be
trained on. Their names are hashes of the encoded images and of the preprocessing; they may be
deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from talos_engine.cache import FOLDER_VARIABLE, cache_folder
from talos_engine.data.images import EncodedImage, LazyImages, decode_image
from talos_engine.data.settings import current_data
from talos_engine.data.splits import Split
from talos_engine.errors import DataError, OutputError

IN_MEMORY_BYTES = 64 * 2**20
"""Splits up to this size are prepared anew each time: about 400 images of 224 pixels, 2 seconds."""
_VERSION = 1  # of what is stored; part of the names
_STRAY_AGE = 24 * 3600.0  # seconds after which a half-written file has no writer any more
_SKIP_HINT = "--skip-bad leaves such rows out"

_Result = NDArray[np.uint8] | str


class Preprocessing(Protocol):
    """How an image becomes what a model takes; the rooms of models have one.

    ``config`` is everything that changes the result, ``shape`` its channels, height and width;
    ``apply`` is called from several threads.
    """

    @property
    def config(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def apply(self) -> Callable[[Image.Image], NDArray[np.uint8]]: ...  # noqa: D102


def prepare_images(split: Split, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Prepared images and labels of a split whose images are still encoded.

    Images that cannot be decoded are refused, or left out and counted with ``skip_bad``.

    Args:
        split: The split.
        preprocessing: What to do with each image.

    Returns:
        uint8 of shape (n, channels, height, width), mapped from a file where it is large, and
        int64 labels of shape (n,), both on the CPU.

    Raises:
        DataError: an image cannot be decoded; names the file and row.
        OutputError: the file for a large split cannot be written.
    """
    assert isinstance(split.images, LazyImages)
    if len(split) * math.prod(preprocessing.shape) <= IN_MEMORY_BYTES:
        pieces, bad = [], {}
        for row, result in enumerate(_results(split, preprocessing)):
            if isinstance(result, str):
                bad[row] = result
            else:
                pieces.append(result)
        pixels = torch.from_numpy(np.stack(pieces)) if pieces else torch.empty(0)
    else:
        path, bad = _cached(split, preprocessing)
        good = len(split) - len(bad)
        flat = torch.from_file(
            str(path), shared=False, size=good * math.prod(preprocessing.shape), dtype=torch.uint8
        )
        pixels = flat.view(good, *preprocessing.shape)
    if len(bad) == len(split):
        raise DataError(bad[0], "no image of this split can be read")
    run = current_data()
    run.report_skipped(split.task, split.name, "images", len(bad))
    kept = np.setdiff1d(np.arange(len(split)), np.fromiter(bad, np.int64, len(bad)))
    return pixels, torch.from_numpy(split.labels[kept])


def _cached(split: Split, preprocessing: Preprocessing) -> tuple[Path, dict[int, str]]:
    """The file of a split's prepared images, made if need be, and the rows it leaves out."""
    key = json.dumps([_VERSION, dict(preprocessing.config), preprocessing.shape], sort_keys=True)
    name = hashlib.sha256(f"{split.fingerprint} {key}".encode()).hexdigest()
    path = cache_folder("images") / f"{name}.u8"
    bad = _read_bad(path, len(split), math.prod(preprocessing.shape))
    if bad is None:
        bad = _write(path, split, preprocessing)
    elif bad and not current_data().settings.skip_bad:
        raise DataError(next(iter(bad.values())), _SKIP_HINT)
    return path, bad


def _read_bad(path: Path, count: int, size: int) -> dict[int, str] | None:
    """The rows that a finished file leaves out; ``None`` where there is no finished file."""
    try:
        bad = {int(row): str(why) for row, why in json.loads(_side(path).read_text()).items()}
        whole = path.stat().st_size == (count - len(bad)) * size
    except (OSError, ValueError, AttributeError):
        return None
    return bad if whole and all(0 <= row < count for row in bad) else None


def _write(path: Path, split: Split, preprocessing: Preprocessing) -> dict[int, str]:
    needed = len(split) * math.prod(preprocessing.shape)
    temporary = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_strays(path.parent)
        if shutil.disk_usage(path.parent).free < needed:
            raise OSError("not enough space left on the device")
        with temporary.open("xb") as file:
            bad = _fill(file, split, preprocessing)
        _side(temporary).write_text(json.dumps(bad))
        temporary.replace(path)
        _side(temporary).replace(_side(path))  # last: its being there says that all is
    except OSError as error:
        raise OutputError(
            f"prepared images ({needed / 1e6:,.0f} MB) cannot be kept in {path.parent}: "
            f"{error.strerror or error}",
            f"name another folder with {FOLDER_VARIABLE}",
        ) from error
    finally:
        for left in (temporary, _side(temporary)):
            with suppress(OSError):
                left.unlink()
    return bad


def _remove_strays(folder: Path) -> None:
    """Delete what runs that were killed long ago left half written."""
    for stray in folder.glob("*.tmp*"):
        with suppress(OSError):
            if time.time() - stray.stat().st_mtime > _STRAY_AGE:
                stray.unlink()


def _side(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _fill(file: IO[bytes], split: Split, preprocessing: Preprocessing) -> dict[int, str]:
    bad = {}
    for row, result in enumerate(_results(split, preprocessing)):
        if isinstance(result, str):
            bad[row] = result
        else:
            file.write(result.tobytes())
    return bad


def _results(split: Split, preprocessing: Preprocessing) -> Iterator[_Result]:
    """Each image prepared, in order, or why it cannot be; decoded by as many threads as torch has.

    Raises:
        DataError: an image cannot be decoded and bad rows are not to be skipped.
    """
    assert isinstance(split.images, LazyImages)
    run = current_data()
    skip, total = run.settings.skip_bad, len(split)
    workers = torch.get_num_threads()

    def prepare(encoded: EncodedImage) -> _Result:
        try:
            image = decode_image(encoded)
            try:
                return preprocessing.apply(image)
            except Exception as error:  # a mode or size that the transformation does not take
                told = f"{encoded.where}: the image ({image.mode}, {image.size}) cannot be prepared"
                raise DataError(f"{told}: {error}", _SKIP_HINT) from error
        except DataError as error:
            if skip:
                return error.message
            raise

    waiting: deque[Future[_Result]] = deque()
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            for encoded in split.images.encoded():
                waiting.append(pool.submit(prepare, encoded))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
                    done += 1
                    run.progress(f"decoding {split.task} {split.name}", done, total)
            while waiting:
                yield waiting.popleft().result()
                done += 1
                run.progress(f"decoding {split.task} {split.name}", done, total)
        finally:
            pool.shutdown(cancel_futures=True)
