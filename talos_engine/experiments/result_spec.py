"""What a kind of result is, and the measurements that it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from talos_engine.errors import CorruptFileError, OptionError, RecipeError
from talos_engine.experiments.measures import Counts
from talos_engine.experiments.paper import PaperTable
from talos_engine.experiments.template import format_value
from talos_engine.registry import Registry


@dataclass(frozen=True)
class Source:
    """A file that a step has made, or should have.

    Args:
        path: Relative to the run folder.
        variables: Of the step.
        inputs: Variables of what made each of the step's inputs, by path.
        content: The file's JSON, a list of objects for JSON lines; ``None`` where it is missing.
    """

    path: str
    variables: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]
    content: Any | None


@dataclass(frozen=True)
class Given:
    """What a kind computes from.

    Args:
        sources: By role.
        paper: The paper's numbers that go beside.
    """

    sources: Mapping[str, Sequence[Source]]
    paper: PaperTable = field(default_factory=lambda: PaperTable("", ""))

    def present(self, role: str) -> list[Source]:
        """Sources of a role whose files are there."""
        return [it for it in self.sources.get(role, ()) if it.content is not None]

    def missing_notes(self) -> list[str]:
        """A sentence for every file that is not there."""
        return [
            f"{source.path} is missing; what it would tell is not in here"
            for sources in self.sources.values()
            for source in sources
            if source.content is None
        ]


@dataclass(frozen=True)
class ResultKind:
    """A way to compute a result.

    Args:
        roles: Sources that it needs.
        optional: Sources that it can use.
        config: Frozen dataclass of its options.
        run: The function.
    """

    roles: tuple[str, ...]
    optional: tuple[str, ...]
    config: type[Any]
    run: Callable[[Any, Given], dict[str, Any]]

    def check(self, roles: Iterable[str], options: Mapping[str, Any], where: str) -> Any:
        """The configuration, once roles and options are found to be what the kind takes.

        Raises:
            RecipeError: they are not.
        """
        given = set(roles)
        for role in sorted(given - {*self.roles, *self.optional}):
            raise RecipeError(
                f"{where}: this kind has no source {role!r}",
                f"it takes {', '.join((*self.roles, *self.optional))}",
            )
        for role in self.roles:
            if role not in given:
                raise RecipeError(f"{where}: source {role!r} is missing")
        known = {item.name for item in dataclasses.fields(self.config)}
        for name in options:
            if name not in known:
                told = ", ".join(sorted(known)) or "none"
                raise RecipeError(f"{where} options: there is no {name!r}", f"known: {told}")
        try:
            return self.config(**options)
        except (OptionError, TypeError) as error:
            raise RecipeError(f"{where} options: {error}") from None


RESULTS: Registry[ResultKind] = Registry("kind of result", "talos_engine.experiments.results")


@dataclass(frozen=True)
class Record:
    """Accuracies of one model.

    Args:
        variables: Of the step that evaluated, and of the one that made the model.
        tasks: Accuracy, correct and n by task.
        bounds: What ``--bound`` measured by task; empty without it.
    """

    variables: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]
    bounds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def accuracy(self, task: str) -> float:
        """Accuracy on a task, a share."""
        return float(self.tasks[task]["accuracy"])

    def counts(self, task: str) -> Counts:
        """Correct and total on a task."""
        return int(self.tasks[task]["correct"]), int(self.tasks[task]["n"])


def evaluations(sources: Iterable[Source]) -> list[Record]:
    """A record per model of files that ``talos evaluate`` wrote, however it was asked to batch.

    Raises:
        CorruptFileError: a file holds something else.
    """
    found = []
    for source in sources:
        if source.content is None:
            continue
        try:
            for result in source.content["results"]:
                own = result["input"]
                made = {} if own is None else source.inputs.get(own["path"], {})
                bounds = result.get("bounds", {})
                found.append(Record({**made, **source.variables}, result["tasks"], bounds))
        except (KeyError, TypeError) as error:
            raise CorruptFileError(f"{source.path}: no result of evaluate: {error}") from None
    return found


def key_of(variables: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...] | None:
    """Values of some variables as texts, ``None`` where one is not among them."""
    if any(name not in variables for name in names):
        return None
    return tuple(format_value(variables[name]) for name in names)
