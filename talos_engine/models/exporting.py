"""What a target of ``talos export`` is: a library, and what its folders are written with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from talos_engine.artifacts import TensorSpec, write_tensors
from talos_engine.errors import OptionError
from talos_engine.models.clip_architecture import is_config
from talos_engine.models.spec import Backbone, BaseWeights
from talos_engine.models.t5_architecture import is_t5_architecture
from talos_engine.registry import Registry

CLIP, T5 = "clip", "t5"


@dataclass(frozen=True)
class ExportSource:
    """What is exported.

    Args:
        weights: The whole model θ; what it records of itself is its base's where it was edited.
        backbone: The model holding them.
        base: θ0, for targets that store the difference.
    """

    weights: BaseWeights
    backbone: Backbone
    base: BaseWeights | None = None


Writer: TypeAlias = Callable[[ExportSource, Path], str]
"""Fills an empty folder; returns the Python expression that loads it, with ``FOLDER`` in it."""


@dataclass(frozen=True)
class ExporterEntry:
    """A target.

    Args:
        name: Its name, with ``-`` for ``_``.
        writers: By family of models, see ``find_writer``.
        needs_base: Whether it stores a difference from a base.
    """

    name: str
    writers: Mapping[str, Writer]
    needs_base: bool = False


EXPORTERS: Registry[ExporterEntry] = Registry("export target", "talos_engine.models.exporters")


def find_writer(entry: ExporterEntry, weights: BaseWeights) -> Writer:
    """What writes a model's folder for a target.

    Raises:
        OptionError: the target has none for models of this family.
    """
    architecture = weights.info.architecture
    family = CLIP if is_config(architecture) else T5 if is_t5_architecture(architecture) else ""
    if family not in entry.writers:
        target = entry.name.replace("-", "_")
        raise OptionError(f"{weights.info.name} cannot be exported to {target}")
    return entry.writers[family]


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as other libraries read them.

    Raises:
        OutputError: the file cannot be written.
    """
    specs = {name: TensorSpec(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    write_tensors(path, specs, tensors.__getitem__, {"format": "pt"}, force=False)
