"""``talos report``: a folder as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from talos_cli.options import Shared, command


@command(computes=False)
def report(
    *,
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of talos run, or any folder with metrics and masks.",
            metavar="RUN_DIR",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML file.")] = Path("report.html"),
    shared: Shared,
) -> None:
    """Write what a folder holds as one self-contained HTML page.

    Tables with the paper's numbers beside them, curves, heatmaps, costs, and how it was made.
    """
    from talos_cli.report.page import render_page
    from talos_engine import __version__
    from talos_engine.artifacts import atomic_write, check_output
    from talos_engine.reporting.gathering import gather_report

    check_output(out, force=shared.force)
    document = gather_report(folder)
    data = render_page(document, __version__).encode("utf-8")
    atomic_write(out, lambda temporary: temporary.write_bytes(data), force=shared.force)
    shared.terminal.note(f"{len(document.sections)} sections, {len(data) / 1e6:.1f} MB")
    shared.terminal.result(
        out,
        {
            "path": str(out),
            "title": document.title,
            "sections": [section.title for section in document.sections],
            "bytes": len(data),
        },
    )
