"""``talos tasks`` and ``talos models``: what there is, and what is available right now."""

from __future__ import annotations

from talos_cli.options import Shared, command


@command(computes=False, writes=False)
def tasks(*, shared: Shared) -> None:
    """List the tasks: name, classes, whether their data is here."""
    from talos_engine.data.spec import EMBEDDED_TASKS

    found = [EMBEDDED_TASKS.get(name) for name in EMBEDDED_TASKS.names()]
    lines = [
        f"{spec.name:<10} {len(spec.class_names):>3} classes  "
        f"{'available' if spec.available() else 'missing  '}  "
        f"{spec.description}{' (control)' if spec.control else ''}"
        for spec in found
    ]
    values = [
        {
            "name": spec.name,
            "classes": list(spec.class_names),
            "available": spec.available(),
            "control": spec.control,
            "description": spec.description,
        }
        for spec in found
    ]
    shared.terminal.result("\n".join(lines), {"tasks": values})


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
