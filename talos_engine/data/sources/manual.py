"""Source ``manual``: data that must be fetched by hand, and are given with ``--data``."""

from __future__ import annotations

from dataclasses import dataclass

from talos_engine.data.source import SOURCE_KINDS, Source, SourceKind, Table
from talos_engine.errors import DataError


@dataclass(frozen=True)
class ManualSource(Source):
    """Data that nobody may fetch automatically; its columns and splits are known.

    Args:
        needs: Where people get them, in a few words.
        image: Column of the images.
        label: Column of the labels.
        train: The data's own name of the training split.
        test: The data's own name of the test split.
        val: The data's own name of the validation split; empty: none.
    """

    needs: str
    image: str = "image"
    label: str = "label"
    train: str = "train"
    test: str = "test"
    val: str = ""

    def open(self, split: str) -> Table:
        """Never possible.

        Raises:
            DataError: always.
        """
        raise DataError(f"the {split} split must be fetched by hand: {self.needs}")

    def available(self) -> bool:
        """Never, before it is given with ``--data``."""
        return False

    def require(self, task: str) -> None:
        """Raise: the data must be given.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"the data of task {task!r} cannot be fetched by itself: {self.needs}",
            f"give your copy with --data {task}=PATH: {self.train} and {self.test} as csv, jsonl, "
            "parquet or arrow files, or a folder written by save_to_disk",
        )

    def describe(self) -> str:
        """That it must be given."""
        return "by hand, --data"


SOURCE_KINDS.register("manual")(SourceKind("manual", ManualSource, lambda path: False, local=False))
