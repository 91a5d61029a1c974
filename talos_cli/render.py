"""What people see: progress bars and tables on standard error, the result on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from talos_engine.progress import Progress
    from talos_engine.workflows.planning import Plan


class Terminal:
    """Where a command writes.

    Args:
        quiet: Nothing but errors on standard error.
        as_json: The result is one JSON object instead of a path.
    """

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self.quiet = quiet
        self.as_json = as_json

    def result(self, text: object, values: Mapping[str, Any]) -> None:
        """Write the command's result, the only thing on standard output.

        The object of ``--json`` gets what there is to say about the run's data, under ``data``.
        """
        from talos_engine.data.settings import current_data

        report = current_data().report()
        if report:
            values = {**values, "data": report}
        line = json.dumps(values, sort_keys=True, default=str) if self.as_json else str(text)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell people something."""
        if not self.quiet:
            from rich.console import Console

            Console(stderr=True, highlight=False).print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Show a table; the first column is text, the others numbers."""
        if self.quiet:
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(title), title_justify="left")
        for position, column in enumerate(columns):
            if position == 0:
                table.add_column(escape(column), overflow="fold")  # the end of a name matters
            else:
                table.add_column(escape(column), justify="right")
        for row in rows:
            table.add_row(*(escape(printable(str(cell))) for cell in row))
        Console(stderr=True).print(table)

    def plan(self, plan: Plan) -> None:
        """Write what a command would do, a line per fact; sizes in MB for people."""
        facts = dict(plan.facts)
        lines = [
            f"{name.removesuffix('_bytes').replace('_', ' ')}: "
            + (
                f"about {value / 1e6:,.1f} MB"
                if isinstance(value, int) and name.endswith("_bytes")
                else f"{value}"
            )
            for name, value in facts.items()
        ]
        self.result("\n".join(lines), facts)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A progress receiver that draws bars with the time left."""
        if self.quiet:
            from talos_engine.progress import silent

            yield silent
            return
        from talos_engine.data.settings import current_data

        bars = _Bars()
        current_data().progress = bars.receive
        try:
            yield bars.receive
        finally:
            bars.close()


class _Bars:
    """One bar per kind of work, drawn from the first report on."""

    def __init__(self) -> None:
        self._shown: Any = None
        self._tasks: dict[str, Any] = {}

    def receive(self, what: str, done: int, total: int, /) -> None:
        """Show that ``done`` of ``total`` is done; what follows a comma in ``what`` is detail."""
        if self._shown is None:
            self._shown = _new_bars()
            self._shown.start()
        name, _, detail = what.partition(", ")
        if name not in self._tasks:
            self._tasks[name] = self._shown.add_task(name, total=total, detail=detail)
        self._shown.update(self._tasks[name], completed=done, total=total, detail=detail)

    def close(self) -> None:
        """Leave the bars as they are and give the terminal back."""
        if self._shown is not None:
            self._shown.stop()


def _new_bars() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
        console=Console(stderr=True),
    )


def printable(text: str) -> str:
    """Text from a file without what would steer the terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def percent(value: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def label_scores(task: str, method: str) -> str:
    """What a scores file is called: its task, and its rule where that is not the usual one."""
    return task if method == "talos" else f"{task} ({method})"
