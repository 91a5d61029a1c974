"""``talos inspect``: what any artifact is, and what several have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from talos_cli import options
from talos_cli.options import Shared, command
from talos_cli.render import Terminal, percent, printable

if TYPE_CHECKING:
    from talos_engine.inspection.histogram import ScoreHistograms
    from talos_engine.inspection.tally import Tally
    from talos_engine.workflows.describing import FileReport
    from talos_engine.workflows.inspect import Comparison

_CONFIG_LIMIT = 300
_LAYERS_PER_TABLE = 7  # what 80 columns hold
_MATRICES = {
    "cosine": "cosine similarity",
    "iou": "live entries, intersection over union",
    "iou_by_chance": "the same if masks of these sizes were independent",
    "sign_conflicts": "opposite signs, share of the entries that both change",
}


@command(computes=False)
def inspect(
    *,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Masks, vectors, scores, checkpoints, metrics; several masks or several vectors "
            "are compared.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw into this PNG: live share of a mask or vector by layer and kind, histograms "
            "of scores, overlaps of several masks or vectors.",
            callback=options.png,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="JSON file. Without it and --plot, each file's kind is printed."
        ),
    ] = None,
    shared: Shared,
) -> None:
    """Show what files are: header, live share by layer and kind, norms, scores, overlaps."""
    from talos_engine.workflows.inspect import InspectRequest
    from talos_engine.workflows.inspect import inspect as run

    terminal = shared.terminal
    request = InspectRequest(tuple(files), out, plot, shared.common())
    with terminal.progress() as progress:
        result = run(request, progress)
    if plot is not None:
        from talos_cli.inspection_plots import draw_inspection

        draw_inspection(result, plot, force=shared.force)
    for report in result.files:
        _show_header(terminal, report)
        if len(result.files) == 1:
            _show_contents(terminal, report)
        elif report.tally is not None:
            _show_summary(terminal, report.tally)
    if result.comparison is not None:
        _show_comparison(terminal, result.comparison)
    for note in result.notes:
        terminal.note(note)
    written = [str(path) for path in (out, plot) if path is not None]
    terminal.result(
        "\n".join(written or [report.kind for report in result.files]),
        {
            **result.metrics,
            "path": None if out is None else str(out),
            "plot": None if plot is None else str(plot),
        },
    )


def _show_header(terminal: Terminal, report: FileReport) -> None:
    terminal.note(f"{report.path}: {report.kind}, {report.size:,} bytes")
    header = report.header
    if header is not None:
        terminal.note(
            f"  base {header.base.name} ({header.base.pretrained}) {header.base.hash[:12]}, "
            f"method {header.method}, task {header.task or '–'}, seed {header.seed}, "
            f"engine {header.engine}"
        )
        config = printable(json.dumps(header.config, sort_keys=True, ensure_ascii=False))
        if len(config) > _CONFIG_LIMIT:
            config = f"{config[:_CONFIG_LIMIT]}… (whole with --json)"
        terminal.note(f"  config {config}")
    for name, value in report.contents.items():
        terminal.note(f"  {name} {value}")
    for note in report.notes:
        terminal.note(f"  {note}")


def _show_summary(terminal: Terminal, tally: Tally) -> None:
    """One line about one of several files."""
    whole = tally.overall
    norm = f", norm {_number(whole.norm)}" if tally.measured else ""
    terminal.note(f"  {whole.live:,} of {whole.total:,} live ({percent(whole.share)}%){norm}")


def _show_contents(terminal: Terminal, report: FileReport) -> None:
    """Everything about the only file."""
    if report.tally is not None:
        _show_tally(terminal, report.path.name, report.tally, by_tensor=report.by_tensor)
    if report.scores is not None:
        _show_scores(terminal, report.path.name, report.scores)


def _show_tally(terminal: Terminal, name: str, tally: Tally, *, by_tensor: bool) -> None:
    whole = tally.overall
    what = "tensor" if by_tensor else "kind"
    columns = [what, "live", "of", f"% of {what}", "% of live"]
    if tally.measured:
        columns.append("norm")
    rows = []
    for kind, count in [*tally.by_kind.items(), ("all", whole)]:
        row = [kind, f"{count.live:,}", f"{count.total:,}", percent(count.share)]
        row.append(percent(count.live / whole.live if whole.live else 0.0))
        if tally.measured:
            row.append(_number(count.norm))
        rows.append(row)
    terminal.table(f"{name}: {whole.live:,} of {whole.total:,} entries live", columns, rows)
    if by_tensor:
        return
    layers = list(tally.by_layer)
    for first in range(0, len(layers), _LAYERS_PER_TABLE):
        _show_layers(terminal, tally, layers[first : first + _LAYERS_PER_TABLE])


def _show_layers(terminal: Terminal, tally: Tally, layers: Sequence[int]) -> None:
    """Live shares of some layers, a row per kind."""
    cells = tally.by_cell
    rows = [
        [kind, *(percent(found.share) if found else "" for found in own)]
        for kind, own in ((kind, [cells.get((n, kind)) for n in layers]) for kind in tally.by_kind)
        if any(own)
    ]
    counts = [tally.by_layer[layer] for layer in layers]
    rows.append(["all", *(percent(count.share) for count in counts)])
    if tally.measured:
        rows.append(["norm", *(_number(count.norm) for count in counts)])
    names = [str(layer) if layer >= 0 else "other" for layer in layers]
    terminal.table("% live by kind and layer", ["kind", *names], rows)


def _show_scores(terminal: Terminal, name: str, scores: ScoreHistograms) -> None:
    terminal.table(
        f"{name}: scores; min, median and max of those above 0",
        ("kind", "entries", "zeros", "min", "median", "max"),
        [
            (
                kind,
                f"{found.entries:,}",
                f"{found.zeros:,}",
                _number(found.least),
                _number(found.median),
                _number(found.largest),
            )
            for kind, found in [*scores.by_kind.items(), ("all", scores.overall)]
        ],
    )


def _show_comparison(terminal: Terminal, comparison: Comparison) -> None:
    for name, title in _MATRICES.items():
        matrix = comparison.measures.matrices.get(name)
        if matrix is None:
            continue
        rows = [
            [
                f"{number} {label}",
                *("–" if value is None else f"{value:.3f}" for value in row),
            ]
            for number, (label, row) in enumerate(
                zip(comparison.labels, matrix, strict=True), start=1
            )
        ]
        columns = [str(number) for number in range(1, len(rows) + 1)]
        terminal.table(title, [comparison.kind, *columns], rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
