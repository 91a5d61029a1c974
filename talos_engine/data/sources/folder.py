"""Source ``folder``: an image folder, ``PATH/train/CLASS/*.png`` and ``PATH/test/CLASS/*.png``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from talos_engine.data.source import SOURCE_KINDS, Source, SourceKind, Table, reading
from talos_engine.errors import DataError

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_SPLITS = ("train", "test")


@dataclass(frozen=True)
class FolderSource(Source):
    """An image folder; the names of the class folders are the classes.

    Args:
        path: The folder that holds the splits.
        train: Name of the folder of training images.
        test: Name of the folder of test images.
    """

    path: Path
    train: str = "train"
    test: str = "test"
    image = "image"
    label = "label"
    val = ""
    has_texts = False

    def open(self, split: str) -> Table:
        """The images of one split, by class and then by name.

        Raises:
            DataError: the split is missing, or a class has no image.
        """
        import datasets

        folder = self._split_folder(split)
        classes = _subfolders(folder)
        if not classes:
            raise DataError(f"{folder} has no class folders", "images belong into train/CLASS/")
        files: list[str] = []
        labels: list[int] = []
        for number, name in enumerate(classes):
            found = sorted(
                str(path.relative_to(folder))
                for path in (folder / name).rglob("*")
                if path.suffix.lower() in SUFFIXES and not _is_hidden(path.relative_to(folder))
            )
            if not found:
                raise DataError(
                    f"the class folder {folder / name} has no image",
                    f"remove it, or add images ({', '.join(sorted(SUFFIXES))})",
                )
            files += found
            labels += [number] * len(found)
        with reading(str(folder)):
            features = datasets.Features(
                image=datasets.Image(decode=False), label=datasets.ClassLabel(names=classes)
            )
            cells = [{"bytes": None, "path": name} for name in files]
            dataset = datasets.Dataset.from_dict({"image": cells, "label": labels}, features)
        return Table(dataset, str(folder), folder, listed=True)

    def _split_folder(self, split: str) -> Path:
        folder = self.path / self.own_split(split)
        if not folder.is_dir():
            found = ", ".join(_subfolders(self.path)) or "nothing"
            raise DataError(
                f"{self.path} has no folder {self.own_split(split)!r} for the {split} split: "
                f"it has {found}",
                "training and validation come from train/, the final numbers from test/; a task "
                'file can name others, as [source] test = "val"',
            )
        return folder

    def available(self) -> bool:
        """Whether the folder is there."""
        return self.path.is_dir()

    def require(self, task: str) -> None:
        """Raise unless the folder is there."""
        if not self.available():
            raise DataError(f"task {task!r}: there is no folder {self.path}")

    def describe(self) -> str:
        """The folder."""
        return f"image folder {self.path}"


def _subfolders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _matches(path: Path) -> bool:
    """Whether there is a folder of a split that holds folders."""
    return path.is_dir() and any(
        (path / name).is_dir() and _subfolders(path / name) for name in _SPLITS
    )


SOURCE_KINDS.register("folder")(SourceKind("folder", FolderSource, _matches))
