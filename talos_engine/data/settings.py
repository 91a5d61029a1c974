"""What a run says about its data: other places for it, tolerance of broken rows, a limit.

These settings hold for everything inside ``with use_data(settings)``, as they concern every task
that a command touches, however it came by the task's name. What was skipped and what people should
know is collected on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talos_engine.configuration import check_at_least
from talos_engine.errors import DataError, OptionError
from talos_engine.progress import Progress, silent


@dataclass(frozen=True)
class DataSettings:
    """What a run says about its data.

    Args:
        path: Data of the one task of the run, whatever its name.
        paths: Data of tasks by name; the tasks' own sources are not asked.
        task_files: TOML files that declare tasks.
        skip_bad: Leave out rows that cannot be used instead of refusing them.
        max_examples: Keep at most this many examples of each split, always the same ones; 0 keeps
            all.

    Raises:
        OptionError: ``max_examples`` is negative, or ``path`` and ``paths`` are both given.
        DataError: a path does not exist.
    """

    path: Path | None = None
    paths: Mapping[str, Path] = field(default_factory=dict)
    task_files: tuple[Path, ...] = ()
    skip_bad: bool = False
    max_examples: int = 0

    def __post_init__(self) -> None:
        check_at_least("max-examples", self.max_examples, 0)
        if self.path is not None and self.paths:
            raise OptionError(
                f"--data {self.path} names no task, other --data do",
                "say --data TASK=PATH for each",
            )
        for path in (*self.paths.values(), *([self.path] if self.path is not None else [])):
            if not path.exists():
                raise DataError(f"there is no file or folder {path}", "it was given with --data")


@dataclass
class DataRun:
    """The settings of a run and what came of them.

    Args:
        settings: What the run says about its data.
        progress: Told while images are decoded.
        notes: Sentences that people should read.
        skipped: Rows left out, by task and by split and reason (``train_labels``, ``val_images``).
        cut: How many examples are longer than the model takes, by task and split.
        empty_classes: Classes without an example, by task and split.
        known: What was opened already, by what it is.
    """

    settings: DataSettings = field(default_factory=DataSettings)
    progress: Progress = silent
    notes: list[str] = field(default_factory=list)
    skipped: dict[str, dict[str, int]] = field(default_factory=dict)
    cut: dict[str, dict[str, int]] = field(default_factory=dict)
    empty_classes: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    known: dict[Any, Any] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    def path_of(self, task: str) -> Path | None:
        """Where the run says the data of ``task`` is, if it says so.

        Raises:
            OptionError: one nameless path is given, and this is the run's second task.
        """
        if self.settings.path is None:
            self._used |= {task} & self.settings.paths.keys()
            return self.settings.paths.get(task)
        other = next(iter(self._used - {task}), None)
        if other is not None:
            raise OptionError(
                f"--data {self.settings.path} could be of {other!r} or {task!r}",
                f"say --data {other}={self.settings.path}",
            )
        self._used.add(task)
        return self.settings.path

    def unused(self) -> list[str]:
        """What ``--data`` gave and nothing asked for."""
        if self.settings.path is not None and not self._used:
            return [str(self.settings.path)]
        return [
            f"{task}={path}" for task, path in self.settings.paths.items() if task not in self._used
        ]

    def note(self, text: str) -> None:
        """Tell people something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def report_skipped(self, task: str, split: str, what: str, count: int) -> None:
        """Take note that ``count`` rows of a split were left out for their labels or images."""
        if count:
            self.skipped.setdefault(task, {})[f"{split}_{what}"] = count

    def report_broken(self, task: str, split: str, count: int, *, shared: bool) -> None:
        """Take note of lines that could not be read and were left out.

        Args:
            task: Name of the task.
            split: Name of the split.
            count: How many lines.
            shared: Whether they are of a file that holds other splits too: nobody knows which split
                they belong to, and they are counted with the first one that is read.
        """
        counted = {name for name in self.skipped.get(task, {}) if name.endswith("_lines")}
        if not shared or counted <= {f"{split}_lines"}:
            self.report_skipped(task, split, "lines", count)

    def report_cut(self, task: str, split: str, count: int, total: int) -> None:
        """Take note that of ``count`` of a split's examples the model sees only the beginning."""
        if count:
            self.cut.setdefault(task, {})[split] = count
            self.note(
                f"{count:,} of {total:,} {split} examples of task {task} have a text or an answer "
                "that is longer than the model takes, and is cut"
            )

    def report_empty_classes(
        self, task: str, split: str, where: str, empty: Sequence[str], classes: int
    ) -> None:
        """Take note that some classes have no example in a split: often a folder is missing.

        Args:
            task: Name of the task.
            split: Name of the split.
            where: The file or folder.
            empty: Names of those classes.
            classes: How many classes the task has.
        """
        if empty:
            self.empty_classes.setdefault(task, {})[split] = list(empty)
            shown = ", ".join(empty[:8]) + (", …" if len(empty) > 8 else "")
            self.note(f"{where} has no example of {len(empty)} of the {classes} classes: {shown}")

    def report(self) -> dict[str, Any]:
        """What belongs into a command's JSON: what was skipped, cut or is missing, if anything."""
        found = {
            "skipped": self.skipped, "cut": self.cut, "empty_classes": self.empty_classes
        }  # fmt: skip
        return {name: counts for name, counts in found.items() if counts}


_CURRENT: ContextVar[DataRun | None] = ContextVar("talos_data", default=None)


def current_data() -> DataRun:
    """The run that is going on; outside ``use_data`` one with default settings."""
    return _CURRENT.get() or DataRun()


@contextmanager
def use_data(settings: DataSettings) -> Iterator[DataRun]:
    """Let ``settings`` hold for everything inside; gives what collects notes and counts."""
    run = DataRun(settings)
    token = _CURRENT.set(run)
    try:
        yield run
    finally:
        _CURRENT.reset(token)
