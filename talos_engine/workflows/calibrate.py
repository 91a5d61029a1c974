"""``talos calibrate``: a mask of the entries that may train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talos_engine.artifacts import (
    Header,
    Mask,
    Scores,
    check_output,
    write_mask,
    write_scores,
)
from talos_engine.configuration import check_fraction
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import OptionError
from talos_engine.inspection.tally import count_by_kind
from talos_engine.masking.spec import MASK_RULES, MaskContext, MaskEntry, MaskResult
from talos_engine.models.loading import check_model_name, load_weights
from talos_engine.models.structure import EncoderStructure
from talos_engine.progress import Progress, silent
from talos_engine.workflows.opening import Common, Session, open_session


@dataclass(frozen=True)
class CalibrateRequest:
    """What to calibrate.

    Args:
        model: Catalog name or checkpoint path.
        task: Task whose validation split is used.
        sparsity: Fraction of the maskable entries, those excluded apart, to freeze, in [0, 1).
        out: The mask file to write.
        method: Name of the mask rule.
        options: Options of that rule by name; ``None`` means not given.
        exclude: Glob patterns of parameters that are never selected.
        save_scores: Where to write the first round's scores, if anywhere.
        common: Seed, device, precision, overwriting.
    """

    model: str
    task: str
    sparsity: float
    out: Path
    method: str = "talos"
    options: Mapping[str, Any] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    save_scores: Path | None = None
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class CalibrateResult:
    """What was calibrated.

    Args:
        path: The mask file.
        live: Number of trainable entries.
        total: Number of maskable entries.
        live_by_kind: Trainable and maskable entries of each kind of parameter.
        notes: Facts such as how many examples were used.
    """

    path: Path
    live: int
    total: int
    live_by_kind: Mapping[str, tuple[int, int]]
    notes: Mapping[str, int]


def calibrate(request: CalibrateRequest, progress: Progress = silent) -> CalibrateResult:
    """A mask file for one task (Alg. 1 of arXiv:2504.02620 with the default rule).

    Raises:
        OptionError: an option outside its range.
        UnknownNameError: no such model, task or rule.
        OutputError: the result cannot be written.
    """
    method, config = check_calibrate(request)
    spec = find_task(request.task)
    runtime = request.common.runtime()
    session = open_session(load_weights(request.model), runtime)
    structure = session.backbone.structure
    examples = load_split(spec, "val")
    state = session.backbone.encoder_state()
    context = MaskContext(
        theta0={name: state[name] for name in structure.maskable},
        candidates=structure.candidates(request.exclude),
        zero_scores=shift_invariant_entries(structure),
        sparsity=request.sparsity,
        seed=request.common.seed,
        load_model=lambda: session.classifier(request.task),
        load_inputs=lambda: session.prepare(examples),
        runtime=runtime,
        progress=progress,
    )
    result = method.run(config, context)
    header = _header(request, config, session, examples.fingerprint, "mask")
    _write(request, header, result, structure)
    total = sum(flags.numel() for flags in result.live.values())
    live = sum(int(flags.sum()) for flags in result.live.values())
    return CalibrateResult(
        request.out, live, total, count_by_kind(structure, result.live), dict(result.notes)
    )


def check_calibrate(request: CalibrateRequest) -> tuple[MaskEntry, Any]:
    """The mask rule and its configuration, everything that needs no weights being checked."""
    check_fraction("sparsity", request.sparsity, below_one=True)
    method = MASK_RULES.get(request.method)
    config = method.configure(request.options)
    check_model_name(request.model)
    find_task(request.task)
    request.common.runtime()
    for path in (request.out, request.save_scores):
        if path is not None:
            check_output(path, force=request.common.force)
    if request.common.dtype != "float32":
        raise OptionError("calibration computes in float32", "leave out --dtype")
    if request.save_scores is not None and not method.has_scores:
        raise OptionError(f"method {request.method!r} has no scores to save")
    if request.save_scores is not None and request.save_scores == request.out:
        raise OptionError("--save-scores and --out name the same file")
    return method, config


def shift_invariant_entries(structure: EncoderStructure) -> dict[str, Tensor]:
    """Flags of the entries that cannot change any output, such as key biases."""
    flags: dict[str, Tensor] = {}
    for group in structure.groups:
        if group.shift_invariant:
            shape = structure.shapes[group.name]
            chosen = flags.setdefault(group.name, torch.zeros(shape, dtype=torch.bool))
            chosen[group.start : group.stop] = True
    return flags


def _header(
    request: CalibrateRequest, config: Any, session: Session, fingerprint: str, kind: str
) -> Header:
    resolved = {
        **asdict(config),
        **request.common.recorded(),
        "sparsity": request.sparsity,
        "exclude": list(request.exclude),
    }
    return Header(
        kind=kind,
        base=session.weights.info,
        method=request.method,
        task=request.task,
        config=resolved,
        seed=request.common.seed,
        data=fingerprint,
    )


def _write(
    request: CalibrateRequest, header: Header, result: MaskResult, structure: EncoderStructure
) -> None:
    force = request.common.force
    shapes = {name: structure.shapes[name] for name in structure.maskable}
    live = {name: flags for name, flags in result.live.items() if bool(flags.any())}
    if request.save_scores is not None and result.scores is not None:
        tensors = {name: score.float() for name, score in result.scores.items()}
        scores_header = Header(**{**_fields(header), "kind": "scores"})
        write_scores(request.save_scores, Scores(scores_header, tensors), force=force)
    write_mask(request.out, Mask(header, live, shapes), force=force)


def _fields(header: Header) -> dict[str, Any]:
    return {name: getattr(header, name) for name in header.__dataclass_fields__}
