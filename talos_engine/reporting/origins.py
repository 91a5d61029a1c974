"""Which recipe made a result, with which settings: several recipes may share a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from talos_engine.errors import CorruptFileError
from talos_engine.reporting.document import Block, Listing, Remark
from talos_engine.reporting.fields import Fields, read_fields
from talos_engine.reporting.results import SCHEMA
from talos_engine.reporting.runs import DONE, RecordedRun, RunStep, named_model, read_recorded

_KEY_SETTINGS = ("model", "seeds", "steps", "tasks", "methods", "max_examples")
_LONGEST_VALUE = 90


@dataclass(frozen=True)
class Origin:
    """What made a result.

    Args:
        recipe: Name of the recipe.
        title: Its title.
        hash: Of all that it says.
        engine: Version of talos.
        settings: Values of its settings.
        run: How its steps were when the result was written.
        steps: Ids of the steps that the result rests on.
        sources: Files that it was computed from.
    """

    recipe: str
    title: str
    hash: str
    engine: str
    settings: Fields | None
    run: RecordedRun
    steps: Sequence[str]
    sources: frozenset[str]

    @property
    def model(self) -> str:
        """The model that its settings name; empty for none or several."""
        return named_model(self.settings)


class Origins:
    """Finds what made the results of a folder; each record is read once.

    Args:
        folder: The run folder.
        newest: What its ``run.json`` says.
    """

    def __init__(self, folder: Path, newest: RecordedRun) -> None:
        self.folder = folder
        self.newest = newest
        self._records: dict[str, RecordedRun] = {}

    def of(self, path: Path) -> Origin | None:
        """What made the result in a file; ``None`` where nothing says so.

        Files of talos before 0.1.0 do not say; where they come from done steps of the newest run
        alone, it is that.

        Raises:
            ArtifactError: the file or the record that it names is missing or malformed.
        """
        fields = read_fields(path, SCHEMA)
        sources = frozenset(fields.texts("sources"))
        made = fields.inner_or_none("made")
        if made is None:
            run = self.newest
            own = {name for step in run.steps if step.state == DONE for name in step.outputs}
            if path.stem not in run.results or not sources or not sources <= own:
                return None
            ids = [step.id for step in run.steps if sources & set(step.outputs)]
            return Origin(
                run.name, run.title, run.hash, run.engine, run.settings, run, ids, sources
            )
        return Origin(
            made.text("recipe"),
            made.text("title", ""),
            made.text("recipe_hash", ""),
            made.text("engine", ""),
            made.inner_or_none("settings"),
            self._record(made),
            made.texts("steps"),
            sources,
        )

    def _record(self, made: Fields) -> RecordedRun:
        name = made.text("record")
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            made.fail("record", "a path inside the folder")
        if name not in self._records:
            self._records[name] = read_recorded(path)
        return self._records[name]


def told_of(origin: Origin | None, newest: RecordedRun) -> list[Block]:
    """What stands below a result: its recipe and settings, and the commands that measured it."""
    if origin is None:
        return [
            Remark(
                "Which recipe made this is not recorded: an earlier version of talos wrote it. "
                "The settings and commands on this page may be others.",
                urgent=True,
            )
        ]
    blocks: list[Block] = []
    other = _other_settings(origin, newest)
    if other:
        blocks.append(Remark(other, urgent=True))
    values = dict(origin.settings.shown()) if origin.settings is not None else {}
    named = [f"{name} {values[name]}" for name in _KEY_SETTINGS if name in values]
    title = f" (“{origin.title}”)" if origin.title not in ("", origin.recipe) else ""
    told = f": {'; '.join(named)}" if named else ""
    blocks.append(Remark(f"Made by the recipe {origin.recipe}{title}{told}. "
                         f"talos {origin.engine or 'of an unknown version'}."))  # fmt: skip
    measured = _measured(origin)
    if measured:
        blocks.append(
            Listing(
                f"Commands that measured it ({len(measured)}; it rests on {len(origin.steps)})",
                ("step", "command"),
                [[step.id, step.command] for step in measured],
                folded=True,
                code=frozenset({1}),
            )
        )
    return blocks


def _measured(origin: Origin) -> list[RunStep]:
    """The steps that wrote the files that a result was computed from."""
    known = {step.id: step for step in origin.run.steps}
    lacking = [name for name in origin.steps if name not in known]
    if lacking:
        raise CorruptFileError(f"the record of {origin.recipe} has no step {lacking[0]!r}")
    return [known[name] for name in origin.steps if origin.sources & set(known[name].outputs)]


def _other_settings(origin: Origin, newest: RecordedRun) -> str:
    """How a result's settings differ from those of the newest run; empty where they do not."""
    own, now = (
        dict(each.shown()) if each is not None else {}
        for each in (origin.settings, newest.settings)
    )
    told = differing(own, now)
    if told:
        return (
            f"Made with other settings than the newest run of this folder, {newest.name}: "
            f"{'; '.join(told)}."
        )
    if origin.recipe == newest.name and origin.hash != newest.hash:
        return (
            f"The recipe {origin.recipe} was another one when this was made: it has changed since."
        )
    return ""


def differing(own: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A text for each setting that both have and that differs."""
    told = []
    for name in own:
        if name in now and own[name] != now[name]:
            short = max(len(own[name]), len(now[name])) <= _LONGEST_VALUE
            told.append(f"{name} {own[name]} (there {now[name]})" if short else name)
    return told
