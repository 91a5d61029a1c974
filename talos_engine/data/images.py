"""Images of any size that stay encoded until they are needed, read through ``datasets``.

Only positions are kept in memory. What an image becomes for a model is the business of
``prepared.py`` and of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from talos_engine.errors import DataError

CHUNK = 128
"""Images whose encoded bytes are in memory together."""


@dataclass(frozen=True)
class EncodedImage:
    """One image as it is stored.

    Args:
        where: The file and row that it comes from, for messages.
        data: Its encoded bytes; empty where they cannot be read.
        problem: Why it cannot be read; empty where it can.
    """

    where: str
    data: bytes
    problem: str = ""


@dataclass(frozen=True)
class LazyImages:
    """A sequence of encoded images; indexing with positions gives another one.

    Args:
        table: A ``datasets.Dataset`` whose column ``column`` is ``Image(decode=False)``.
        column: Name of that column.
        rows: Rows of the table, int64, shape (n,).
        where: The file or folder that the table was read from.
        folder: Paths of images are relative to it and stay inside; ``None`` where none may occur.
        listed: Whether the paths are the names found in that folder, not text from a file: then
            links may lead elsewhere.
    """

    table: Any
    column: str
    rows: NDArray[np.int64]
    where: str
    folder: Path | None
    listed: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: NDArray[np.int64]) -> LazyImages:
        return replace(self, rows=self.rows[chosen])

    def encoded(self) -> Iterator[EncodedImage]:
        """All images in order, a few in memory at a time.

        Raises:
            DataError: a path leaves the folder, or there should be none.
        """
        for start in range(0, len(self.rows), CHUNK):
            rows = self.rows[start : start + CHUNK].tolist()
            cells = self.table[rows][self.column]
            for row, cell in zip(rows, cells, strict=True):
                yield self._read(row, cell)

    def _read(self, row: int, cell: Any) -> EncodedImage:
        where = f"{self.where}, row {row}"
        if cell is None or (cell["bytes"] is None and not cell["path"]):
            return EncodedImage(where, b"", "there is no image")
        if cell["bytes"] is not None:
            return EncodedImage(where, cell["bytes"])
        path = self._resolve(where, cell["path"])
        where = f"{path} ({where})"
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            return EncodedImage(where, b"", "it is not a file")
        try:
            return EncodedImage(where, path.read_bytes())
        except OSError as error:
            return EncodedImage(where, b"", error.strerror or str(error))

    def _resolve(self, where: str, text: str) -> Path:
        """The file that a cell names, which must lie in the folder.

        Links are followed before the check, so a link out of the folder is refused too.
        """
        if self.folder is None:
            raise DataError(f"{where}: the image is the path {text!r}, not an image")
        if self.listed:
            return self.folder / text
        folder = self.folder.resolve()
        path = folder if "\0" in text else (folder / text).resolve()
        if path == folder or not path.is_relative_to(folder):
            raise DataError(
                f"{where}: the path {text!r} leaves the folder {self.folder}",
                "images must lie beside the table or below it",
            )
        return self.folder / path.relative_to(folder)


def decode_image(encoded: EncodedImage) -> Image.Image:
    """The image in its own mode and size, turned as its EXIF data says, as ``datasets`` does it.

    Raises:
        DataError: the bytes are no whole image; the file and row are named.
    """
    import datasets

    problem = encoded.problem
    if not problem:
        try:
            image: Image.Image = datasets.Image().decode_example(
                {"bytes": encoded.data, "path": None}
            )
            return image
        except Exception as error:  # decoders raise whatever they like on hostile bytes
            problem = str(error).split("\n")[0] or type(error).__name__
            if "cannot identify image file" in problem:
                problem = "not an image of a known format"
    raise DataError(
        f"{encoded.where}: the image cannot be read: {problem}",
        "--skip-bad leaves such rows out",
    )
