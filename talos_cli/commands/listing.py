"""``talos tasks`` and ``talos models``: what there is, and what is available right now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from talos_cli.options import Shared, command


@command(computes=False, writes=False, data=("data", "task_file"))
def tasks(*, shared: Shared) -> None:
    """List the tasks: name, classes, examples, whether their data is here, where it comes from.

    With --task-file and --data TASK=PATH also those that are declared or given there, checked.
    """
    from talos_engine.data.finding import list_tasks

    found = list_tasks()
    here = {spec.name: spec.available() for spec in found}
    lines = [
        f"{spec.name:<11} {spec.kind:<6} {_classes(spec.class_names)}  {_sizes(spec.sizes):>18}  "
        f"{'available' if here[spec.name] else 'missing  '}  {spec.source:<28}  "
        f"{spec.description}{' (control)' if spec.control else ''}"
        for spec in found
    ]
    values = [
        {
            "name": spec.name,
            "kind": spec.kind,
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


def _classes(names: Sequence[str]) -> str:
    """How many classes; answers that differ from example to example are none."""
    return f"{len(names):>4} classes" if names else "own answers "


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
    """List the models: name, weights, kind of examples, whether they are here."""
    from talos_engine.models.clip_models import list_weights
    from talos_engine.models.hub_folder import NEWEST
    from talos_engine.models.names import T5_NAMES
    from talos_engine.models.spec import IMAGES, MODELS, TEXTS
    from talos_engine.models.t5_models import find_cached

    values = [
        {
            "name": spec.name,
            "pretrained": spec.pretrained,
            "takes": spec.kind,
            "available": True,
            "description": spec.description,
        }
        for spec in map(MODELS.get, MODELS.names())
    ] + [
        {
            "name": known.name,
            "pretrained": known.tag,
            "takes": IMAGES,
            "available": known.here,
            "description": f"open_clip, {known.source}",
        }
        for known in list_weights(everything=everything)
    ]
    values += [
        {
            "name": name,
            "pretrained": NEWEST,
            "takes": TEXTS,
            "available": find_cached(repo) is not None,
            "description": f"T5, {repo} on the Hugging Face Hub",
        }
        for name, repo in T5_NAMES.items()
    ]
    widths = {key: max(len(str(value[key])) for value in values) for key in ("name", "pretrained")}
    lines = [
        f"{value['name']:<{widths['name']}}  {value['pretrained']:<{widths['pretrained']}}  "
        f"{value['takes']:<6}  "
        f"{'available' if value['available'] else 'missing  '}  {value['description']}"
        for value in values
    ]
    shared.terminal.result("\n".join(lines), {"models": values})
