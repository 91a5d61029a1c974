"""One step: a command, its words and files, what it waits for; paths are relative to the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True)
class ChosenWord:
    """A word that is known once a ``choose`` step is done.

    Args:
        path: The file that holds it.
        example: One of the values that it can take, for checks made before.
    """

    path: str
    example: str


@dataclass(frozen=True)
class ExternalWord:
    """A word that is the path of something outside the run folder.

    Args:
        path: Absolute.
    """

    path: str


Word: TypeAlias = "str | ChosenWord | ExternalWord"


@dataclass(frozen=True)
class Take:
    """An output of the step that has the value chosen, to be copied.

    Args:
        out: Where it is copied to.
        candidates: A file or folder for each value, with the variables of what made each.
    """

    out: str
    candidates: tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Choice:
    """What a ``choose`` step compares.

    Args:
        variable: The variable whose value is chosen.
        reports: Search reports of negations, with the variables of what made each.
        takes: What is taken over from the steps with the value chosen.
    """

    variable: str
    reports: tuple[tuple[str, Mapping[str, Any]], ...]
    takes: tuple[Take, ...] = ()


@dataclass(frozen=True)
class Step:
    """A command to run once.

    Args:
        id: Unique name, also that of its log.
        group: The ``[steps.NAME]`` that it comes from.
        stem: Path of its outputs up to their endings.
        variables: Values of its variables.
        command: A talos command such as ``mask union``, or ``choose``.
        words: What follows the command.
        inputs: Outputs of other steps that it reads, with the variables of what made each.
        outputs: Files that it writes, by the name under which a recipe refers to them.
        needs: Ids of the steps that must be done before.
        exclusive: Whether nothing may run beside it.
        choice: Of a ``choose`` step, what it compares.
    """

    id: str
    group: str
    stem: str
    variables: Mapping[str, Any]
    command: str
    words: tuple[Word, ...]
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, str]
    needs: frozenset[str] = field(default_factory=frozenset)
    exclusive: bool = False
    choice: Choice | None = None

    def shown(self) -> list[str]:
        """The whole command line, with a place where a word is chosen later."""
        return ["talos", *self.command.split(), *(_show(word) for word in self.words)]

    def trial(self) -> list[str]:
        """Words to check before anything runs: a possible value stands for a chosen one."""
        return [
            *self.command.split(),
            *(word.example if isinstance(word, ChosenWord) else _show(word) for word in self.words),
        ]


def _show(word: Word) -> str:
    if isinstance(word, ChosenWord):
        return f"<chosen in {word.path}>"
    return word.path if isinstance(word, ExternalWord) else word
