"""Which entries of which parameters may be trained.

How a mask is found is the affair of ``masking``; what frozen entries do to training is that of
``training``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from talos_engine.artifacts.artifact_file import open_artifact, refuse_layout, write_artifact
from talos_engine.artifacts.container import TensorFile, TensorSpec, check_memory, parse_shape
from talos_engine.artifacts.files import StrPath
from talos_engine.artifacts.header import Header
from talos_engine.artifacts.strict_json import JSON
from talos_engine.artifacts.tensors import pack_bits, unpack_bits
from talos_engine.errors import CorruptFileError, OutputError

_BITS = ".bits"


@dataclass(frozen=True, eq=False)
class Mask:
    """The live (trainable) entries of a model.

    Args:
        header: Of kind ``mask``; ``config["sparsity"]`` is the frozen fraction asked for, in
            [0, 1].
        live: Parameter name -> bool, the parameter's shape, True = trainable; only parameters
            with at least one live entry.
        shapes: Shape of **every** parameter that could have had live entries.
    """

    header: Header
    live: dict[str, torch.Tensor]
    shapes: dict[str, tuple[int, ...]]

    @property
    def live_count(self) -> int:
        """Number of live entries."""
        return sum(int(torch.count_nonzero(flags)) for flags in self.live.values())

    @property
    def total(self) -> int:
        """Number of maskable entries, live or frozen."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def sparsity(self) -> float:
        """Fraction of frozen entries that was asked for, in [0, 1]."""
        return float(self.header.config["sparsity"])


def write_mask(path: StrPath, mask: Mask, *, force: bool = False) -> None:
    """Write a mask; parameters without a live entry are left out.

    Args:
        path: Target file.
        mask: What is written.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: the mask contradicts itself, or the file cannot be written.
    """
    problem = _sparsity_problem(mask.header.config)
    specs = {}
    for name, flags in mask.live.items():
        shape = mask.shapes.get(name)
        if shape is None or flags.dtype != torch.bool or tuple(flags.shape) != tuple(shape):
            problem = f"tensor {name!r} is not bool in the shape {shape}"
        elif bool(flags.any()):
            specs[name + _BITS] = TensorSpec(torch.uint8, (-(-flags.numel() // 8),))
    if problem:
        raise OutputError(f"cannot write the mask {path}: {problem}")

    def get(key: str) -> torch.Tensor:
        return pack_bits(mask.live[key.removesuffix(_BITS)])

    layout = {"shapes": {name: list(shape) for name, shape in mask.shapes.items()}}
    write_artifact(path, mask.header, "mask", specs, get, layout, force=force)


class MaskFile:
    """An open mask whose tensors are read one at a time; a context manager.

    Args:
        file: The open container.
        header: The mask's header.
        shapes: Shape of every parameter that could have had live entries.
    """

    def __init__(
        self, file: TensorFile, header: Header, shapes: dict[str, tuple[int, ...]]
    ) -> None:
        """Made by ``open_mask``."""
        self.header = header
        self.shapes = shapes
        self._file = file

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters with live entries, sorted; no tensor is read."""
        return tuple(sorted(key.removesuffix(_BITS) for key in self._file.specs))

    def flags(self, name: str) -> torch.Tensor:
        """Live entries of parameter ``name``: bool, in its shape.

        Raises:
            KeyError: it has no live entry.
            CorruptFileError: its bytes are damaged.
            ArtifactError: this machine has not enough memory for it.
        """
        return _read_flags(self._file, name + _BITS, self.shapes[name])

    def read(self) -> Mask:
        """The whole mask.

        Raises:
            CorruptFileError: as in ``flags``.
            ArtifactError: as in ``flags``.
        """
        nbytes = sum(spec.nbytes for spec in self._file.specs.values())
        check_memory(8 * nbytes, str(self._file.path))
        return Mask(self.header, {name: self.flags(name) for name in self.names}, self.shapes)

    def close(self) -> None:
        """Close the file; tensors already read stay valid."""
        self._file.close()

    def __enter__(self) -> MaskFile:
        """The file itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()


def open_mask(path: StrPath) -> MaskFile:
    """Mask at ``path``, its header and keys checked and no tensor read yet.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is damaged or contradicts itself.
        WrongKindError: it is not a mask, or has a newer schema.
    """
    file, header, layout = open_artifact(path, "mask")
    try:
        refuse_layout(path, layout, {"shapes"})
        shapes = _parse_shapes(path, layout["shapes"])
        problem = _sparsity_problem(header.config)
        if problem:
            raise CorruptFileError(f"{path}: {problem}")
        for key in sorted(file.specs):
            name = key.removesuffix(_BITS)
            if name == key or name not in shapes:
                raise CorruptFileError(f"{path}: unexpected tensor {key[:80]!r}")
    except BaseException:
        file.close()
        raise
    return MaskFile(file, header, shapes)


def read_mask(path: StrPath) -> Mask:
    """Mask stored at ``path``; errors as in ``open_mask``.

    Raises:
        ArtifactError: there is no such file, it cannot be opened or does not fit into memory.
        CorruptFileError: it is damaged or contradicts itself.
        WrongKindError: it is not a mask, or has a newer schema.
    """
    with open_mask(path) as file:
        return file.read()


def _read_flags(file: TensorFile, key: str, shape: tuple[int, ...]) -> torch.Tensor:
    count = math.prod(shape)
    spec = file.specs[key]
    if spec != TensorSpec(torch.uint8, (-(-count // 8),)):
        raise CorruptFileError(
            f"{file.path}: tensor {key!r} is {spec.dtype} {spec.shape}, not the bits of {shape}"
        )
    try:
        flags = unpack_bits(file.get(key), count)
    except ValueError as error:
        raise CorruptFileError(f"{file.path}: in tensor {key!r}, {error}") from error
    if not bool(flags.any()):
        raise CorruptFileError(f"{file.path}: tensor {key!r} has no live entry")
    return flags.reshape(shape)


def _parse_shapes(path: StrPath, shapes: JSON) -> dict[str, tuple[int, ...]]:
    if not isinstance(shapes, dict):
        raise CorruptFileError(f"{path}: field shapes is not a JSON object")
    return {
        name: parse_shape(shape, f"{path}: parameter {name[:80]!r}")
        for name, shape in shapes.items()
    }


def _sparsity_problem(config: dict[str, JSON]) -> str:
    sparsity: JSON = config.get("sparsity")
    if type(sparsity) in (int, float) and 0.0 <= float(sparsity) <= 1.0:
        return ""
    return "config has no sparsity in [0, 1]"
