"""``talos tasks`` and ``talos models``: what there is, and what is available right now."""

from __future__ import annotations

from collections.abc import Mapping

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
def models(*, shared: Shared) -> None:
    """List the models: name, weights, description."""
    from talos_engine.models.spec import MODELS

    found = [MODELS.get(name) for name in MODELS.names()]
    lines = [f"{spec.name:<10} {spec.pretrained:<9} {spec.description}" for spec in found]
    values = [
        {
            "name": spec.name,
            "pretrained": spec.pretrained,
            "available": True,
            "description": spec.description,
        }
        for spec in found
    ]
    shared.terminal.result("\n".join(lines), {"models": values})
