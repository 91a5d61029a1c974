"""The Typer app: one line per command. No command's work is imported before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from talos_cli.commands import (
    add,
    calibrate,
    compare,
    disentangle,
    evaluate,
    export,
    finetune,
    inspect,
    listing,
    mask,
    negate,
    profile,
    report,
    run,
    vector,
)
from talos_engine import __version__

app = typer.Typer(
    name="talos",
    help="Sparse task vectors: create, add, subtract and evaluate them (TaLoS, arXiv:2504.02620).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"talos {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


app.command("calibrate")(calibrate.calibrate)
app.command("finetune")(finetune.finetune)
app.command("vector")(vector.vector)
app.command("add")(add.add)
app.command("negate")(negate.negate)
app.command("evaluate", cls=evaluate.Evaluate)(evaluate.evaluate)
app.command("disentangle")(disentangle.disentangle)
app.command("profile")(profile.profile)
app.command("run")(run.run)
app.command("inspect")(inspect.inspect)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("tasks")(listing.tasks)
app.command("models")(listing.models)

masks = typer.Typer(
    help="Combine masks as sets of live entries: union, intersection, difference.",
    no_args_is_help=True,
)
masks.command("union")(mask.union)
masks.command("intersect")(mask.intersect)
masks.command("subtract")(mask.subtract)
app.add_typer(masks, name="mask")


def main() -> None:
    """Run the command line."""
    app()
