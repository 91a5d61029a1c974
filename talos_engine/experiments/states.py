"""How far each step is: one small file per step, written whole, so that a kill loses nothing.

A step is done while its key (command, content of its inputs, versions) is the one recorded and its
outputs hold what they held when it ended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from talos_engine.artifacts import read_json, write_json
from talos_engine.errors import ArtifactError
from talos_engine.experiments.content import ContentHashes, signature
from talos_engine.experiments.steps import ChosenWord, ExternalWord, Step, Word
from talos_engine.version import __version__

SCHEMA = 1
DONE, FAILED, STARTED = "done", "failed", "started"
FOLDER = ".state"
_COMPUTING = ("torch", "open_clip_torch", "transformers")  # what changes the numbers


@dataclass(frozen=True)
class StepState:
    """What is recorded of a step.

    Args:
        state: ``done``, ``failed``, or ``started`` where it was interrupted.
        key: Content address of the attempt.
        seconds: How long the last whole run of it took, ``None`` where none has ended well.
        exit_code: Of the last attempt that ended.
        outputs: Signature and hash of each output, by path.
    """

    state: str
    key: str
    seconds: float | None = None
    exit_code: int | None = None
    outputs: Mapping[str, tuple[str, str]] = ()  # type: ignore[assignment]


class StateFolder:
    """The records of a run folder.

    Args:
        folder: The run folder; it need not exist to be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hashes = ContentHashes()
        self._read: dict[str, StepState | None] = {}

    def get(self, step_id: str) -> StepState | None:
        """The record of a step; ``None`` where there is none that can be believed."""
        if step_id not in self._read:
            found = self._load(step_id)
            self._read[step_id] = found
            for path, (look, digest) in found.outputs.items() if found else ():
                self.hashes.remember(self.folder / path, look, digest)
        return self._read[step_id]

    def put(self, step_id: str, state: StepState) -> None:
        """Record the state of a step, atomically.

        Raises:
            OutputError: it cannot be written.
        """
        path = self._path(step_id)
        path.parent.mkdir(exist_ok=True)
        content = {
            "schema": SCHEMA,
            "state": state.state,
            "key": state.key,
            "seconds": state.seconds,
            "exit_code": state.exit_code,
            "outputs": {name: list(pair) for name, pair in dict(state.outputs).items()},
        }
        write_json(path, content, force=True)
        self._read[step_id] = state

    def key(self, step: Step) -> str:
        """Content address of a step: its command, what its inputs hold, the versions that compute.

        Raises:
            ArtifactError: an input is not there.
        """
        return step_key(
            step,
            {path: self.hashes.digest(self.folder / path) for path in step.inputs},
            {
                word.path: self.hashes.digest(Path(word.path))
                for word in step.words
                if isinstance(word, ExternalWord)
            },
        )

    def is_done(self, step: Step) -> bool:
        """Whether nothing is left to do for a step."""
        found = self.get(step.id)
        if found is None or found.state != DONE:
            return False
        if set(found.outputs) != set(step.outputs.values()):
            return False
        try:
            return found.key == self.key(step) and all(
                self.hashes.digest(self.folder / path) == digest
                for path, (_, digest) in found.outputs.items()
            )
        except ArtifactError:
            return False

    def outputs_of(self, step: Step) -> dict[str, tuple[str, str]]:
        """Signature and hash of each output of a step that has ended.

        Raises:
            ArtifactError: one is not there.
        """
        found = {}
        for path in step.outputs.values():
            look = signature(self.folder / path)
            found[path] = (look, self.hashes.digest(self.folder / path))
        return found

    def _path(self, step_id: str) -> Path:
        return self.folder / FOLDER / f"{step_id}.json"

    def _load(self, step_id: str) -> StepState | None:
        try:
            content = read_json(self._path(step_id))
            if content["schema"] != SCHEMA:
                return None
            return StepState(
                state=str(content["state"]),
                key=str(content["key"]),
                seconds=None if content["seconds"] is None else float(content["seconds"]),
                exit_code=content["exit_code"],
                outputs={
                    name: (str(look), str(digest))
                    for name, (look, digest) in content["outputs"].items()
                },
            )
        except (ArtifactError, KeyError, TypeError, ValueError, AttributeError):
            return None


def step_key(step: Step, inputs: Mapping[str, str], external: Mapping[str, str]) -> str:
    """SHA-256 over all that decides what a step makes, as hex digits.

    Args:
        step: The step.
        inputs: Hash of each input by its path.
        external: Hash of what lies outside the run folder, by its path, which itself does not
            count: the same data elsewhere are the same data.
    """

    def told(word: Word) -> Any:
        if isinstance(word, ChosenWord):
            return {"chosen": word.path}
        return {"content": external[word.path]} if isinstance(word, ExternalWord) else word

    content = {
        "schema": SCHEMA,
        "versions": identity(),
        "command": step.command,
        "words": [told(word) for word in step.words],
        "inputs": dict(inputs),
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def identity() -> dict[str, str]:
    """Versions of what computes: another one may give other bytes, so steps are made again."""
    return {"talos": __version__, **{package: _installed(package) for package in _COMPUTING}}


@cache
def _installed(package: str) -> str:
    """Its version; looking it up takes longer than all else about a step that is done."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
