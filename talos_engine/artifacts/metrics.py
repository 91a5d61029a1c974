"""Results of evaluations and searches, as JSON for people, plots and other programs.

Only what all of them share is checked here; the numbers are the affair of whoever measures them.
"""

from __future__ import annotations

from collections.abc import Mapping

from talos_engine.artifacts.files import StrPath
from talos_engine.artifacts.strict_json import JSON, read_json, write_json
from talos_engine.errors import CorruptFileError, OutputError, WrongKindError

METRICS_SCHEMA = 1


def write_metrics(path: StrPath, metrics: Mapping[str, JSON], *, force: bool) -> None:
    """Write a metrics file; equal metrics give equal bytes.

    Args:
        path: Target file.
        metrics: Plain JSON with ``command``, the name of the command that measured it. ``schema``
            is added.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: ``metrics`` has no command or holds NaN, Inf or something that is not JSON,
            or the file cannot be written.
    """
    content = {**metrics, "schema": METRICS_SCHEMA}
    if not isinstance(content.get("command"), str):
        raise OutputError(f"cannot write {path}: the metrics do not name their command")
    write_json(path, content, force=force)


def read_metrics(path: StrPath) -> dict[str, JSON]:
    """Metrics stored at ``path``, with ``schema`` and ``command``; the rest is not checked.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: not strict JSON, or the schema is not a positive integer.
        WrongKindError: JSON that is not ours, or of a newer schema.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"schema", "command"} <= set(content):
        raise WrongKindError(f"{path} is JSON, but not a metrics file")
    schema = content["schema"]
    if type(schema) is not int or schema < 1 or not isinstance(content["command"], str):
        raise CorruptFileError(f"{path}: schema or command of the metrics is malformed")
    if schema > METRICS_SCHEMA:
        raise WrongKindError(
            f"{path} has metrics schema {schema}, this version of talos reads up to "
            f"{METRICS_SCHEMA}",
            "upgrade talos",
        )
    return content
