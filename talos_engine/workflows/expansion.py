"""Which models are evaluated linearized, and whether that can be done with the base at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from talos_engine.artifacts import LINEARIZED, BaseInfo, Header, common_evaluation
from talos_engine.errors import MismatchError
from talos_engine.models.spec import BaseWeights


def vectors_evaluation(
    paths: Sequence[Path], headers: Sequence[Header], weights: BaseWeights
) -> str:
    """How what is made of these vectors must be evaluated: ``plain`` or ``linearized``.

    Args:
        paths: Files of the vectors, at least one, all of one base.
        headers: Their headers.
        weights: What they are applied to.

    Raises:
        MismatchError: they are of both kinds, or linearized and of another base than the weights.
    """
    evaluation = common_evaluation(dict(zip(paths, headers, strict=True)))
    if evaluation == LINEARIZED:
        check_expansion_point(weights, headers[0].base, paths[0])
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
