"""``talos add``: one model from several task vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from talos_cli import merge_options, options
from talos_cli.options import Chosen, Shared, command
from talos_cli.render import Terminal, percent

if TYPE_CHECKING:
    from talos_engine.workflows.editing import EditResult


@command(method_options=merge_options.ADDING)
def add(
    *,
    vectors: Annotated[
        list[Path], typer.Argument(help="Task vectors.", metavar="V1 V2 …", show_default=False)
    ],
    model: options.BaseModel = None,
    method: merge_options.MergeName = "sum",
    method_options: Chosen,
    coef: Annotated[
        list[float] | None,
        typer.Option(help="Coefficient: once for all vectors, or once per vector, any sign."),
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="Choose the coefficient by normalized validation accuracy."),
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            help="Task to search on; repeatable. Left out: the vectors' own tasks.",
            autocompletion=options.complete_tasks,
        ),
    ] = None,
    grid: options.Grid = None,
    max_shard_size: merge_options.ShardSize = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Checkpoint; of T5 or sharded a folder; tall: a folder with one for each task.",
            show_default="merged.safetensors, a folder merged.ckpt; tall merged/",
        ),
    ] = None,
    shared: Shared,
) -> None:
    """Add task vectors to their base and write the merged checkpoint.

    A model card is written beside it, as NAME.md, and with --search the whole validation curve, as
    NAME.search.json.
    """
    from talos_engine.workflows.add import AddRequest, add_vectors, default_output

    merge_options.use_large_pages()
    sharded = max_shard_size is not None
    request = AddRequest(
        vectors=tuple(vectors),
        out=out or default_output(method, model, shared.pretrained, vectors[0], sharded=sharded),
        model=model,
        method=method,
        options=method_options,
        coefs=tuple(coef or ()),
        search=search,
        tasks=tuple(task or ()),
        grid=grid,
        shard_bytes=merge_options.shard_bytes(max_shard_size),
        common=shared.common(),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_add

        terminal.plan(plan_add(request))
        return
    with terminal.progress() as progress:
        result = add_vectors(request, progress)
    searched = result.models or {"": result}
    for each in searched.values():
        if each.search is not None:
            _show(shared.terminal, each)
    values = _told(result)
    if result.models is not None:
        values["models"] = {task: _told(each) for task, each in result.models.items()}
    terminal.result(result.path, values)


def _show(terminal: Terminal, result: EditResult) -> None:
    assert result.search is not None
    chosen = result.search.chosen
    terminal.table(
        f"chosen on validation data: coefficient {chosen.coef:g}",
        ("task", "merged %", "single-task %"),
        [
            (name, percent(value), percent(result.search.reference[name]))
            for name, value in chosen.accuracy.items()
        ],
    )
    terminal.note(f"normalized validation accuracy {percent(chosen.objective)}%")


def _told(result: EditResult) -> dict[str, object]:
    """What ``--json`` says of one checkpoint or of a folder."""
    values: dict[str, object] = {"path": str(result.path)}
    if result.models is None:
        values |= {"coefs": list(result.coefs), "card": str(result.card)}
    if result.search is not None:
        values |= {
            "coef": result.search.chosen.coef,
            "validation_normalized": result.search.chosen.objective,
            "search": str(result.report),
        }
    return values
