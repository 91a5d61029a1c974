"""``talos calibrate``: find the entries that a task may train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from talos_cli import options
from talos_cli.options import Shared, command
from talos_cli.render import Terminal, percent

if TYPE_CHECKING:
    from talos_engine.workflows.calibrate import CalibrateResult

SCOPES = ("global", "layer", "tensor")


@command()
def calibrate(
    *,
    model: options.Model,
    task: options.TaskName,
    sparsity: Annotated[
        str,
        typer.Option(
            help="Fraction of the maskable entries to freeze, in [0, 1). Several with commas make "
            "a mask each from one scoring pass; talos then needs --rounds 1.",
            metavar="K[,K …]",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            help="Mask rule.",
            metavar="|".join(options.MASK_RULES),
            autocompletion=options.complete("talos_engine.masking.rules"),
            callback=options.one_of("mask rule", options.MASK_RULES),
        ),
    ] = "talos",
    rounds: Annotated[
        int | None, typer.Option(help="talos: rounds over which sparsity grows.", show_default="4")
    ] = None,
    batches: Annotated[
        int | None, typer.Option(help="talos: batches scored per round.", show_default="10")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="talos, lota: examples per batch.", show_default="128; lota: model's"),
    ] = None,
    fisher: Annotated[
        str | None,
        typer.Option(
            help="talos: labels drawn from the model, all weighted by probability, or the data's.",
            metavar="mc|type-2|empirical",
            show_default="mc",
        ),
    ] = None,
    mc_samples: Annotated[
        int | None,
        typer.Option(help="talos: label draws per example, with --fisher mc.", show_default="1"),
    ] = None,
    soft_mask: Annotated[
        float | None,
        typer.Option(
            help="talos: what frozen entries are multiplied with in later rounds, in [0, 1].",
            show_default="0.01",
        ),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            help="talos: mean square (Eq. 7) or mean magnitude of the gradient.",
            metavar="square|abs",
            show_default="square",
        ),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(
            help="talos: examples in one forward and backward pass; less needs less memory.",
            show_default="64",
        ),
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing",
            help="talos: recompute activations in the backward pass; slower, less memory.",
            show_default="off",
        ),
    ] = None,
    lota_steps: Annotated[
        int | None, typer.Option(help="lota: steps of the dense run.", show_default="40")
    ] = None,
    lota_lr: Annotated[
        float | None,
        typer.Option(help="lota: peak learning rate of the dense run.", show_default="model's"),
    ] = None,
    magnitude_keep: Annotated[
        str | None,
        typer.Option(
            help="magnitude: which end of |θ0| trains.",
            metavar="lowest|highest",
            show_default="lowest",
        ),
    ] = None,
    scope: Annotated[
        str,
        typer.Option(
            help="Where entries compete: over everything, within each transformer block (what "
            "lies outside being one more), or within each tensor; counts are exact in each.",
            metavar="|".join(SCOPES),
            callback=options.one_of("scope", SCOPES),
        ),
    ] = "global",
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Never select parameters matching this pattern; '*in_proj_bias#k' names key "
            "biases. Repeatable."
        ),
    ] = None,
    save_scores: Annotated[
        Path | None,
        typer.Option(help="talos, magnitude: write the scores at θ0 to this file too."),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="talos: name the parameters that had to be scored one example at a time.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Mask file. '{sparsity}' in its name stands for the number; with several "
            "sparsities it must be there.",
            show_default="TASK.mask.safetensors, or TASK.{sparsity}.mask.safetensors",
        ),
    ] = None,
    shared: Shared,
) -> None:
    """Find the entries of a model that a task may train and write them as a mask."""
    from talos_engine.workflows.calibrate import PLACE, CalibrateRequest
    from talos_engine.workflows.calibrate import calibrate_each as run

    sparsities = _parse_numbers(sparsity)
    name = f"{task}.{PLACE}.mask.safetensors" if len(sparsities) > 1 else f"{task}.mask.safetensors"
    request = CalibrateRequest(
        model=model,
        task=task,
        sparsity=sparsities,
        out=out or Path(name),
        method=method,
        options={
            "rounds": rounds,
            "batches": batches,
            "batch_size": batch_size,
            "fisher": fisher,
            "mc_samples": mc_samples,
            "soft_mask": soft_mask,
            "score": score,
            "micro_batch": micro_batch,
            "gradient_checkpointing": gradient_checkpointing,
            "lota_steps": lota_steps,
            "lota_lr": lota_lr,
            "magnitude_keep": magnitude_keep,
        },
        scope=scope,
        exclude=tuple(exclude or ()),
        save_scores=save_scores,
        common=shared.common(),
    )
    terminal = shared.terminal
    if shared.dry_run:
        from talos_engine.workflows.planning import plan_calibrate

        terminal.plan(plan_calibrate(request))
        return
    with terminal.progress() as progress:
        results = run(request, progress)
    for result in results:
        _show(terminal, method, task, result)
    _note(terminal, results[0].notes)
    scored = "examples" in results[0].notes
    _note_slow(terminal, results[0].slow, scored=scored, verbose=verbose)
    masks = [_describe(result) for result in results]
    terminal.result(
        "\n".join(str(result.path) for result in results),
        {"masks": masks, **(masks[0] if len(masks) == 1 else {})},
    )


def _parse_numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a number, or several separated by commas",
            param_hint="'--sparsity'",
        ) from None


def _show(terminal: Terminal, method: str, task: str, result: CalibrateResult) -> None:
    terminal.table(
        f"{method} mask of {task}, sparsity {result.sparsity:g}: {result.live:,} of "
        f"{result.total:,} entries live",
        ("kind", "live", "of", "% of kind", "% of mask"),
        [
            (kind, f"{live:,}", f"{total:,}", percent(live / total), percent(live / result.live))
            for kind, (live, total) in result.live_by_kind.items()
        ],
    )
    if result.notes["live_zero_score"]:
        terminal.note(
            f"{result.notes['live_zero_score']:,} live entries are key biases, which change no "
            "output; --exclude '*in_proj_bias#k' leaves them out"
        )


def _note(terminal: Terminal, notes: Mapping[str, int]) -> None:
    if "examples" in notes:
        used, available = notes["examples"], notes["available_examples"]
        terminal.note(f"scored {used} of {available} validation examples per round")
    if "steps" in notes:
        terminal.note(
            f"fine-tuned densely for {notes['steps']} steps of {notes['batch_size']} training "
            "examples, then went back to θ0"
        )


def _note_slow(terminal: Terminal, names: Sequence[str], *, scored: bool, verbose: bool) -> None:
    if names:
        terminal.note(f"{len(names)} parameters were scored one example at a time, which is slow")
    if verbose and scored:
        told = "\n".join(f"  {name}" for name in names) or "  none"
        terminal.note(f"scored one example at a time:\n{told}")


def _describe(result: CalibrateResult) -> dict[str, Any]:
    return {
        "path": str(result.path),
        "sparsity": result.sparsity,
        "live": result.live,
        "total": result.total,
        "live_by_kind": {kind: live for kind, (live, _) in result.live_by_kind.items()},
        **result.notes,
        "scored_one_by_one": list(result.slow),
    }
