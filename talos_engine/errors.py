"""The exception tree of the engine.

Every failure that a user can cause or mend is a ``TalosError``; anything else that escapes is a
bug. The engine only raises; ``talos_cli.errors`` turns these into one short message and an
exit code.

::

    TalosError
    ├── OptionError        an option has a value outside its range, or options contradict each other
    ├── UnknownNameError   no task, model or method of that name
    ├── ArtifactError      a file cannot be read as what it should be
    │   ├── CorruptFileError    truncated, damaged or hostile content
    │   ├── WrongKindError      a readable file of another kind or a newer schema
    │   └── MismatchError       keys, shapes, dtypes or base hash disagree
    ├── OutputError        the result cannot be written (exists already, no space, no folder)
    ├── DataError          a task's data cannot be had or is malformed
    ├── ModelError         a model's weights cannot be had, or talos cannot run such a model
    ├── DeviceError        the device asked for is not there, or ran out of memory
    ├── TrainingError      the optimization broke down (non-finite loss)
    ├── RecipeError        a recipe says what cannot be meant
    └── StepError          a step of a recipe failed
"""

from __future__ import annotations


class TalosError(Exception):
    """Base of every error that the user can cause or mend.

    Args:
        message: What happened and where, in one sentence.
        hint: How to mend it, in one sentence; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[type[TalosError], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class OptionError(TalosError):
    """An option has a value outside its range, or options contradict each other."""


class UnknownNameError(TalosError):
    """No task, model or method of that name."""


class ArtifactError(TalosError):
    """A file cannot be read as what it should be."""


class CorruptFileError(ArtifactError):
    """Truncated, damaged or hostile content."""


class WrongKindError(ArtifactError):
    """A readable file of another kind, or of a newer schema."""


class MismatchError(ArtifactError):
    """Keys, shapes, dtypes or base hash disagree."""


class OutputError(TalosError):
    """The result cannot be written."""


class DataError(TalosError):
    """A task's data cannot be had, or is malformed."""


class ModelError(TalosError):
    """A model's weights cannot be had, or talos cannot run a model of its kind."""


class DeviceError(TalosError):
    """The device asked for is not there, or ran out of memory."""


class TrainingError(TalosError):
    """The optimization broke down, for instance by a non-finite loss."""


class RecipeError(TalosError):
    """A recipe says what cannot be meant."""


class StepError(TalosError):
    """A step of a recipe failed."""


def first_line(error: BaseException) -> str:
    """What an error of some library says, in one line."""
    return (str(error).strip() or type(error).__name__).split("\n")[0]
