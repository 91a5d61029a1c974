"""What every artifact says about itself: its kind, its base model and how it came to be.

The header travels as one JSON text under the key ``talos`` of the safetensors metadata. It holds
no time, path or thread count, so the same request gives the same bytes. Opening and writing files
is done elsewhere in this room.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from talos_engine.artifacts.files import StrPath
from talos_engine.artifacts.strict_json import JSON, compact_json, parse_json, plain_json
from talos_engine.errors import CorruptFileError, MismatchError, WrongKindError
from talos_engine.version import __version__

SCHEMA = 1
FORMAT = "pt"
NOUNS = {
    "mask": "a mask",
    "checkpoint": "a checkpoint",
    "vector": "a task vector",
    "scores": "a scores file",
    "resume": "the state of an unfinished run",
}
KINDS = tuple(NOUNS)

# Schema number -> function from a header's fields in that schema to those in the next one.
MIGRATIONS: dict[int, Callable[[dict[str, JSON]], dict[str, JSON]]] = {}

_HASH = re.compile(r"[0-9a-f]{64}")
_TEXT_LIMITS = {"engine": 64, "method": 128, "task": 256, "data": 256}
_BASE_LIMITS = {"name": 512, "pretrained": 512}
_FIELDS = {"kind", "schema", "engine", "base", "method", "task", "config", "seed", "data"}


@dataclass(frozen=True)
class BaseInfo:
    """The pre-trained model that an artifact belongs to.

    Args:
        name: Model name, at most 512 printable characters.
        pretrained: Tag of its weights, at most 512 printable characters; may be empty.
        architecture: Configuration as plain JSON.
        hash: ``hash_tensors`` of the whole base, 64 lower-case hex digits.

    Raises:
        ValueError: a field is none of that.
    """

    name: str
    pretrained: str
    architecture: dict[str, JSON]
    hash: str

    def __post_init__(self) -> None:
        """Check every field."""
        for field, limit in _BASE_LIMITS.items():
            _check_text(getattr(self, field), f"base.{field}", limit)
        if not isinstance(self.hash, str) or not _HASH.fullmatch(self.hash):
            raise ValueError("base.hash is not 64 lower-case hex digits")
        copy = _check_object(self.architecture, "base.architecture")
        object.__setattr__(self, "architecture", copy)


@dataclass(frozen=True)
class Header:
    """What an artifact says about itself.

    Args:
        kind: One of ``KINDS``.
        base: The pre-trained model it belongs to.
        method: Name of the method that made it.
        task: Name of the task; empty where there is none or several. No path separators.
        config: Resolved options that change tensors, as plain JSON; copied.
        seed: Seed of the run, in [-2**63, 2**64).
        data: Fingerprint of the data split; empty where no data was used.
        schema: Version of the format.
        engine: Version of the engine that wrote it.

    Raises:
        ValueError: a field is none of that.
    """

    kind: str
    base: BaseInfo
    method: str
    task: str
    config: dict[str, JSON]
    seed: int
    data: str
    schema: int = SCHEMA
    engine: str = __version__

    def __post_init__(self) -> None:
        """Check every field."""
        if self.kind not in KINDS:
            raise ValueError(f"kind is {str(self.kind)[:80]!r}, not one of {', '.join(KINDS)}")
        if not isinstance(self.base, BaseInfo):
            raise ValueError("base is not a BaseInfo")
        for field, limit in _TEXT_LIMITS.items():
            _check_text(getattr(self, field), field, limit)
        for field in ("task", "method"):  # these end up in file names
            if "/" in getattr(self, field) or "\\" in getattr(self, field):
                raise ValueError(f"{field} contains a path separator")
        if type(self.seed) is not int or not -(2**63) <= self.seed < 2**64:
            raise ValueError("seed is not a 64-bit integer")
        if type(self.schema) is not int or self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}, this version writes {SCHEMA}")
        object.__setattr__(self, "config", _check_object(self.config, "config"))


def _check_text(value: object, field: str, limit: int) -> None:
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise ValueError(f"{field} is not a printable text of at most {limit} characters")


def _check_object(value: object, field: str) -> dict[str, JSON]:
    plain = plain_json(value, field)
    if not isinstance(plain, dict):
        raise ValueError(f"{field} is not a JSON object")
    return plain


def encode_header(header: Header, layout: Mapping[str, JSON]) -> dict[str, str]:
    """Safetensors metadata for ``header``; equal headers give equal text.

    Args:
        header: The header.
        layout: More fields that this kind of artifact needs to be read back.
    """
    base = header.base
    fields = {
        "kind": header.kind,
        "schema": header.schema,
        "engine": header.engine,
        "base": {
            "name": base.name,
            "pretrained": base.pretrained,
            "architecture": base.architecture,
            "hash": base.hash,
        },
        "method": header.method,
        "task": header.task,
        "config": header.config,
        "seed": header.seed,
        "data": header.data,
        **layout,
    }
    return {"format": FORMAT, "talos": compact_json(fields)}


def parse_header(
    metadata: Mapping[str, str], path: StrPath, expected: str | None = None
) -> tuple[Header, dict[str, JSON]]:
    """Header stored in safetensors metadata, and the kind's further fields, not yet checked.

    Args:
        metadata: Metadata of an untrusted file.
        path: That file, for messages.
        expected: The kind it should be; None takes any.

    Raises:
        WrongKindError: not an artifact of ours, one of another kind or of a newer schema.
        CorruptFileError: a field is missing, unknown or malformed.
    """
    if "talos" not in metadata:
        noun = NOUNS[expected] if expected else "an artifact"
        raise WrongKindError(
            f"{path} is a safetensors file without a talos header, {noun} was expected"
        )
    extra = set(metadata) - {"talos", "format"}
    if extra or metadata.get("format", FORMAT) != FORMAT:
        raise CorruptFileError(f"{path}: unexpected metadata beside the talos header")
    fields = parse_json(metadata["talos"].encode("utf-8", "replace"), path, "the talos header")
    if not isinstance(fields, dict):
        raise CorruptFileError(f"{path}: the talos header is not a JSON object")
    fields = _migrate(fields, path)
    missing = sorted(_FIELDS - set(fields))
    if missing:
        raise CorruptFileError(f"{path}: the talos header lacks {', '.join(missing)}")
    kind = fields["kind"]
    if expected is not None and isinstance(kind, str) and kind in KINDS and kind != expected:
        raise WrongKindError(f"{path} is {NOUNS[kind]}, {NOUNS[expected]} was expected")
    layout = {key: fields.pop(key) for key in sorted(set(fields) - _FIELDS)}
    base = fields.pop("base")
    if not isinstance(base, dict) or set(base) != {"name", "pretrained", "architecture", "hash"}:
        raise CorruptFileError(f"{path}: field base of the talos header is malformed")
    try:
        return Header(base=BaseInfo(**base), **fields), layout
    except ValueError as error:
        raise CorruptFileError(f"{path}: in the talos header, {error}") from error


def _migrate(fields: dict[str, JSON], path: StrPath) -> dict[str, JSON]:
    schema = fields.get("schema")
    if type(schema) is not int:
        raise CorruptFileError(f"{path}: field schema of the talos header is not an integer")
    if schema > SCHEMA:
        raise WrongKindError(
            f"{path} has schema {schema}, this version of talos reads up to {SCHEMA}",
            "upgrade talos",
        )
    while schema < SCHEMA:
        if schema not in MIGRATIONS:
            raise CorruptFileError(f"{path}: there is no schema {schema}")
        fields = {**MIGRATIONS[schema](fields), "schema": schema + 1}
        schema += 1
    return fields


def check_base(header: Header, base_hash: str, path: StrPath, what: str) -> None:
    """Check that an artifact belongs to the base model at hand.

    Args:
        header: The artifact's header.
        base_hash: ``hash_tensors`` of the base at hand.
        path: The artifact's file, for messages.
        what: What the artifact is, for messages (``"mask"``).

    Raises:
        MismatchError: it was made from another base; both hashes are named.
    """
    if header.base.hash != base_hash:
        raise MismatchError(
            f"the {what} {path} was made from another base model: its base "
            f"{header.base.name!r} {header.base.pretrained!r} has hash {header.base.hash}, "
            f"the base at hand has {base_hash}",
            "give the base model that it was made from",
        )
