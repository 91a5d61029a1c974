"""How the results of a run folder were made: recipes, settings, machines and every command."""

from __future__ import annotations

from collections.abc import Sequence

from talos_engine.reporting.document import Block, Facts, Listing, Remark
from talos_engine.reporting.fields import Fields
from talos_engine.reporting.runs import RecordedRun, RunStep, counted

_DIGITS = 12  # of a hash that tell it from others


def provenance(runs: Sequence[RecordedRun]) -> list[Block]:
    """The newest run as a whole; of earlier recipes what differs from it; all commands once.

    Args:
        runs: The newest, then those that made other results of the folder.
    """
    newest, *others = runs
    blocks: list[Block] = [_recipe(newest, "Recipe" if not others else "Recipe of the newest run")]
    for title, inner in (
        ("Machine and versions", newest.environment),
        ("Settings", newest.settings),
    ):
        if inner is not None:
            blocks.append(Facts(title, _told(inner)))
    for number, run in enumerate(others, start=2):
        blocks += [_recipe(run, f"Recipe {number}"), *_differences(number, run, newest)]
    return [*blocks, *_commands(runs)]


def _recipe(run: RecordedRun, title: str) -> Facts:
    told = [("name", run.name or "–"), ("hash of the recipe", run.hash or "–")]
    return Facts(title, [*told, ("engine", run.engine or "–"), ("steps", counted(run.steps))])


def _differences(number: int, run: RecordedRun, newest: RecordedRun) -> list[Block]:
    blocks: list[Block] = []
    same = []
    for what, own, now in (
        ("machine and versions", run.environment, newest.environment),
        ("settings", run.settings, newest.settings),
    ):
        told = _told(own) if own is not None else []
        known = _told(now) if now is not None else []
        items = [item for item in told if item not in known]
        if items:
            title = f"Recipe {number}: {what} that the newest run does not have"
            blocks.append(Facts(title, items))
        else:
            same.append(what)
    if same:
        blocks.append(Remark(f"{' and '.join(same).capitalize()} as in the newest run."))
    return blocks


def _commands(runs: Sequence[RecordedRun]) -> list[Block]:
    """All commands of all recipes, those that are the same once."""
    steps: dict[tuple[str, str, str], RunStep] = {}
    numbers: dict[tuple[str, str, str], list[str]] = {}
    for number, run in enumerate(runs, start=1):
        for step in run.steps:
            key = step.id, step.command, step.key
            steps.setdefault(key, step)
            numbers.setdefault(key, []).append(str(number))
    if not steps:
        return []
    groups: dict[str, list[RunStep]] = {}
    for step in steps.values():
        groups.setdefault(step.group, []).append(step)
    several = len(runs) > 1
    header = ("step", "state", "seconds", "command", "key", *(["recipe"] if several else []))
    return [
        Listing(
            "Steps by group",
            ("group", "steps", "seconds"),
            [
                [group or "–", counted(own), _seconds(sum(s.seconds or 0.0 for s in own))]
                for group, own in groups.items()
            ],
        ),
        Listing(
            f"All commands ({len(steps)})",
            header,
            [
                [step.id, step.state, _seconds(step.seconds), step.command, step.key[:_DIGITS],
                 *([", ".join(numbers[key])] if several else [])]
                for key, step in steps.items()
            ],
            folded=True,
            code=frozenset({3, 4}),
        ),
    ]  # fmt: skip


def _told(fields: Fields) -> list[tuple[str, str]]:
    return [
        (name.removesuffix("_bytes"), f"{int(value) / 2**30:.1f} GiB")
        if name.endswith("_bytes") and value.isdigit()
        else (name, value)
        for name, value in fields.shown()
    ]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
