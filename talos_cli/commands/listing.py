"""``talos tasks`` and ``talos models``: what there is, and what is available right now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from talos_cli.options import Shared, command


@command(computes=False, writes=False)
def tasks(*, shared: Shared) -> None:
    """List the tasks: name, classes, examples, whether their data is here, where it comes from."""
    from talos_engine.data.finding import list_tasks

    found = list_tasks()
    here = {spec.name: spec.available() for spec in found}
    lines = [
        f"{spec.name:<10} {len(spec.class_names):>4} classes  {_sizes(spec.sizes):>18}  "
        f"{'available' if here[spec.name] else 'missing  '}  {spec.source:<28}  "
        f"{spec.description}{' (control)' if spec.control else ''}"
        for spec in found
    ]
    values = [
        {
            "name": spec.name,
            "classes": list(spec.class_names),
            "available": here[spec.name],
            "control": spec.control,
            "description": spec.description,
            "source": spec.source,
            "sizes": dict(spec.sizes),
        }
        for spec in found
    ]
    shared.terminal.result("\n".join(lines), {"tasks": values})


def _sizes(sizes: Mapping[str, int]) -> str:
    """Examples of training and test, as ``3,760 + 1,880``."""
    return " + ".join(f"{sizes[split]:,}" for split in ("train", "test") if split in sizes)


@command(computes=False, writes=False)
def models(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All weights that open_clip publishes, not a few.")
    ] = False,
    shared: Shared,
) -> None:
    """List the models: name, weights, whether they are here; OpenAI's ViTs and what is cached."""
    from talos_engine.models.clip_models import list_weights
    from talos_engine.models.spec import MODELS

    values = [
        {
            "name": spec.name,
            "pretrained": spec.pretrained,
            "available": True,
            "description": spec.description,
        }
        for spec in map(MODELS.get, MODELS.names())
    ] + [
        {
            "name": known.name,
            "pretrained": known.tag,
            "available": known.here,
            "description": f"open_clip, {known.source}",
        }
        for known in list_weights(everything=everything)
    ]
    widths = {key: max(len(str(value[key])) for value in values) for key in ("name", "pretrained")}
    lines = [
        f"{value['name']:<{widths['name']}}  {value['pretrained']:<{widths['pretrained']}}  "
        f"{'available' if value['available'] else 'missing  '}  {value['description']}"
        for value in values
    ]
    shared.terminal.result("\n".join(lines), {"models": values})
