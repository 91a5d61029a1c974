"""The folder of ``talos run``: its results, and how each of its steps ended."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from talos_engine.artifacts.files import open_regular
from talos_engine.errors import ArtifactError, CorruptFileError
from talos_engine.reporting.document import (
    Block,
    Document,
    Facts,
    Listing,
    Log,
    Remark,
    Section,
    Table,
)
from talos_engine.reporting.fields import Fields, clean_text, read_fields
from talos_engine.reporting.results import read_result

RUN_FILE = "run.json"
SCHEMA = 1
DONE, FAILED, PENDING = "done", "failed", "pending"
_STATES = (DONE, FAILED, PENDING)
_MOST_LOGS = 12
_LOG_BYTES = 8_000
_LOG_LINES = 25


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
    """

    id: str
    group: str
    state: str
    command: str
    seconds: float | None
    exit_code: int | None
    key: str
    log: str


def read_run(folder: Path) -> Document:
    """The report of a folder that has a ``run.json``.

    Args:
        folder: The folder.

    Raises:
        ArtifactError: a file of it is missing or malformed.
    """
    fields = read_fields(folder / RUN_FILE, SCHEMA)
    settings = fields.inner_or_none("settings")
    named = settings is not None and settings.is_text("model")
    model = settings.text("model") if settings is not None and named else ""
    steps = [_step(step) for step in fields.objects("steps")]
    results = _results(folder, model)
    state = _state_block(steps)
    facts = [
        ("model", model or "–"),
        ("steps", _counted(steps)),
        ("recipe", fields.text("name", "") or "–"),
        ("talos", fields.text("engine", "") or "–"),
    ]
    sections = []
    if state is not None:
        sections.append(Section("state", "Not finished", [state, *_trouble(folder, steps)]))
    sections += results or [
        Section("results", "Results", [Remark("The folder holds no results yet.", urgent=True)])
    ]
    sections.append(Section("provenance", "How it was made", _provenance(fields, steps)))
    title = fields.text("title", "") or fields.text("name", "") or folder.resolve().name
    return Document(title, fields.text("description", ""), facts, sections)


def _results(folder: Path, model: str) -> list[Section]:
    found = folder / "results"
    if not found.is_dir():
        return []
    blocks: list[tuple[str, Block]] = [
        (path.stem, read_result(path, folder, model))
        for path in sorted(found.glob("*.json"))
        if not path.name.startswith(".")
    ]
    blocks.sort(key=lambda named: not isinstance(named[1], Table))  # tables first, else by name
    return [
        Section(f"result-{number}", _title(block, name), [block])
        for number, (name, block) in enumerate(blocks, start=1)
    ]


def _title(block: Block, name: str) -> str:
    return getattr(block, "title", "") or clean_text(name)


def _step(fields: Fields) -> RunStep:
    state = fields.choice("state", (*_STATES, "started", "skipped"))
    if state is None:
        fields.fail("state", f"one of {', '.join(_STATES)}")
    return RunStep(
        fields.text("id"),
        fields.text("group", ""),
        {"started": PENDING, "skipped": DONE}.get(state, state),
        " ".join(shlex.quote(word) for word in fields.texts("command")),
        fields.number_or_none("seconds"),
        None if "exit_code" not in fields else int(fields.number("exit_code")),
        fields.text("key", ""),
        fields.text("log", ""),
    )


def _counted(steps: Sequence[RunStep]) -> str:
    counts = {state: sum(step.state == state for step in steps) for state in _STATES}
    return ", ".join(
        f"{count} {state}" for state, count in counts.items() if count or state == DONE
    )


def _state_block(steps: Sequence[RunStep]) -> Remark | None:
    if all(step.state == DONE for step in steps):
        return None
    return Remark(
        f"Of {len(steps)} steps {_counted(steps)}: tables and figures below may be incomplete.",
        urgent=True,
    )


def _trouble(folder: Path, steps: Sequence[RunStep]) -> list[Block]:
    """Failed steps with the end of their logs, and the names of those that did not run."""
    blocks: list[Block] = []
    failed = [step for step in steps if step.state == FAILED]
    if failed:
        rows = [[step.id, _shown(step.exit_code), step.command] for step in failed]
        blocks.append(
            Listing("Failed steps", ("step", "exit code", "command"), rows, code=frozenset({2}))
        )
    for step in failed[:_MOST_LOGS]:
        text = read_log(folder, step.log) if step.log else ""
        if text:
            blocks.append(Log(f"End of the log of {step.id}", text))
    if len(failed) > _MOST_LOGS:
        blocks.append(Remark(f"Logs of {len(failed) - _MOST_LOGS} more failed steps are left out."))
    pending = [step for step in steps if step.state == PENDING]
    if pending:
        listed = [[step.id, step.command] for step in pending]
        blocks.append(
            Listing(
                f"Pending steps ({len(pending)})",
                ("step", "command"),
                listed,
                folded=True,
                code=frozenset({1}),
            )
        )
    return blocks


def read_log(folder: Path, name: str) -> str:
    """The last lines of a log; a sentence where it cannot be read.

    Raises:
        CorruptFileError: its path leaves the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise CorruptFileError(f"{folder / RUN_FILE}: the log {name!r} is outside the folder")
    try:
        file, size = open_regular(path)
    except ArtifactError:
        return "The log cannot be read."
    with file:
        file.seek(max(0, size - _LOG_BYTES), os.SEEK_SET)
        data = file.read(_LOG_BYTES)
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").splitlines()
    return "\n".join(clean_text(line, lines=True) for line in lines[-_LOG_LINES:])


def _provenance(fields: Fields, steps: Sequence[RunStep]) -> list[Block]:
    blocks: list[Block] = [
        Facts(
            "Recipe",
            [
                ("name", fields.text("name", "") or "–"),
                ("hash of the recipe", fields.text("recipe_hash", "") or "–"),
                ("engine", fields.text("engine", "") or "–"),
            ],
        )
    ]
    titles: Mapping[str, str] = {"environment": "Machine and versions", "settings": "Settings"}
    for key, title in titles.items():
        inner = fields.inner_or_none(key)
        if inner is not None:
            blocks.append(Facts(title, _told(inner)))
    groups: dict[str, list[RunStep]] = {}
    for step in steps:
        groups.setdefault(step.group, []).append(step)
    if steps:
        blocks.append(
            Listing(
                "Steps by group",
                ("group", "steps", "seconds"),
                [
                    [group or "–", _counted(own), _seconds(sum(s.seconds or 0.0 for s in own))]
                    for group, own in groups.items()
                ],
            )
        )
        blocks.append(
            Listing(
                f"All commands ({len(steps)})",
                ("step", "state", "seconds", "command", "key"),
                [
                    [step.id, step.state, _seconds(step.seconds), step.command, step.key[:12]]
                    for step in steps
                ],
                folded=True,
                code=frozenset({3, 4}),
            )
        )
    return blocks


def _told(fields: Fields) -> list[tuple[str, str]]:
    return [
        (name.removesuffix("_bytes"), f"{int(value) / 2**30:.1f} GiB")
        if name.endswith("_bytes") and value.isdigit()
        else (name, value)
        for name, value in fields.shown()
    ]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _shown(value: int | None) -> str:
    return "–" if value is None else str(value)
