"""Whether files fit the base at hand and each other: hashes, shapes, kind of evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from talos_engine.artifacts import (
    LINEARIZED,
    BaseInfo,
    Header,
    Mask,
    TensorSpec,
    common_evaluation,
)
from talos_engine.errors import MismatchError
from talos_engine.merging.spec import VectorSource
from talos_engine.models.loading import OpenBase
from talos_engine.models.spec import BaseWeights
from talos_engine.models.structure import EncoderStructure
from talos_engine.training.spec import FinetuneEntry


def check_base(weights: BaseWeights | OpenBase, base: BaseInfo, path: Path) -> BaseInfo:
    """The identity among the weights' own that an artifact was made for.

    Weights that are not read yet are only read where what they record does not tell.

    Raises:
        MismatchError: it was made for another base; prints both hashes.
    """
    found = weights.matching(base.hash)
    if found is None:
        info = _read(weights).info
        raise MismatchError(
            f"{path} was made for another base: it records {base.name} {base.hash[:12]}, "
            f"the model given is {info.name} {info.hash[:12]}",
            "pass the model it was made from with --model",
        )
    check_architecture(found, base, path)
    return found


def check_architecture(found: BaseInfo, base: BaseInfo, path: Path) -> None:
    """Raise unless a model at hand has the architecture that an artifact records.

    Raises:
        MismatchError: it has another; the first difference is named.
    """
    differs = _first_difference(base.architecture, found.architecture)
    if differs:
        raise MismatchError(
            f"{path} was made for these weights in another architecture: {differs}",
            "leave out --model, or name the weights as when it was made, as --pretrained TAG=FILE",
        )


def _read(weights: BaseWeights | OpenBase) -> BaseWeights:
    return weights.weights if isinstance(weights, OpenBase) else weights


def _first_difference(
    recorded: Mapping[str, Any], given: Mapping[str, Any], place: str = ""
) -> str:
    """Where two configurations differ, such as in their activation; empty if they do not."""
    for key in sorted(recorded.keys() | given.keys()):
        one, other = recorded.get(key), given.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            differs = _first_difference(one, other, f"{place}{key}.")
            if differs:
                return differs
        elif (one or False) != (other or False):  # what is left out is off
            return f"it records {place}{key} = {one}, the model given has {other}"
    return ""


def check_flags(
    method: FinetuneEntry,
    options: Mapping[str, Any],
    structure: EncoderStructure,
    mask: Mask | None,
    path: Path | None,
) -> None:
    """Raise, without weights, unless a method can train this encoder under these options.

    Args:
        method: The fine-tuning method.
        options: Its options by name.
        structure: The encoder's parameters.
        mask: The mask that was given, if any.
        path: Its file.

    Raises:
        OptionError: the mask is missing, surplus, empty or of another rule, or an option too large.
        MismatchError: the mask names other parameters than the encoder has.
    """
    try:
        method.run(method.configure(options), structure, mask)
    except MismatchError as error:
        if mask is None:
            raise
        base = mask.header.base
        raise MismatchError(
            f"{path} was made for another base, {base.name} {base.hash[:12]}: {error.message}",
            "pass the model it was made from with --model",
        ) from error


def check_single_base(weights: BaseWeights, base: BaseInfo, path: Path) -> None:
    """Raise unless ``θ0 + τ`` of this file is a single-task model of exactly these weights.

    Raises:
        MismatchError: the weights were edited since, so the sum would be no single-task model.
    """
    if weights.info.hash != base.hash:
        raise MismatchError(
            f"normalizing needs the base that {path} was made from, not an edited model",
            f"--model {base.name}",
        )


def check_same_base(paths: Sequence[Path], bases: Sequence[BaseInfo]) -> None:
    """Raise unless all files record one base.

    Raises:
        MismatchError: two do not; both are named with their hashes.
    """
    first = bases[0]
    for path, base in zip(paths[1:], bases[1:], strict=True):
        if base.hash != first.hash:
            raise MismatchError(
                f"{paths[0]} and {path} were made from different bases: "
                f"{first.name} {first.hash[:12]} and {base.name} {base.hash[:12]}"
            )


def check_entries(path: Path, vector: VectorSource, specs: Mapping[str, TensorSpec]) -> None:
    """Raise unless every tensor that the vector lists is the model's, in shape and dtype.

    Reads no tensor.

    Raises:
        MismatchError: one is not; it is named.
    """
    dtypes = vector.dtypes
    for name, shape in vector.shapes.items():
        if name not in specs:
            raise MismatchError(f"{path} changes {name!r}, which the model does not have")
        found, expected = TensorSpec(dtypes[name], tuple(shape)), specs[name]
        if found != expected:
            raise MismatchError(
                f"{path}: {name!r} is {found.dtype} of shape {found.shape}, "
                f"in the model it is {expected.dtype} of shape {expected.shape}"
            )


def check_encoder_only(names: Iterable[str], structure: EncoderStructure, what: str) -> None:
    """Raise if any of these tensors lies outside the encoder.

    Accuracies are measured with the base's own head, so such an edit would be measured wrong.

    Raises:
        MismatchError: one does; it is named.
    """
    outside = sorted(set(names) - set(structure.trainable))
    if outside:
        raise MismatchError(
            f"{what} changes {outside[0]!r}, which is outside the encoder",
            "only edits of the encoder can be evaluated or searched",
        )


def vectors_evaluation(
    paths: Sequence[Path], headers: Sequence[Header], weights: BaseWeights | OpenBase
) -> str:
    """How what is made of these vectors must be evaluated: ``plain`` or ``linearized``.

    Args:
        paths: Files of the vectors, at least one, all of one base.
        headers: Their headers.
        weights: What they are applied to; only read for vectors of linearized models.

    Raises:
        MismatchError: they are of both kinds, or linearized and of another base than the weights.
    """
    evaluation = common_evaluation(dict(zip(paths, headers, strict=True)))
    if evaluation == LINEARIZED:
        check_expansion_point(_read(weights), headers[0].base, paths[0])
    return evaluation


def check_expansion_point(weights: BaseWeights, base: BaseInfo, path: Path) -> None:
    """Raise unless a linearization at these weights is one at the base of this file.

    Raises:
        MismatchError: the weights were edited since.
    """
    if weights.info.hash != base.hash:
        raise MismatchError(
            f"{path} is evaluated linearized at the base it was made from, not at an edited model",
            f"--model {base.name}",
        )
