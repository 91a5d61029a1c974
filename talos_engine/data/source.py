"""What a source of examples is. The kinds themselves live in ``sources``, one file each."""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talos_engine.errors import DataError, TalosError
from talos_engine.registry import Registry


@dataclass(frozen=True)
class Table:
    """One split of a source, opened.

    Args:
        dataset: A ``datasets.Dataset``; its images are not decoded.
        where: The file or folder it was read from, for messages.
        folder: What paths of images are relative to; ``None`` where images are stored inside.
        listed: Whether the paths are the names found in that folder, not text from a file.
        rows: The rows that belong to the split; all of them where not given.
        broken: How many lines of its files could not be read and are left out.
        shared: Whether these lines are of a file that holds other splits too.
        typed: Whether its format tells numbers from texts; CSV does not.
        numbers: Of columns of texts, the cells that are numbers in the file, by row.
    """

    dataset: Any
    where: str
    folder: Path | None
    listed: bool = False
    rows: Sequence[int] | None = None
    broken: int = 0
    shared: bool = False
    typed: bool = True
    numbers: Mapping[str, Mapping[int, Any]] = dataclasses.field(default_factory=dict)


class Source(ABC):
    """Where examples come from; subclasses are frozen dataclasses, their fields the TOML keys.

    Attributes:
        image: Column of the images.
        label: Column of the labels.
        train: The source's own name of the training split.
        test: The source's own name of the test split.
        val: The source's own name of a validation split; empty: it has none.
        has_texts: Whether it may have columns of texts.
    """

    image: str
    label: str
    train: str
    test: str
    val: str
    has_texts: bool = True

    @abstractmethod
    def open(self, split: str) -> Table:
        """The split of the task (``train``, ``test`` or, if there is one, ``val``), opened.

        Raises:
            DataError: it cannot be had; says what is missing.
        """

    @abstractmethod
    def available(self) -> bool:
        """Whether the data is on this machine; reads none of it and asks no network."""

    @abstractmethod
    def require(self, task: str) -> None:
        """Raise unless the data can be had here or from the network.

        Raises:
            DataError: it cannot; says what can be done.
        """

    @abstractmethod
    def describe(self) -> str:
        """Where the data comes from, in a few words."""

    def own_split(self, split: str) -> str:
        """The source's own name of ``train``, ``test`` or ``val``."""
        return {"train": self.train, "test": self.test, "val": self.val}[split]


@dataclass(frozen=True)
class SourceKind:
    """A kind of source.

    Args:
        name: What TOML calls it.
        make: The dataclass of its settings.
        matches: Whether a path looks like this kind.
        local: Whether it reads a path.
    """

    name: str
    make: Callable[..., Source]
    matches: Callable[[Path], bool]
    local: bool = True


SOURCE_KINDS: Registry[SourceKind] = Registry("kind of source", "talos_engine.data.sources")


def make_source(kind: str, settings: Mapping[str, Any], folder: Path, where: str) -> Source:
    """A source from what TOML says.

    Args:
        kind: Name of the kind.
        settings: Its settings by name.
        folder: What a relative path is relative to.
        where: The file, for messages.

    Raises:
        DataError: an unknown or missing setting, or one of another type.
        UnknownNameError: there is no such kind.
    """
    made = SOURCE_KINDS.get(kind)
    fields = {field.name: field for field in dataclasses.fields(made.make)}  # type: ignore[arg-type]
    known = ", ".join(fields)
    for name, value in settings.items():
        if name not in fields:
            raise DataError(f"{where}: [source] has the unknown key {name!r}", f"known: {known}")
        if not isinstance(value, str):
            raise DataError(f"{where}: {name} of [source] must be text, not {value!r}")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in settings:
            raise DataError(f"{where}: [source] of kind {kind!r} needs {name}")
    values: dict[str, Any] = dict(settings)
    if "path" in fields:
        values["path"] = folder / Path(settings["path"]).expanduser()
    return made.make(**values)


def detect_source(path: Path, like: Source | None = None) -> Source:
    """The source that a file or folder is, by looking at it.

    Args:
        path: What ``--data`` names.
        like: Where the names of columns and splits come from, if anywhere.

    Raises:
        DataError: nothing can be made of it.
    """
    if not path.exists():
        raise DataError(f"there is no file or folder {path}")
    named = {}
    if like is not None:
        named = {"image": like.image, "label": like.label}
        for split in ("train", "test", "val"):  # a copy may have renamed the splits
            own = like.own_split(split)
            found = next((name for name in (own, *_ALSO.get(own, ())) if _has(path, name)), None)
            if own and found:
                named[split] = found
    for kind in map(SOURCE_KINDS.get, SOURCE_KINDS.names()):
        if kind.local and kind.matches(path):
            fields = {field.name for field in dataclasses.fields(kind.make)}  # type: ignore[arg-type]
            return kind.make(
                path=path, **{name: value for name, value in named.items() if name in fields}
            )
    raise DataError(
        f"{path} holds no data that can be read",
        "an image folder (train/CLASS/*.png, test/CLASS/*.png), a folder written by save_to_disk, "
        "or parquet, arrow, csv or jsonl files (train.csv, test.csv)",
    )


_ALSO = {"validation": ("val",)}
"""What copies call a split too, ImageNet's own layout among them."""


def _has(folder: Path, split: str) -> bool:
    """Whether a folder holds files or a folder of a split of that name."""
    return any(
        found.name.startswith(split)
        for place in (folder, folder / "data")
        if place.is_dir()
        for found in place.iterdir()
    )


@contextmanager
def reading(where: str, hint: str = "") -> Iterator[None]:
    """Turn whatever ``datasets`` raises inside into one message about ``where``, with a hint."""
    import datasets

    bars = datasets.are_progress_bars_disabled()
    verbosity = datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # an error is told once: by us
    propagated = logging.getLogger("datasets").propagate
    datasets.logging.disable_propagation()
    try:
        yield
    except TalosError:
        raise
    except Exception as error:  # a reader of foreign formats may raise anything
        cause: BaseException = error
        while str(cause).startswith("An error occurred") and cause.__cause__ is not None:
            cause = cause.__cause__
        told = str(cause).strip().split("\n")[0] or type(cause).__name__
        if "corresponds to no data" in told:  # how datasets says that a table is empty
            told = "it has no row"
        raise DataError(f"{where} cannot be read: {told}", hint) from error
    finally:
        datasets.logging.set_verbosity(verbosity)
        logging.getLogger("datasets").propagate = propagated
        (datasets.disable_progress_bars if bars else datasets.enable_progress_bars)()
