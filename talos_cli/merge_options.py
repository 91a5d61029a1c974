"""The merging method and the options of each, declared once for by ``add`` and ``negate``."""

from __future__ import annotations

import os
from typing import Annotated, Any

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

ShardSize = Annotated[
    str | None,
    typer.Option(
        help="Write a folder whose weights files are at most this large, such as 500MB or 2GB.",
        metavar="SIZE",
        show_default="one file; of T5 a folder, 5GB",
    ),
]


def shard_bytes(size: str | None) -> int | None:
    """What ``--max-shard-size`` says, in bytes."""
    from talos_engine.configuration import parse_size

    return None if size is None else parse_size("max-shard-size", size)


NEGATING: dict[str, Any] = {
    "dialect": Annotated[
        str | None,
        typer.Option(
            help="ties, dare, breadcrumbs: semantics of the method's authors or of mergekit.",
            metavar="official|mergekit",
            show_default="official",
        ),
    ],
    "scope": Annotated[
        str | None,
        typer.Option(
            help="ties, breadcrumbs: rank entries in the whole vector, their tensor or their row.",
            metavar="global|tensor|row",
            show_default="ties global, breadcrumbs row; mergekit tensor",
        ),
    ],
    "ties_density": Annotated[
        list[float] | None,
        typer.Option(
            help="ties: share of entries kept; once for all or per vector.",
            show_default="0.2; mergekit 1",
        ),
    ],
    "ties_merge": Annotated[
        str | None,
        typer.Option(
            help="ties: divide by the number of agreeing entries, or not.",
            metavar="mean|sum",
            show_default="mean",
        ),
    ],
    "dare_drop": Annotated[
        list[float] | None,
        typer.Option(
            help="dare: probability of dropping an entry; once or per vector.",
            show_default="0.9; mergekit 0",
        ),
    ],
    "breadcrumbs_outliers": Annotated[
        list[float] | None,
        typer.Option(
            help="breadcrumbs: share of the largest entries left out; once or per vector.",
            show_default="0.1; mergekit 0.01",
        ),
    ],
    "breadcrumbs_density": Annotated[
        list[float] | None,
        typer.Option(
            help="breadcrumbs: share of entries kept below the outliers; once or per vector.",
            show_default="0.2; mergekit 1",
        ),
    ],
    "tall_lambda": Annotated[
        list[float] | None,
        typer.Option(
            help="tall, consensus: how much a task's own change must outweigh the others'; "
            "once or per vector.",
            show_default="0.4; tall --search: tuned per task",
        ),
    ],
    "consensus_threshold": Annotated[
        list[int] | None,
        typer.Option(
            help="consensus: tasks that must want an entry; once or per vector.", show_default="2"
        ),
    ],
}
"""Options of the methods that go with ``negate``, by name; lists hold one value per vector."""

ADDING: dict[str, Any] = NEGATING | {
    "adamerging_steps": Annotated[
        int | None, typer.Option(help="adamerging: steps of learning.", show_default="500")
    ],
    "adamerging_lr": Annotated[
        float | None, typer.Option(help="adamerging: learning rate.", show_default="0.001")
    ],
    "adamerging_max": Annotated[
        float | None,
        typer.Option(
            help="adamerging: largest coefficient.", show_default="1, times 1/(1−sparsity)"
        ),
    ],
    "transductive": Annotated[
        bool,
        typer.Option(
            "--transductive",
            help="adamerging: learn on test inputs, without labels, as its authors did.",
        ),
    ],
}
"""Options of all methods, by name."""


def use_large_pages() -> None:
    """Have torch ask Linux for large memory pages, unless the environment says otherwise.

    Merging makes and drops large tensors; fetching them page by page took a fifth of its time.
    torch looks at its first large tensor.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
