"""What stands beside an edited checkpoint: the curve of its search, and its model card."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talos_engine.artifacts import (
    BaseInfo,
    StrPath,
    atomic_write,
    check_distinct,
    check_folder,
    check_output,
    file_hash,
    write_metrics,
)
from talos_engine.evaluation.editing import SearchResult
from talos_engine.version import __version__
from talos_engine.workflows.checkpoints import check_place_of
from talos_engine.workflows.opening import Common


@dataclass(frozen=True)
class EditResult:
    """What was written.

    Args:
        path: The edited checkpoint; of methods that make one model per task, their folder.
        coefs: The coefficient of each vector, in the order given; none for a folder.
        search: The search and its curve, where one was made.
        report: The file holding the curve, where one was made.
        card: The model card; ``None`` for a folder, whose models have one each.
        models: The models in a folder, by task.
    """

    path: Path
    coefs: tuple[float, ...]
    search: SearchResult | None = None
    report: Path | None = None
    card: Path | None = None
    models: Mapping[str, EditResult] | None = None


@dataclass(frozen=True)
class Card:
    """What a model card tells.

    Args:
        base: The model that was edited.
        method: Name of the merging method, and of the command.
        options: Its resolved options.
        inputs: Pairs of a vector's file and its description in the checkpoint's header.
        words: The command that makes the checkpoint again.
        found: What the method found out by itself, as words by name.
        learned: Of a method that learns, the coefficients of each input in words.
    """

    base: BaseInfo
    method: str
    options: Mapping[str, Any]
    inputs: Sequence[tuple[Path, Mapping[str, Any]]]
    words: Sequence[str]
    found: Mapping[str, str] = field(default_factory=dict)
    learned: Sequence[str] = ()


def report_path(out: Path) -> Path:
    """Where the search report of an edited checkpoint goes: ``NAME.search.json`` beside it."""
    return out.with_name(_stem(out) + ".search.json")


def card_path(out: Path) -> Path:
    """Where the model card of an edited checkpoint goes: ``NAME.md`` beside it."""
    return out.with_name(_stem(out) + ".md")


def _stem(out: Path) -> str:
    return out.name.removesuffix(".safetensors").removesuffix(".ckpt")


def check_edit_outputs(
    out: Path,
    read: Sequence[Path],
    common: Common,
    *,
    search: bool,
    folder: bool = False,
    sharded: bool = False,
) -> None:
    """Raise before any work if the result could not be written, or would replace what is read.

    Args:
        out: The checkpoint, or a folder of several.
        read: Files and folders that the command reads.
        common: Overwriting.
        search: Whether a report of a search is written too.
        folder: Whether it is a folder of several, with all that stands beside them inside.
        sharded: Whether the checkpoint is a folder of shards in any case.

    Raises:
        OptionError: an output takes the place of an input.
        OutputError: the result could not be written.
    """
    beside = {
        "the model card": None if folder else card_path(out),
        "the search's report": report_path(out) if search and not folder else None,
    }
    check_distinct({"--out": out, **beside}, read)
    if folder:
        check_folder(out, force=common.force)
        return
    check_place_of(out, force=common.force, sharded=sharded)
    check_output(card_path(out), force=common.force)
    if search:
        check_output(report_path(out), force=common.force)


def flags_of(options: Mapping[str, Any]) -> list[str]:
    """Options by name as words of a command; those that were not given are left out."""
    return [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, given in options.items()
        if given is not None
        for value in (given if isinstance(given, (list, tuple)) else [given])
    ]


def shard_words(shard_bytes: int | None) -> list[str]:
    """The option that divides the weights, as on a command line."""
    return [] if shard_bytes is None else [f"--max-shard-size={shard_bytes}"]


def write_card(out: Path, card: Card, *, force: bool) -> Path:
    """Write the model card of a checkpoint, Markdown for people; its path.

    It tells of paths, which the checkpoint's own header never does.
    """
    base = card.base
    options = _in_words({name: it for name, it in card.options.items() if it is not None})
    columns = ["vector", "task", "made by", "coefficient"]
    rows = [
        [f"`{path}`", item["task"] or "–", item["method"], repr(item["coef"])]
        for path, item in card.inputs
    ]
    if card.learned:
        columns.append("times the learned")
        rows = [[*row, words] for row, words in zip(rows, card.learned, strict=True)]
    if any("options" in item for _, item in card.inputs):
        columns.append("options")
        for row, (_, item) in zip(rows, card.inputs, strict=True):
            row.append(_in_words(item.get("options", {})))
    columns.append("SHA-256")
    for row, (_, item) in zip(rows, card.inputs, strict=True):
        row.append(f"`{item['sha256']}`")
    lines = [
        f"# {out.name}",
        "",
        f"A checkpoint of {base.name} ({base.pretrained}), edited with task vectors by talos "
        f"{__version__}.",
        "",
        f"- base: `{base.hash}`",
        f"- method: {card.method}" + (f" ({options})" if options else ""),
        *(f"- {name}: {words}" for name, words in card.found.items()),
        "",
        *(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)),
        "",
        "To make it again:",
        "",
        "```sh",
        shlex.join(card.words),
        "```",
        "",
    ]
    path = card_path(out)
    text = "\n".join(lines).encode("utf-8", "surrogateescape")
    atomic_write(path, lambda temporary: temporary.write_bytes(text), force=force)
    return path


def _in_words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', '-')} {value}" for name, value in options.items())


def write_search_report(
    out: Path,
    command: str,
    vectors: Sequence[tuple[StrPath, Mapping[str, Any]]],
    search: SearchResult,
    settings: Mapping[str, Any],
    common: Common,
) -> Path:
    """Write the whole validation curve beside the checkpoint-to-be; its path.

    The checkpoint itself comes last: where it is, the curve is too. The vectors come with the
    options that hold for them alone.
    """
    path = report_path(out)
    write_metrics(
        path,
        {
            "schema": 1,
            "command": command,
            "split": "val",
            "inputs": [
                {"path": str(vector), "sha256": file_hash(vector)}
                | ({"options": dict(own)} if own else {})
                for vector, own in vectors
            ],
            **settings,
            **common.recorded(),
            "coef": search.chosen.coef,
            "objective": search.chosen.objective,
            "reference": dict(search.reference),
            "curve": [
                {
                    "coef": point.coef,
                    "accuracy": dict(point.accuracy),
                    "objective": point.objective,
                    "feasible": point.feasible,
                }
                for point in search.curve
            ],
        },
        force=common.force,
    )
    return path
