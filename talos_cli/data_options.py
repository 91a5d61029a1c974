"""What commands are told about their data: ``--data``, ``--task-file`` and what goes with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from talos_cli.render import Terminal

_PANEL = "Common options"


def common_option(*flags: str, help: str, **more: Any) -> Any:
    """An option that is shown with those that commands share."""
    return typer.Option(*flags, help=help, rich_help_panel=_PANEL, **more)


DATA_OPTIONS: dict[str, tuple[Any, Any, Any]] = {
    "data": (
        list[str] | None,
        None,
        common_option(
            "--data",
            metavar="[TASK=]PATH",
            help="Take the task's examples from here: an image folder, a folder written by "
            "save_to_disk, parquet, arrow, csv or jsonl. Repeatable with TASK=.",
        ),
    ),
    "task_file": (
        list[Path] | None,
        None,
        common_option(
            "--task-file", help="TOML file that declares a task, for --task. Repeatable."
        ),
    ),
    "skip_bad": (
        bool,
        False,
        common_option("--skip-bad", help="Leave out and count rows that cannot be used."),
    ),
    "max_examples": (
        int,
        0,
        common_option(
            "--max-examples",
            help="Use at most so many examples of a split, always the same.",
            show_default="all",
        ),
    ),
}


@dataclass(frozen=True)
class DataOptions:
    """The options that concern data, as parsed."""

    data: Sequence[str] | None = None
    task_file: Sequence[Path] | None = None
    skip_bad: bool = False
    max_examples: int = 0


@contextmanager
def using_data(
    options: DataOptions, terminal: Terminal, values: Mapping[str, Any]
) -> Iterator[None]:
    """Let what the options say about data hold inside; tell in the end what people should know.

    Args:
        options: The options that concern data.
        terminal: Where to tell it.
        values: The command's own options, among which tasks are looked for.

    Raises:
        OptionError: options contradict each other.
        DataError: a path does not exist.
    """
    from talos_engine.data.settings import DataSettings, use_data

    path, paths = split_data(options.data or ())
    settings = DataSettings(
        path, paths, tuple(options.task_file or ()), options.skip_bad, options.max_examples
    )
    _check_names(paths, values)
    with use_data(settings) as run:
        yield
        for given in run.unused():
            run.note(f"--data {given} was not used: this command had no need of examples")
        for note in run.notes:
            terminal.note(note)
        for task, counts in run.skipped.items():
            told = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items())
            terminal.note(f"left out of task {task}: {told}")


def split_data(words: Sequence[str]) -> tuple[Path | None, dict[str, Path]]:
    """What ``--data`` says: a path without a task, and paths by task.

    A word is ``TASK=PATH`` where it begins with a name and ``=``; ``./a=b`` is a path.

    Raises:
        OptionError: two paths for one task, or two without one.
    """
    from talos_engine.errors import OptionError

    alone: Path | None = None
    named: dict[str, Path] = {}
    for word in words:
        task, equals, path = word.partition("=")
        if equals and re.fullmatch(r"[A-Za-z0-9_-]+", task) and path:
            if task in named:
                raise OptionError(f"--data gives task {task!r} two paths")
            named[task] = Path(path).expanduser()  # no shell does it behind TASK=
        elif alone is None:
            alone = Path(word).expanduser()
        else:
            raise OptionError(
                f"--data {alone} and --data {word} name no task", "say --data TASK=PATH for each"
            )
    return alone, named


def _check_names(named: Mapping[str, Path], values: Mapping[str, Any]) -> None:
    """Raise where ``--data TASK=PATH`` is for a task that the options do not name.

    Raises:
        OptionError: it is; without ``--task`` the tasks are those of the files, not known here.
    """
    from talos_engine.errors import OptionError

    task = values.get("task")
    if not task:
        return
    given = {*([task] if isinstance(task, str) else task), values.get("control")}
    extra = sorted(named.keys() - given)
    if extra:
        raise OptionError(f"--data is given for task {extra[0]!r}, which the command does not use")
