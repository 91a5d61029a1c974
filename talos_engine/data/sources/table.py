"""Source ``table``: parquet, arrow, CSV or JSONL files with an image and a label column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talos_engine.data.records import Records, is_uneven, read_records
from talos_engine.data.settings import current_data
from talos_engine.data.source import SOURCE_KINDS, Source, SourceKind, Table, reading
from talos_engine.errors import DataError

# A class may be called None or NA: only nothing at all is a missing value.
_CSV = {"keep_default_na": False, "na_values": [""]}
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".parquet": ("parquet", {}),
    ".arrow": ("arrow", {}),
    ".csv": ("csv", _CSV),
    ".jsonl": ("json", {}),
    ".json": ("json", {}),
}
"""What ``datasets`` calls the reader of files with this suffix, and its options."""
_BY_RECORD = ("csv", "json")
SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class TableSource(Source):
    """Tables with named columns.

    Images are stored in the table or named by paths relative to its folder. A folder holds the
    files of each split, named ``train.csv`` or ``train-00000-of-00002.parquet``, in it or in its
    subfolder ``data``. One file holds the training split, or both if it has a column ``split``.

    Args:
        path: The file, or the folder of the files.
        image: Column of the images.
        label: Column of the labels.
        train: Name of the training split, or of its file in the folder.
        test: The same for the test split.
        val: The validation split's name, where it has one of its own; empty: it has none.
    """

    path: Path
    image: str = "image"
    label: str = "label"
    train: str = "train"
    test: str = "test"
    val: str = ""

    def open(self, split: str) -> Table:
        """One split.

        Raises:
            DataError: there is none, or a file cannot be read.
        """
        wanted = self.own_split(split)
        files = [self.path] if self.path.is_file() else find_files(self.path, wanted)
        if not files:
            raise DataError(
                f"{self.path} has no table for the {split} split",
                f"name it {wanted}.csv, .jsonl, .parquet or .arrow",
            )
        where = ", ".join(str(path) for path in files[:2]) + (", …" if len(files) > 2 else "")
        found = _read(files, where)
        dataset, broken = found.dataset, found.broken
        rows = self._rows_of(dataset, split, wanted) if self.path.is_file() else None
        if rows is None and broken:
            rows = [row for row in range(len(dataset)) if row not in broken]
        return Table(
            dataset,
            where,
            files[0].parent,
            rows=rows,
            broken=len(broken),
            shared=self.path.is_file() and SPLIT_COLUMN in dataset.column_names,
            typed=files[0].suffix.lower() != ".csv",
            numbers=found.numbers,
        )

    def _rows_of(self, dataset: Any, split: str, wanted: str) -> list[int] | None:
        """The rows of a split in a file that may hold several; ``None`` for all."""
        if SPLIT_COLUMN in dataset.column_names:
            names = dataset.select_columns([SPLIT_COLUMN])[:][SPLIT_COLUMN]
            rows = [row for row, name in enumerate(names) if name == wanted]
            if rows:
                return rows
            found = ", ".join(sorted({str(name) for name in names if name is not None}))
            raise DataError(f"{self.path} has no row of the split {wanted!r}: it has {found}")
        if split == "train":
            return None
        raise DataError(
            f"{self.path} is taken for training: there is no {split} split",
            f"give a folder with train{self.path.suffix} and test{self.path.suffix}, "
            f"or add a column {SPLIT_COLUMN!r} with train or test in each row",
        )

    def available(self) -> bool:
        """Whether the file or folder is there."""
        return self.path.exists()

    def require(self, task: str) -> None:
        """Raise unless the file or folder is there."""
        if not self.available():
            raise DataError(f"task {task!r}: there is no file or folder {self.path}")

    def describe(self) -> str:
        """The file or folder."""
        return f"table {self.path}"


def _read(files: Sequence[Path], where: str) -> Records:
    """The records in files of one format; broken lines are left out.

    Raises:
        DataError: it cannot be read, or a line is broken.
    """
    reader, _ = READERS[files[0].suffix.lower()]
    if reader not in _BY_RECORD:
        return Records(_read_fast(files, where))
    dataset, problem = None, None
    try:
        dataset = _read_fast(files, where)
    except DataError as error:
        problem = error
    if problem is None and not is_uneven(dataset):
        return Records(dataset)
    with reading(where):
        found = read_records(files, skip_bad=current_data().settings.skip_bad)
    if found is None and problem is not None:
        raise problem
    return found or Records(dataset)


def _read_fast(files: Sequence[Path], where: str) -> Any:
    import datasets

    reader, options = READERS[files[0].suffix.lower()]
    with reading(where):
        return datasets.load_dataset(
            reader, data_files={"train": [str(path) for path in files]}, split="train", **options
        )


def find_files(folder: Path, split: str) -> list[Path]:
    """The files of a split in a folder or its subfolder ``data``, all of one format, by name.

    Args:
        folder: Where to look.
        split: The split's name, or the name of a file.
    """
    if (folder / split).is_file() and (folder / split).suffix.lower() in READERS:
        return [folder / split]
    pattern = re.compile(rf"{re.escape(split)}([-_.].*)?", re.IGNORECASE)
    for place in (folder, folder / "data"):
        for suffix in READERS:
            found = [
                path
                for path in (sorted(place.iterdir()) if place.is_dir() else ())
                if path.suffix.lower() == suffix and pattern.fullmatch(path.stem)
            ]
            if found:
                return found
    return []


def _matches(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in READERS
    return bool(find_files(path, "train") or find_files(path, "test"))


SOURCE_KINDS.register("table")(SourceKind("table", TableSource, _matches))
