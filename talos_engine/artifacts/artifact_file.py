"""The step from a safetensors file to a file that has one of our headers, and back.

Which tensors each kind holds is told in the module of that kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from talos_engine.artifacts.container import TensorFile, TensorSpec
from talos_engine.artifacts.container_writer import write_tensors
from talos_engine.artifacts.files import StrPath, open_regular
from talos_engine.artifacts.header import NOUNS, Header, encode_header, parse_header
from talos_engine.artifacts.metrics import read_metrics
from talos_engine.artifacts.strict_json import JSON
from talos_engine.artifacts.tensor_folder import open_tensors
from talos_engine.errors import CorruptFileError, WrongKindError


def open_artifact(path: StrPath, expected: str) -> tuple[TensorFile, Header, dict[str, JSON]]:
    """Open artifact of kind ``expected``: its file, header and the kind's unchecked layout fields.

    The caller closes the file.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is damaged.
        WrongKindError: it is something else.
    """
    if _looks_like_json(path) and inspect_kind(path) == "metrics":
        raise WrongKindError(f"{path} is a metrics file, {NOUNS[expected]} was expected")
    file = open_tensors(path)
    try:
        header, layout = parse_header(file.metadata, path, expected)
    except BaseException:
        file.close()
        raise
    return file, header, layout


def write_artifact(
    path: StrPath,
    header: Header,
    kind: str,
    tensors: Mapping[str, TensorSpec],
    get: Callable[[str], torch.Tensor],
    layout: Mapping[str, JSON],
    *,
    force: bool,
    companions: Callable[[], object] | None = None,
) -> None:
    """Write an artifact.

    Args:
        path: Target file.
        header: Its header.
        kind: What it is; must be the header's kind.
        tensors: Dtype and shape of every tensor.
        get: Gives the tensor of a name.
        layout: The kind's further header fields.
        force: Whether an existing file is replaced.
        companions: See ``write_tensors``.

    Raises:
        ValueError: the header is that of another kind.
        OutputError: the file cannot be written.
    """
    if header.kind != kind:
        raise ValueError(f"{NOUNS[kind]} cannot have the header of {NOUNS[header.kind]}")
    metadata = encode_header(header, layout)
    write_tensors(path, tensors, get, metadata, force=force, companions=companions)


def refuse_layout(path: StrPath, layout: Mapping[str, JSON], known: set[str]) -> None:
    """Check that a header has just the further fields that its kind has.

    Raises:
        CorruptFileError: one is missing or unknown.
    """
    if set(layout) != known:
        wrong = sorted(set(layout) ^ known)
        raise CorruptFileError(f"{path}: missing or unknown header fields {wrong}"[:500])


def inspect_kind(path: StrPath) -> str:
    """Kind of the file at ``path``: mask, checkpoint, vector, scores, metrics, or tensors.

    ``tensors`` is a safetensors file without our header. No tensor is read.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is none of these, or damaged.
        WrongKindError: it has a newer schema, or is JSON of another program.
    """
    if _looks_like_json(path):
        read_metrics(path)
        return "metrics"
    with open_tensors(path) as file:
        if "talos" not in file.metadata:
            return "tensors"
        return parse_header(file.metadata, path)[0].kind


def read_header(path: StrPath) -> Header | None:
    """Header of the artifact at ``path``, whatever its kind; ``None`` where it has none of ours.

    Metrics have none, nor have plain safetensors files. No tensor is read.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is damaged.
        WrongKindError: it has a newer schema, or is JSON of another program.
    """
    kind = inspect_kind(path)
    if kind not in NOUNS:
        return None
    file, header, _ = open_artifact(path, kind)
    file.close()
    return header


def _looks_like_json(path: StrPath) -> bool:
    """Whether the file starts as JSON; as a header length this would be beyond the limit."""
    if Path(path).is_dir():
        return False
    file, _ = open_regular(path)
    with file:
        start = file.read(8)
    return start.startswith(b"{") and any(start[4:])
