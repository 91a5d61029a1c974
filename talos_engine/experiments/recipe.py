"""What a recipe says, as read and not yet expanded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StepTable:
    """One ``[steps.NAME]``: a command, run once for each combination of its variables.

    Args:
        name: Its name, the group of the steps it becomes.
        source: File in which it stands.
        command: A talos command, or ``choose``.
        each: Values, or a template that gives them, by variable.
        left_out: Combinations that are not run, each a table of variables.
        arguments: Positional arguments, in order.
        options: By long name.
        suffix: Ending of its output's name; empty for the command's own.
        exclusive: Whether nothing else may run beside it, since it measures time.
    """

    name: str
    source: Path
    command: str
    each: Mapping[str, Any]
    left_out: Sequence[Mapping[str, Any]] = ()
    arguments: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""
    exclusive: bool = False

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.source}: [steps.{self.name}]"


@dataclass(frozen=True)
class ResultTable:
    """One ``[results.NAME]``: a table, curve or heatmap that is computed from metrics.

    Args:
        name: Its name.
        source: File in which it stands.
        kind: What computes it.
        title: Its title.
        caption: What a reader should know.
        each: One result for each combination of these variables.
        sources: References to steps, by role.
        options: Of the kind.
        paper: Where the paper's numbers are, ``table`` and ``model``.
    """

    name: str
    source: Path
    kind: str
    title: str
    caption: str = ""
    each: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.source}: [results.{self.name}]"


@dataclass(frozen=True)
class Recipe:
    """A recipe with all that it includes.

    Args:
        path: Its file.
        text: The bytes of that file.
        name: Its name.
        title: For people.
        description: For people.
        settings: Values that its tables share, changed by ``--set``.
        common: Options of every step that runs a model, by long name.
        steps: By name, those of included files too.
        results: By name, those of included files too.
        own: Names of the steps that its own file declares; the others run where they are needed.
        included: Other files that were read.
    """

    path: Path
    text: bytes
    name: str
    title: str
    description: str
    settings: Mapping[str, Any]
    common: Mapping[str, Any]
    steps: Mapping[str, StepTable]
    results: Mapping[str, ResultTable]
    own: frozenset[str]
    included: tuple[Path, ...]
