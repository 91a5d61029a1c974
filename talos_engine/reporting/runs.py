"""What is recorded of a recipe: ``run.json``, and ``records/HASH.json`` of each in the folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talos_engine.reporting.fields import Fields, read_fields

SCHEMA = 1
DONE, FAILED, PENDING = "done", "failed", "pending"
STATES = (DONE, FAILED, PENDING)


@dataclass(frozen=True)
class RunStep:
    """A command of a run.

    Args:
        id: Its name.
        group: The part of the recipe that it comes from.
        state: ``done``, ``failed`` or ``pending``.
        command: Its words in one line.
        seconds: How long it took, where it ran.
        exit_code: How it ended, where it ran.
        key: Content address.
        log: Where its standard error is, relative to the folder; may be empty.
        outputs: Files that it writes, relative to the folder.
    """

    id: str
    group: str
    state: str
    command: str
    seconds: float | None
    exit_code: int | None
    key: str
    log: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class RecordedRun:
    """A recipe with its settings, and how far its steps were.

    Args:
        name: Of the recipe.
        title: For people.
        description: For people.
        hash: Of all that the recipe says; empty where it is not known.
        engine: Version of talos.
        settings: Values of its settings; ``None`` where they are not recorded.
        environment: Versions and hardware; ``None`` where they are not recorded.
        steps: In order.
    """

    name: str
    title: str
    description: str
    hash: str
    engine: str
    settings: Fields | None
    environment: Fields | None
    steps: Sequence[RunStep]
    results: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The model that its settings name; empty for none or several."""
        return named_model(self.settings)


def named_model(settings: Fields | None) -> str:
    """The model that settings name; empty for none or several."""
    return settings.text("model") if settings is not None and settings.is_text("model") else ""


def read_recorded(path: Path) -> RecordedRun:
    """What a file says of a run.

    Raises:
        ArtifactError: it is missing or malformed.
    """
    fields = read_fields(path, SCHEMA)
    return RecordedRun(
        fields.text("name", ""),
        fields.text("title", ""),
        fields.text("description", ""),
        fields.text("recipe_hash", ""),
        fields.text("engine", ""),
        fields.inner_or_none("settings"),
        fields.inner_or_none("environment"),
        [_step(step) for step in fields.objects("steps")],
        tuple(fields.texts("results")),
    )


def counted(steps: Sequence[RunStep]) -> str:
    """How many steps are in which state, in words."""
    counts = {state: sum(step.state == state for step in steps) for state in STATES}
    return ", ".join(
        f"{count} {state}" for state, count in counts.items() if count or state == DONE
    )


def _step(fields: Fields) -> RunStep:
    state = fields.choice("state", (*STATES, "started", "skipped"))
    if state is None:
        fields.fail("state", f"one of {', '.join(STATES)}")
    return RunStep(
        fields.text("id"),
        fields.text("group", ""),
        {"started": PENDING, "skipped": DONE}.get(state, state),
        " ".join(shlex.quote(word) for word in fields.texts("command")),
        fields.number_or_none("seconds"),
        None if "exit_code" not in fields else int(fields.number("exit_code")),
        fields.text("key", ""),
        fields.text("log", ""),
        tuple(fields.texts("outputs")),
    )
