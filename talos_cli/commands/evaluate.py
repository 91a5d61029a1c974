"""``talos evaluate``: accuracy of checkpoints on tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from talos_cli import options, pairs
from talos_cli.options import Shared, command
from talos_cli.render import label_scores, percent

if TYPE_CHECKING:
    from talos_engine.workflows.evaluate import EvaluateRequest
    from talos_engine.workflows.evaluated import EvaluatedModel
    from talos_engine.workflows.prune import PruneRequest

SPLITS = ("test", "val", "train")
Evaluate = pairs.takes_pairs("prune_lowest", "perturb_lowest")


@command(draws=False)
def evaluate(
    *,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Checkpoints or task vectors (a vector: the base plus it). None: the base.",
            metavar="[CKPT …]",
            show_default=False,
        ),
    ] = None,
    model: options.BaseModel = None,
    task: Annotated[
        list[str],
        typer.Option(
            "--task",
            "-t",
            help="Task; repeatable.",
            autocompletion=options.complete_tasks,
        ),
    ],
    split: Annotated[
        str,
        typer.Option(
            help="Split.", metavar="|".join(SPLITS), callback=options.one_of("split", SPLITS)
        ),
    ] = "test",
    single: Annotated[
        list[Path] | None,
        typer.Option(
            help="Single-task checkpoint or vector, one per task: adds normalized accuracy."
        ),
    ] = None,
    linearize: Annotated[
        bool,
        typer.Option(
            "--linearize",
            help="Evaluate every model's first-order expansion at the base. Models whose file "
            "records that they were trained so are evaluated so anyway.",
        ),
    ] = False,
    matrix: Annotated[
        bool,
        typer.Option(
            "--matrix",
            help="Evaluate the base too and show accuracies as ratios to its (Fig. 3).",
        ),
    ] = False,
    bound: Annotated[
        int,
        typer.Option(
            help="Measure with N examples of each task how local the models' changes are (Eq. 9).",
            metavar="N",
            show_default="not measured",
        ),
    ] = 0,
    prune_lowest: Annotated[
        list[Any] | None,
        typer.Option(
            help="Zero the share F of the base's entries that this scores file ranks lowest, and "
            "compare with the untouched base. Repeatable.",
            metavar="SCORES F",
            parser=pairs.whole,
            callback=pairs.scored_fraction,
        ),
    ] = None,
    perturb_lowest: Annotated[
        list[Any] | None,
        typer.Option(
            help="The same with Gaussian noise of twice these entries' standard deviation instead "
            "of zeros. Repeatable.",
            metavar="SCORES F",
            parser=pairs.whole,
            callback=pairs.scored_fraction,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="perturb-lowest: key of the noise; bound: of its examples.", show_default="0"
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="matrix, prune-lowest, perturb-lowest: draw the accuracy ratios into this PNG.",
            callback=options.png,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="JSON file.", show_default="none written")
    ] = None,
    shared: Shared,
) -> None:
    """Measure accuracy, absolute and normalized, of checkpoints or of the base itself.

    Without --out the result on standard output is the mean accuracy of each model, a line each;
    with --prune-lowest or --perturb-lowest the mean accuracy ratio of each edit.
    """
    from talos_engine.artifacts import check_distinct, check_output
    from talos_engine.errors import OptionError
    from talos_engine.workflows.evaluate import EvaluateRequest
    from talos_engine.workflows.prune import LowestEdit, PruneRequest

    asked = {"prune": prune_lowest or [], "perturb": perturb_lowest or []}
    edits = tuple(
        LowestEdit(edit, path, fraction)
        for edit, pairs in asked.items()
        for path, fraction in pairs
    )
    if seed is not None and not (perturb_lowest or bound):
        raise OptionError("--seed is for --perturb-lowest and --bound, and neither is given")
    if plot is not None and not (edits or matrix):
        raise OptionError("--plot draws what --matrix, --prune-lowest or --perturb-lowest measure")
    if edits and (checkpoints or single or linearize or matrix or bound):
        raise OptionError(
            "--prune-lowest and --perturb-lowest edit the base: they take no checkpoint, vector, "
            "--single, --linearize, --matrix or --bound",
            "to edit a checkpoint, calibrate scores at it and name it with --model",
        )
    common = replace(shared.common(), seed=seed or 0)
    if not edits:
        check_distinct({"--out": out, "--plot": plot})
        if plot is not None:
            check_output(plot, force=shared.force)
        _evaluate(
            EvaluateRequest(
                checkpoints=tuple(checkpoints or ()),
                tasks=tuple(task),
                out=out,
                model=model,
                split=split,
                singles=tuple(single or ()),
                linearize=linearize,
                matrix=matrix,
                bound=bound,
                common=common,
            ),
            plot,
            shared,
        )
        return
    _prune(PruneRequest(edits, tuple(task), out, model, split, plot, common), shared)


def _evaluate(request: EvaluateRequest, plot: Path | None, shared: Shared) -> None:
    from talos_engine.workflows.evaluate import evaluate as run

    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_evaluate

        terminal.plan(plan_evaluate(request))
        return
    with terminal.progress() as progress:
        result = run(request, progress)
    columns = ["model", *request.tasks, "mean"]
    rows = []
    for entry in result.models:
        cells = [percent(entry.accuracies[each].value) for each in request.tasks]
        row = [_label(entry), *cells, percent(entry.mean)]
        if entry.normalized is not None:
            row.append(percent(entry.normalized))
        rows.append(row)
    if request.singles:
        columns.append("normalized")
    terminal.table(f"accuracy on {request.split}, %", columns, rows)
    if request.matrix:
        _show_matrix(request, result.models, plot, shared)
    if request.bound:
        _show_bounds(request, result.models, shared)
    text = result.path or "\n".join(f"{entry.mean:.6f}" for entry in result.models)
    shown = {} if plot is None else {"plot": str(plot)}
    terminal.result(text, {**result.metrics, **shown})


def _label(entry: EvaluatedModel) -> str:
    name = "base" if entry.path is None else entry.path.name
    return f"{name} (linearized)" if entry.evaluation == "linearized" else name


def _show_matrix(
    request: EvaluateRequest, models: Sequence[EvaluatedModel], plot: Path | None, shared: Shared
) -> None:
    ratios = [[(model.ratios or {})[task] for task in request.tasks] for model in models]
    labels = [_label(model) for model in models]
    shared.terminal.table(
        f"accuracy over the base's on {request.split}, %",
        ("model", *request.tasks),
        [
            (label, *("–" if value is None else percent(value) for value in row))
            for label, row in zip(labels, ratios, strict=True)
        ],
    )
    if plot is not None:
        from talos_cli.plots import draw_matrix

        draw_matrix(request.tasks, labels, ratios, plot, force=shared.force)


def _show_bounds(
    request: EvaluateRequest, models: Sequence[EvaluatedModel], shared: Shared
) -> None:
    shared.terminal.table(
        f"localization over {request.bound} examples of {request.split} (Eq. 9)",
        ("model", "task", "entries", "‖cτ‖", "max ‖c∇f‖", "bound", "max |τᵀ∇f|", "mean |τᵀ∇f|"),
        [
            (
                _label(model),
                task,
                f"{found.count:,}",
                f"{found.change_norm:.3g}",
                f"{found.gradient_norm:.3g}",
                f"{found.bound:.3g}",
                f"{found.slope:.3g}",
                f"{found.mean_slope:.3g}",
            )
            for model in models
            for task, found in (model.bounds or {}).items()
        ],
    )


def _prune(request: PruneRequest, shared: Shared) -> None:
    from talos_engine.workflows.prune import prune as run

    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_prune

        terminal.plan(plan_prune(request))
        return
    with terminal.progress() as progress:
        result = run(request, progress)
    names = [
        f"{model.edit.edit} {100 * model.edit.fraction:g}%, "
        f"{label_scores(model.task, model.method)}"
        for model in result.models
    ]
    terminal.table(
        f"accuracy ratio to the base on {request.split}, %",
        ("edit, scores", *request.tasks, "mean"),
        [
            (
                name,
                *(percent(model.ratios[task]) for task in request.tasks),
                percent(model.mean_ratio),
            )
            for name, model in zip(names, result.models, strict=True)
        ],
    )
    terminal.table(
        "edited entries at θ0",
        ("edit, scores", "entries", "mean magnitude μ", "standard deviation σ"),
        [
            (
                name,
                f"{model.chosen.count:,}",
                f"{model.chosen.mean_magnitude:.3e}",
                f"{model.chosen.std:.3e}",
            )
            for name, model in zip(names, result.models, strict=True)
        ],
    )
    if request.plot is not None:
        from talos_cli.plots import draw_ratios

        draw_ratios(request.tasks, result.models, request.plot, force=shared.force)
    text = result.path or "\n".join(f"{model.mean_ratio:.6f}" for model in result.models)
    plot = None if request.plot is None else str(request.plot)
    terminal.result(text, {**result.metrics, "plot": plot})
