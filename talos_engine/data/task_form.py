"""What tasks declared in TOML have in common, whatever the kind of their examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from talos_engine.data.source import Source
from talos_engine.data.spec import OWN_SPLIT, TEST_SPLIT, TRAIN_SPLIT, TaskSpec

VALIDATIONS = (TRAIN_SPLIT, OWN_SPLIT, TEST_SPLIT)


@dataclass(frozen=True)
class Declaration(ABC):
    """A task as TOML declares it.

    Args:
        name: Name on the command line.
        source: Where its examples come from.
        description: One line for ``talos tasks``.
        control: Whether it is meant as the control of a negation.
        sizes: Number of examples by split.
        validation: Where validation examples come from, see ``TaskSpec``; empty: from a split of
            their own where the source has one, else from the training split.
    """

    name: str
    source: Source
    description: str = ""
    control: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict)
    validation: str = ""

    @abstractmethod
    def spec(self) -> TaskSpec:
        """The task; its source is opened only where it must say what the classes are."""

    def of_catalog(self) -> Declaration:
        """The same as a task that ships with the package."""
        return self

    def common(self) -> dict[str, Any]:
        """The fields of the task that do not depend on the kind of its examples."""
        validation = self.validation or (OWN_SPLIT if self.source.val else TRAIN_SPLIT)
        if validation == OWN_SPLIT and not self.source.val:
            validation = TRAIN_SPLIT  # other data were given, which have no such split
        return {
            "name": self.name,
            "description": self.description or self.source.describe(),
            "available": self.source.available,
            "control": self.control,
            "source": self.source.describe(),
            "sizes": self.sizes,
            "require": lambda: self.source.require(self.name),
            "validation": validation,
        }


@dataclass(frozen=True)
class TaskForm:
    """How tasks with one kind of examples are declared.

    Args:
        keys: Types of the keys that only such tasks have, by name.
        make: From what all tasks have, the values of those keys, lists as tuples of texts, and the
            file, for messages, to the declaration.
    """

    keys: Mapping[str, tuple[type, ...]]
    make: Callable[[Mapping[str, Any], Mapping[str, Any], str], Declaration]
