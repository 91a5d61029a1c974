"""What ``add`` and ``negate`` share: the search options, the merged checkpoint and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.artifacts import (
    PLAIN,
    BaseInfo,
    Checkpoint,
    Header,
    check_output,
    file_hash,
    write_checkpoint,
    write_metrics,
)
from talos_engine.evaluation.editing import SearchResult
from talos_engine.models.spec import BaseWeights
from talos_engine.workflows.opening import Common


@dataclass(frozen=True)
class EditResult:
    """What was written.

    Args:
        path: The edited checkpoint.
        coefs: The coefficient of each vector, in the order given.
        search: The search and its curve, where one was made.
        report: The file holding the curve, where one was made.
    """

    path: Path
    coefs: tuple[float, ...]
    search: SearchResult | None = None
    report: Path | None = None


def report_path(out: Path) -> Path:
    """Where the search report of an edited checkpoint goes: ``NAME.search.json`` beside it."""
    return out.with_name(out.name.removesuffix(".safetensors") + ".search.json")


def check_edit_outputs(out: Path, common: Common, *, search: bool) -> None:
    """Raise before any work if the result could not be written.

    Raises:
        OutputError: it could not.
    """
    check_output(out, force=common.force)
    if search:
        check_output(report_path(out), force=common.force)


def write_edited(
    out: Path,
    weights: BaseWeights,
    base: BaseInfo,
    changed: Mapping[str, Tensor],
    *,
    method: str,
    config: Mapping[str, Any],
    common: Common,
    evaluation: str = PLAIN,
) -> None:
    """Write θ0 with some tensors replaced, as a checkpoint that open_clip loads by itself."""
    header = Header(
        kind="checkpoint",
        base=base,
        method=method,
        task="",
        config={**config, "mask": None, "evaluation": evaluation},
        seed=0,  # edits draw nothing
        data="",
    )
    tensors = {**weights.tensors, **changed}
    write_checkpoint(out, Checkpoint(header, tensors), force=common.force)


def write_search_report(
    out: Path,
    command: str,
    vectors: list[Path],
    search: SearchResult,
    settings: Mapping[str, Any],
    common: Common,
) -> Path:
    """Write the whole validation curve beside the checkpoint-to-be; its path.

    The checkpoint itself comes last: where it is, the curve is too.
    """
    path = report_path(out)
    write_metrics(
        path,
        {
            "schema": 1,
            "command": command,
            "split": "val",
            "inputs": [{"path": str(vector), "sha256": file_hash(vector)} for vector in vectors],
            **settings,
            **common.recorded(),
            "coef": search.chosen.coef,
            "objective": search.chosen.objective,
            "reference": dict(search.reference),
            "curve": [
                {
                    "coef": point.coef,
                    "accuracy": dict(point.accuracy),
                    "objective": point.objective,
                    "feasible": point.feasible,
                }
                for point in search.curve
            ],
        },
        force=common.force,
    )
    return path
