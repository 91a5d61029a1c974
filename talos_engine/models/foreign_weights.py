"""Fine-tuned models as other tools write them, brought into the names and layouts of their base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from talos_engine.errors import UnknownNameError
from talos_engine.models.loading import find_spec
from talos_engine.models.spec import BaseWeights
from talos_engine.models.weight_files import fit_state, read_state, unwrap

_SHOWN = 2  # names in a note


@dataclass(frozen=True)
class ForeignModel:
    """A fine-tuned model that another tool wrote.

    Args:
        tensors: θ* by ``state_dict`` key of the base.
        notes: What people should know of them, a sentence each.
    """

    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()


def read_foreign(path: Path, base: BaseWeights) -> ForeignModel:
    """The model in a state dict of a base's architecture.

    Args:
        path: Safetensors, or a ``torch.save`` file of tensors; code in it never runs.
        base: θ0.

    Raises:
        ArtifactError: the file cannot be read as weights.
        MismatchError: names, shapes or kinds are not the base's, copies of tied weights differ, or
            a value is not finite.
    """
    found = unwrap(read_state(path), base.tensors)
    notes: tuple[str, ...] = ()
    try:
        adopt = find_spec(None, None, base.info).adopt
    except UnknownNameError:  # nothing but a checkpoint's tensors is known of it
        adopt = None
    if adopt is not None:
        found, notes = adopt(path, found, base.tensors)
    return keep_integers(base, fit_state(path, found, base.tensors), notes)


def keep_integers(
    base: BaseWeights, tensors: Mapping[str, Tensor], notes: tuple[str, ...] = ()
) -> ForeignModel:
    """The same with the integer tensors of the base: counters of BatchNorm, positions.

    They are no parameters, and a task vector has no part of them that could be scaled.

    Args:
        base: θ0.
        tensors: θ* by ``state_dict`` key.
        notes: What is known of it already.
    """
    changed = {
        name: value
        for name, value in base.tensors.items()
        if name in tensors and not value.is_floating_point() and not value.equal(tensors[name])
    }
    if changed:
        few = ", ".join(sorted(changed)[:_SHOWN]) + (", …" if len(changed) > _SHOWN else "")
        count = f"{len(changed)} integer buffer{'s' if len(changed) > 1 else ''}"
        notes = (*notes, f"{count} that training changed stay as in the base: {few}")
    return ForeignModel({**tensors, **changed}, notes)
