"""Source ``hub``: a dataset on the Hugging Face Hub, or its copy in the local cache.

Without network, or with ``HF_HUB_OFFLINE=1``, only the cached copy is used; nothing is tried
again and again. No code from the hub is ever run: ``datasets`` no longer has any.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talos_engine.data.source import SOURCE_KINDS, Source, SourceKind, Table, reading
from talos_engine.errors import DataError
from talos_engine.hub import hub_answers, hub_problem, is_offline

_FULL_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class HubSource(Source):
    """A dataset on the hub.

    Args:
        repo: ``OWNER/NAME``.
        config: Name of its configuration; empty for the default one.
        revision: The full commit to pin; empty for the newest. A tag or the beginning of a commit
            does only with network: copies in the cache have the full commit's name.
        image: Column of the images.
        label: Column of the labels.
        train: The hub's name of the training split.
        test: The hub's name of the test split.
        val: The validation split's name, where it has one of its own; empty: it has none.
    """

    repo: str
    config: str = ""
    revision: str = ""
    image: str = "image"
    label: str = "label"
    train: str = "train"
    test: str = "test"
    val: str = ""

    def open(self, split: str) -> Table:
        """One split, downloaded where it is not cached yet.

        Raises:
            DataError: it can be had neither from the cache nor from the hub.
        """
        import datasets

        self.require(self.repo)
        offline = self._offline()
        where = f"hub dataset {self.repo}"
        hint = "a gated one needs hf auth login; your own copy can be given with --data PATH"
        with reading(where, hint), _offline_mode(offline):
            if offline and self.revision:
                dataset = self._open_pinned(where, self.own_split(split))
            else:
                if not offline:
                    datasets.enable_progress_bars()  # a download may take long
                dataset = datasets.load_dataset(
                    self.repo,
                    self.config or None,
                    split=self.own_split(split),
                    revision=self.revision or None,
                )
        return Table(dataset, f"{where}, split {self.own_split(split)!r}", None)

    def _open_pinned(self, where: str, split: str) -> Any:
        """A split of the cached copy of the pinned revision.

        ``load_dataset`` without network takes the newest copy, of whatever revision.
        """
        from datasets.packaged_modules.cache.cache import Cache

        folders = {path.parent for path in self._copies()}
        configs = sorted({folder.parts[-3] for folder in folders})
        if len(configs) > 1:
            raise DataError(
                f"{where} lies in the cache with several configurations: {', '.join(configs)}",
                "say which with config = in the task's file",
            )
        *root, name, config, version, revision = max(
            folders, key=lambda folder: folder.stat().st_mtime
        ).parts
        return Cache(
            cache_dir=str(Path(*root)),
            repo_id=self.repo,
            dataset_name=name.rpartition("___")[2],
            config_name=config,
            version=version,
            hash=revision,
        ).as_dataset(split=split)

    def available(self) -> bool:
        """Whether a prepared copy lies in the cache of ``datasets``."""
        return next(self._copies(), None) is not None

    def _copies(self) -> Iterator[Path]:
        """Files of prepared copies in the cache: of the revision that is pinned, or of any."""
        owner, _, name = self.repo.rpartition("/")
        folder = cache_folder() / (f"{owner}___{name}" if owner else name)
        return folder.glob(f"{self.config or '*'}/*/{self.revision or '*'}/*.arrow")

    def _offline(self) -> bool:
        return is_offline() or not hub_answers()

    def require(self, task: str) -> None:
        """Raise unless the data is cached or the hub answers."""
        if self.available():
            return
        reason = hub_problem()
        if not reason:
            return
        pinned = f" at {self.revision}" if self.revision else ""
        named = ""
        if self.revision and not _FULL_COMMIT.fullmatch(self.revision):
            named = (
                "without network a revision must be the full commit, 40 digits of 0-9 and a-f, "
                "since copies in the cache have no other name; else "
            )
        raise DataError(
            f"the data of task {task!r} ({self.repo}{pinned} on the Hugging Face Hub) is not on "
            f"this machine, and {reason}",
            f"{named}three ways on: your own copy with --data PATH; a copy in the cache "
            f"({cache_folder()}), made once with network; an embedded task, see talos tasks",
        )

    def describe(self) -> str:
        """The repository."""
        return f"hub {self.repo}"


def cache_folder() -> Path:
    """Where ``datasets`` keeps prepared copies, found as it finds it but without importing it."""
    own = os.environ.get("HF_DATASETS_CACHE")
    if own:
        return Path(own).expanduser()
    general = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HOME") or general).expanduser() / "datasets"


@contextmanager
def _offline_mode(offline: bool) -> Iterator[None]:
    """Keep ``datasets`` from asking a hub that does not answer, five times with growing pauses."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


SOURCE_KINDS.register("hub")(SourceKind("hub", HubSource, lambda path: False, local=False))
