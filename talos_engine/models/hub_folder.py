"""A model's repository on the Hugging Face Hub as a folder: from the cache, or downloaded once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from talos_engine.errors import ArtifactError, ModelError, OptionError, first_line
from talos_engine.hub import hub_problem

NEWEST = "main"
TEXT_FILES = ("*.json", "*.model", "*.txt")


@dataclass(frozen=True)
class HubFolder:
    """A repository with a model.

    Args:
        repo: ``OWNER/NAME``.
        revision: A commit, tag or branch.
        config_file: Name of the configuration, without which it is no such model.
        find_weights: Gives a folder's weights of the model; raises where they are not all there.
        weights: Patterns of weights files, in the order in which they are wanted: the next ones
            are fetched only where those before are not there.
        own_copy: How the user names a copy of their own.
        embedded: The embedded model that could do instead.
        check: Raises where the configuration in a folder is of no such model; then no weights
            are fetched.
        settings: Files that are read with the configuration, where the repository has them, each
            with what happens without it.
    """

    repo: str
    revision: str
    config_file: str
    find_weights: Callable[[Path], object]
    weights: Sequence[str]
    own_copy: str
    embedded: str
    check: Callable[[Path], object] = lambda folder: None
    settings: Mapping[str, str] = field(default_factory=dict)

    def find(self) -> Path | None:
        """The folder in the cache that has configuration and weights; asks no network."""
        folder = self._find_configured()
        return folder if folder is not None and self.has_weights(folder) else None

    def has_weights(self, folder: Path) -> bool:
        """Whether a folder has all weights of the model."""
        try:
            self.find_weights(folder)
        except (ArtifactError, ModelError):
            return False
        return True

    def _find_configured(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        config = None
        with suppress(ValueError):  # a name that is none
            config = try_to_load_from_cache(self.repo, self.config_file, revision=self.revision)
        return Path(config).parent if isinstance(config, str) else None

    def require(self) -> None:
        """Raise unless the folder is in the cache or the hub answers.

        Raises:
            ModelError: it cannot be had; says why and the ways on.
        """
        problem = "" if self.find() is not None else hub_problem()
        if problem:
            raise self._missing(problem)

    def configured(self) -> Path:
        """The folder with the configuration; where it is not in the cache, no weights are fetched.

        Settings that it lacks are asked for at its own commit, until it is known whether they
        exist. Where that cannot be known, a model with weights is taken as it is, with a note.

        Raises:
            ModelError: it cannot be had, or is of no such model.
        """
        folder = self._find_configured()
        if folder is None:
            problem = hub_problem()
            if problem:
                raise self._missing(problem)
            folder = self._fetch(self.config_file)
        if not (folder / self.config_file).is_file():
            raise ModelError(
                f"the repository {self.repo} of the Hugging Face Hub has no {self.config_file}",
                "models of open_clip are named hf-hub:OWNER/NAME, those of transformers OWNER/NAME",
            )
        for name, without in self.settings.items():
            problem = self._ask_for(name, folder)
            if problem:
                if not hub_problem() and not self.has_weights(folder):
                    raise self._missing(problem)
                tell_once(
                    f"note: whether the repository {self.repo} has a {name} is not known, since "
                    f"it is not in the cache and {problem}; {without}"
                )
        self.check(folder)
        return folder

    def _ask_for(self, name: str, folder: Path) -> str:
        """Have a file of a cached folder's commit, or know that there is none; else why not."""
        from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        commit = folder.name
        known = try_to_load_from_cache(self.repo, name, revision=commit)
        if isinstance(known, str) or known is _CACHED_NO_EXIST:
            return ""
        problem = hub_problem()
        if problem:
            return problem
        try:
            hf_hub_download(self.repo, name, revision=commit)  # remembers also that there is none
        except Exception as error:  # of huggingface_hub or the network below
            absent = isinstance(error, EntryNotFoundError)
            if not absent or isinstance(error, LocalEntryNotFoundError):
                return f"downloading failed: {first_line(error)}"
        return ""

    def locate(self) -> Path:
        """The folder, downloaded where it is not in the cache: the weights after the rest.

        Raises:
            ModelError: it cannot be had, or is no such model.
        """
        cached = self.find()
        if cached is not None:
            return cached
        self.require()
        self.configured()
        first, *others = self.weights
        folder = self._fetch(self.config_file, *TEXT_FILES, first)
        for pattern in others:
            if self.has_weights(folder):
                break
            self._fetch(pattern)
        if not self.has_weights(folder):
            raise ModelError(
                f"the repository {self.repo} of the Hugging Face Hub has no weights that talos "
                f"reads: {', '.join(self.weights)}"
            )
        return folder

    def _fetch(self, *patterns: str) -> Path:
        from huggingface_hub import snapshot_download

        wanted = list(patterns)
        try:
            found = snapshot_download(self.repo, revision=self.revision, allow_patterns=wanted)
        except Exception as error:  # of huggingface_hub or the network below
            raise self._missing(f"downloading failed: {first_line(error)}") from error
        return Path(found)

    def _missing(self, reason: str) -> ModelError:
        at = "" if self.revision == NEWEST else f" at {self.revision}"
        return ModelError(
            f"the model {self.repo}{at} of the Hugging Face Hub is not on this machine, and "
            f"{reason}",
            f"three ways on: {self.own_copy}; a machine with network, or a copy of its cache "
            f"({cache_folder()}); --model {self.embedded}, shipped with talos",
        )


def check_revision(model: str, pretrained: str | None, folder: str) -> None:
    """Check that ``--pretrained`` of a repository is no path.

    Args:
        model: What ``--model`` names.
        pretrained: What ``--pretrained`` names.
        folder: What a folder must be to be given as ``--model``.

    Raises:
        OptionError: it is a path.
    """
    if pretrained is not None and Path(pretrained).expanduser().exists():
        raise OptionError(
            f"--pretrained of {model} is a revision of its repository, {pretrained} is a path",
            f"pass {folder} as --model FOLDER",
        )


def cache_folder() -> Path:
    """Where copies from the hub are kept."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


@cache
def tell_once(note: str) -> None:
    """Log a warning, on stderr unless the program has loggers, the first time it is given."""
    logging.getLogger(__name__).warning("%s", note)
