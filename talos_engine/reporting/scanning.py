"""The files of any folder that talos wrote into, sorted by what they are; none is believed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from talos_engine.artifacts import METRICS_SCHEMA, Header, inspect_kind, read_header
from talos_engine.artifacts.strict_json import read_json
from talos_engine.errors import ArtifactError, WrongKindError
from talos_engine.reporting.fields import Fields, clean_text

MOST_FILES = 5_000
_DEPTH = 8
_REPEAT = re.compile(r"(?:seed|run|repeat)[-_]?\d+")


@dataclass(frozen=True)
class MetricsFile:
    """A metrics file.

    Args:
        name: Path relative to the folder.
        command: The command that wrote it.
        fields: What it holds.
    """

    name: str
    command: str
    fields: Fields

    @property
    def stem(self) -> str:
        """Its name without folder and endings."""
        return Path(self.name).name.removesuffix(".json").removesuffix(".search")

    @property
    def repeated(self) -> str:
        """The same for files that differ in the number of their seed's folder only."""
        return "/".join(_REPEAT.sub("seed*", part) for part in Path(self.name).parts)


@dataclass(frozen=True)
class ArtifactFile:
    """A safetensors file.

    Args:
        name: Path relative to the folder.
        path: The file.
        kind: ``mask``, ``checkpoint``, ``vector``, ``scores``, ``resume`` or ``tensors``.
        header: What it says about itself; ``None`` for tensors that are not of this project.
    """

    name: str
    path: Path
    kind: str
    header: Header | None


@dataclass(frozen=True)
class Scan:
    """What a folder holds.

    Args:
        metrics: In the order of their names.
        artifacts: In the order of their names.
        others: Names of JSON files that talos did not write.
    """

    metrics: Sequence[MetricsFile] = ()
    artifacts: Sequence[ArtifactFile] = ()
    others: Sequence[str] = field(default=())


def scan_folder(folder: Path) -> Scan:
    """Look at every JSON and safetensors file of a folder; links are not followed.

    Raises:
        ArtifactError: it is no folder, holds too many files, or one of them is damaged.
    """
    metrics, artifacts, others = [], [], []
    for path in _files(folder):
        name = clean_text(path.relative_to(folder).as_posix())
        if path.suffix == ".safetensors":
            kind = inspect_kind(path)
            artifacts.append(ArtifactFile(name, path, kind, read_header(path)))
            continue
        found = _read_metrics(name, path)
        if found is None:
            others.append(name)
        else:
            metrics.append(found)
    return Scan(metrics, artifacts, others)


def group_repeats(files: Sequence[MetricsFile]) -> Mapping[str, list[MetricsFile]]:
    """Files by name, those of several seeds together."""
    groups: dict[str, list[MetricsFile]] = {}
    for file in files:
        groups.setdefault(file.repeated, []).append(file)
    return groups


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is no folder", "give the folder of a run")
    count = 0
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(n for n in folders if not n.startswith(".")) if depth < _DEPTH else []
        for name in sorted(names):
            path = Path(place) / name
            if name.startswith(".") or path.suffix not in (".json", ".safetensors"):
                continue
            if path.is_symlink():
                continue
            count += 1
            if count > MOST_FILES:
                raise ArtifactError(
                    f"{folder} holds more than {MOST_FILES} files",
                    "give the folder of one experiment",
                )
            yield path


def _read_metrics(name: str, path: Path) -> MetricsFile | None:
    content = read_json(path)
    if not isinstance(content, dict) or not {"schema", "command"} <= set(content):
        return None
    fields = Fields(path, content)
    schema = fields.count("schema")
    if schema > METRICS_SCHEMA:
        raise WrongKindError(
            f"{path} has metrics schema {schema}, this version of talos reads up to "
            f"{METRICS_SCHEMA}",
            "upgrade talos",
        )
    return MetricsFile(name, fields.text("command"), fields)
