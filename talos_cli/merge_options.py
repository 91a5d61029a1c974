"""The merging method and the options of each, shared by ``add`` and ``negate``."""

from __future__ import annotations

from typing import Annotated

import typer

from talos_cli.options import complete, one_of
from talos_engine.registry import list_names

MERGE_METHODS = list_names("talos_engine.merging.methods")

MergeName = Annotated[
    str,
    typer.Option(
        "--method",
        help="How vectors are combined.",
        metavar="|".join(MERGE_METHODS),
        autocompletion=complete("talos_engine.merging.methods"),
        callback=one_of("merging method", MERGE_METHODS),
    ),
]
Dialect = Annotated[
    str | None,
    typer.Option(
        help="ties, dare, breadcrumbs: semantics of the method's authors or of mergekit.",
        metavar="official|mergekit",
        show_default="official",
    ),
]
Scope = Annotated[
    str | None,
    typer.Option(
        help="ties, breadcrumbs: rank entries in the whole vector, their tensor or their row.",
        metavar="global|tensor|row",
        show_default="ties global, breadcrumbs row; mergekit tensor",
    ),
]
TiesDensity = Annotated[
    float | None,
    typer.Option(help="ties: share of entries kept.", show_default="0.2; mergekit 1"),
]
TiesMerge = Annotated[
    str | None,
    typer.Option(
        help="ties: divide by the number of agreeing entries, or not.",
        metavar="mean|sum",
        show_default="mean",
    ),
]
DareDrop = Annotated[
    float | None,
    typer.Option(help="dare: probability of dropping an entry.", show_default="0.9; mergekit 0"),
]
BreadcrumbsOutliers = Annotated[
    float | None,
    typer.Option(
        help="breadcrumbs: share of the largest entries left out.",
        show_default="0.1; mergekit 0.01",
    ),
]
BreadcrumbsDensity = Annotated[
    float | None,
    typer.Option(
        help="breadcrumbs: share of entries kept below the outliers.",
        show_default="0.2; mergekit 1",
    ),
]
TallLambda = Annotated[
    float | None,
    typer.Option(
        help="tall, consensus: how much a task's own change must outweigh the others'.",
        show_default="0.4; tall --search: tuned per task",
    ),
]
ConsensusThreshold = Annotated[
    int | None,
    typer.Option(help="consensus: tasks that must want an entry.", show_default="2"),
]
AdaMergingSteps = Annotated[
    int | None,
    typer.Option(help="adamerging: steps of learning.", show_default="500"),
]
AdaMergingLr = Annotated[
    float | None,
    typer.Option(help="adamerging: learning rate.", show_default="0.001"),
]
AdaMergingMax = Annotated[
    float | None,
    typer.Option(help="adamerging: largest coefficient.", show_default="1, times 1/(1−sparsity)"),
]
Transductive = Annotated[
    bool,
    typer.Option(
        "--transductive",
        help="adamerging: learn on test inputs, without labels, as its authors did.",
    ),
]
