"""Source ``saved``: a folder written by ``save_to_disk`` of the library ``datasets``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from talos_engine.data.source import SOURCE_KINDS, Source, SourceKind, Table, reading
from talos_engine.errors import DataError

_WHOLE = "dataset_dict.json"
_ONE = "state.json"


@dataclass(frozen=True)
class SavedSource(Source):
    """A saved ``DatasetDict``, or a saved ``Dataset`` that is the training split.

    Args:
        path: The folder.
        image: Column of the images.
        label: Column of the labels.
        train: The training split's name in the ``DatasetDict``.
        test: The test split's name.
        val: The validation split's name, where it has one of its own; empty: it has none.
    """

    path: Path
    image: str = "image"
    label: str = "label"
    train: str = "train"
    test: str = "test"
    val: str = ""

    def open(self, split: str) -> Table:
        """One split of the folder.

        Raises:
            DataError: it has no such split, or cannot be read.
        """
        import datasets

        wanted = self.own_split(split)
        if not (self.path / _WHOLE).is_file():
            if split != "train":
                raise DataError(
                    f"{self.path} holds one dataset, which is taken for training: "
                    f"there is no {split} split",
                    "save a DatasetDict with train and test",
                )
            folder = self.path
        else:
            folder = self.path / wanted
            if not folder.is_dir():
                found = ", ".join(
                    sorted(each.name for each in self.path.iterdir() if each.is_dir())
                )
                raise DataError(
                    f"{self.path} has no split {wanted!r} for {split}: it has {found or 'none'}"
                )
        with reading(str(folder)):
            dataset = datasets.load_from_disk(str(folder))
        return Table(dataset, str(folder), folder)

    def available(self) -> bool:
        """Whether the folder is there."""
        return _matches(self.path)

    def require(self, task: str) -> None:
        """Raise unless the folder is there."""
        if not self.available():
            raise DataError(f"task {task!r}: {self.path} is no folder written by save_to_disk")

    def describe(self) -> str:
        """The folder."""
        return f"saved dataset {self.path}"


def _matches(path: Path) -> bool:
    return (path / _WHOLE).is_file() or (path / _ONE).is_file()


SOURCE_KINDS.register("saved")(SourceKind("saved", SavedSource, _matches))
