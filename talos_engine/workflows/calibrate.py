"""``talos calibrate``: a mask of the entries that may train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talos_engine.artifacts import (
    Header,
    Mask,
    Scores,
    check_distinct,
    check_output,
    write_mask,
    write_scores,
)
from talos_engine.configuration import check_choice, check_fraction, recorded_options
from talos_engine.data.splits import Split, find_task, load_split
from talos_engine.errors import OptionError
from talos_engine.inspection.tally import count_by_kind
from talos_engine.masking.selection import SCOPES, count_entries, rank_units
from talos_engine.masking.spec import MASK_RULES, MaskContext, MaskEntry, Ranking
from talos_engine.models.loading import find_spec, is_checkpoint_path, load_weights
from talos_engine.models.structure import EncoderStructure
from talos_engine.progress import Progress, silent
from talos_engine.workflows.opening import Common, Session, check_inputs, open_session

PLACE = "{sparsity}"


@dataclass(frozen=True)
class CalibrateRequest:
    """What to calibrate.

    Args:
        model: Catalog name or checkpoint path.
        task: Task whose examples are used, where the rule uses any.
        sparsity: Fraction of the maskable entries, those excluded apart, to freeze, in [0, 1); or
            several, for a mask each from one ranking.
        out: The mask file to write; ``{sparsity}`` in its name stands for the number, and must be
            there where several sparsities are given.
        method: Name of the mask rule.
        options: Options of that rule by name; ``None`` means not given.
        scope: Where entries compete: ``global``, ``layer`` or ``tensor``.
        exclude: Glob patterns of parameters that are never selected.
        save_scores: Where to write the first round's scores, if anywhere.
        common: Seed, device, precision, overwriting.
    """

    model: str
    task: str
    sparsity: float | tuple[float, ...]
    out: Path
    method: str = "talos"
    options: Mapping[str, Any] = field(default_factory=dict)
    scope: str = "global"
    exclude: tuple[str, ...] = ()
    save_scores: Path | None = None
    common: Common = field(default_factory=Common)

    @property
    def sparsities(self) -> tuple[float, ...]:
        """All sparsities asked for, in the order given."""
        return self.sparsity if isinstance(self.sparsity, tuple) else (self.sparsity,)

    def path(self, sparsity: float) -> Path:
        """The mask file of one of the sparsities."""
        number = repr(float(sparsity)).removesuffix(".0")
        return Path(str(self.out).replace(PLACE, number))


@dataclass(frozen=True)
class CalibrateResult:
    """What was calibrated.

    Args:
        path: The mask file.
        live: Number of trainable entries.
        total: Number of maskable entries.
        live_by_kind: Trainable and maskable entries of each kind of parameter.
        notes: Facts such as how many examples were used.
        sparsity: Fraction of the candidates that is frozen.
        slow: Names of parameters that had to be scored one example at a time.
    """

    path: Path
    live: int
    total: int
    live_by_kind: Mapping[str, tuple[int, int]]
    notes: Mapping[str, int]
    sparsity: float
    slow: tuple[str, ...] = ()


def calibrate(request: CalibrateRequest, progress: Progress = silent) -> CalibrateResult:
    """A mask file for one sparsity, with the entries of a model that a task may train.

    Raises:
        OptionError: an option outside its range, of another method, or contradicting another;
            several sparsities.
        UnknownNameError: no such model, task or method.
        OutputError: a result cannot be written.
        TrainingError: a gradient or a loss is not finite.
    """
    if len(request.sparsities) != 1:
        raise OptionError("one mask has one sparsity", "calibrate_each makes several masks")
    return calibrate_each(request, progress)[0]


def calibrate_each(
    request: CalibrateRequest, progress: Progress = silent
) -> tuple[CalibrateResult, ...]:
    """A mask file for each sparsity, all from one ranking, with the bytes of separate calls.

    Raises:
        OptionError: an option outside its range, of another method, or contradicting another.
        UnknownNameError: no such model, task or method.
        OutputError: a result cannot be written; masks written before are whole.
        TrainingError: a gradient or a loss is not finite.
    """
    rule, config = check_calibrate(request)
    session = open_session(
        load_weights(request.model, request.common.pretrained), request.common.runtime()
    )
    examples = load_split(find_task(request.task), rule.split) if rule.split else None
    context = make_context(session, rule, request, examples, progress)
    ranking = rule.run(config, context)
    header = Header(
        kind="mask",
        base=session.weights.info,
        method=request.method,
        task=request.task,
        config={
            **recorded_options(config),
            **ranking.settings,
            **request.common.recorded(),
            "exclude": list(request.exclude),
        },
        seed=request.common.seed,
        data=examples.fingerprint if examples is not None else "",
    )
    if request.save_scores is not None and ranking.saved is not None:
        tensors = {name: score.float() for name, score in ranking.saved.items()}
        scores = Scores(replace(header, kind="scores"), tensors)
        write_scores(request.save_scores, scores, force=request.common.force)
    structure = session.backbone.structure
    return tuple(
        _write(request, header, structure, context, ranking, sparsity)
        for sparsity in request.sparsities
    )


def check_calibrate(request: CalibrateRequest, *, weights: bool = True) -> tuple[MaskEntry, Any]:
    """The mask rule and its configuration, everything that needs no weights being checked.

    Args:
        request: What is asked for.
        weights: Whether the model's weights must be to be had.
    """
    for sparsity in request.sparsities:
        check_fraction("sparsity", sparsity, below_one=True)
    check_choice("scope", request.scope, SCOPES)
    rule = MASK_RULES.get(request.method)
    config = rule.configure(request.options)
    _check_several(request, rule, config)
    check_inputs(
        request.model,
        request.common,
        [request.task],
        weights=weights,
        data=bool(rule.split),
    )
    request.common.runtime()
    if request.common.dtype != "float32" and not rule.split:
        raise OptionError(f"method {request.method!r} runs no model", "leave out --dtype")
    if request.save_scores is not None and not rule.has_scores:
        raise OptionError(f"method {request.method!r} has no scores to save")
    masks = [request.path(sparsity) for sparsity in request.sparsities]
    inputs = [request.model] if is_checkpoint_path(request.model) else []
    for mask in masks:
        check_distinct({"--out": mask, "--save-scores": request.save_scores}, inputs)
    for path in (*masks, request.save_scores):
        if path is not None:
            check_output(path, force=request.common.force)
    return rule, config


def _check_several(request: CalibrateRequest, rule: MaskEntry, config: Any) -> None:
    sparsities = request.sparsities
    if not sparsities:
        raise OptionError("--sparsity needs at least one number")
    if len(sparsities) == 1:
        return
    if len(set(sparsities)) < len(sparsities):
        raise OptionError("--sparsity names a number twice")
    if not rule.one_pass(config):
        raise OptionError(
            f"several sparsities need a single scoring pass, method {request.method!r} in several "
            "rounds scores anew for each",
            "add --rounds 1, or give one sparsity per call",
        )
    if PLACE not in str(request.out):
        raise OptionError(
            f"--out {request.out} names one file for {len(sparsities)} masks",
            f"put {PLACE} into its name",
        )


def make_context(
    session: Session,
    rule: MaskEntry,
    request: CalibrateRequest,
    examples: Split | None = None,
    progress: Progress = silent,
) -> MaskContext:
    """What a mask rule may use, for a model at θ0.

    Args:
        session: The model.
        rule: Whose split is read, if it needs one.
        request: What is asked for; its checks have been made.
        examples: The rule's split, if it is loaded already.
        progress: Told how far the work is.

    Raises:
        OptionError: a pattern to exclude matches nothing, or everything is excluded.
    """
    structure = session.backbone.structure
    state = session.backbone.encoder_state()
    spec = find_task(request.task, needs_data=bool(rule.split))
    return MaskContext(
        theta0={name: state[name] for name in structure.maskable},
        candidates=structure.candidates(request.exclude),
        zero_scores=shift_invariant_entries(structure),
        sparsity=request.sparsities[0],
        seed=request.common.seed,
        load_model=lambda: session.classifier(request.task),
        load_inputs=lambda: session.prepare(examples or load_split(spec, rule.split)),
        units=rank_units(structure, request.scope),
        training=dense_defaults(request.model, request.common.pretrained),
        runtime=session.runtime,
        progress=progress,
    )


def dense_defaults(model: str, pretrained: str | None = None) -> dict[str, Any]:
    """A model's hyper-parameters for dense fine-tuning, by name of ``TrainConfig`` field.

    Args:
        model: What ``--model`` names.
        pretrained: What ``--pretrained`` says of its weights.
    """
    known = find_spec(model, pretrained).training_defaults
    return {**known[""], **known.get("nonlinear", {})}


def shift_invariant_entries(structure: EncoderStructure) -> dict[str, Tensor]:
    """Flags of the entries that cannot change any output, such as key biases."""
    flags: dict[str, Tensor] = {}
    for group in structure.groups:
        if group.shift_invariant:
            shape = structure.shapes[group.name]
            chosen = flags.setdefault(group.name, torch.zeros(shape, dtype=torch.bool))
            chosen[group.start : group.stop] = True
    return flags


def _write(
    request: CalibrateRequest,
    header: Header,
    structure: EncoderStructure,
    context: MaskContext,
    ranking: Ranking,
    sparsity: float,
) -> CalibrateResult:
    flags = ranking.select(context, sparsity)
    path = request.path(sparsity)
    settings = {**header.config, "sparsity": sparsity, "scope": request.scope}
    mask = Mask(
        replace(header, config=settings),
        {name: chosen for name, chosen in flags.items() if bool(chosen.any())},
        {name: structure.shapes[name] for name in structure.maskable},
    )
    write_mask(path, mask, force=request.common.force)
    unmoved = sum(int((flags[name] & zero).sum()) for name, zero in context.zero_scores.items())
    return CalibrateResult(
        path,
        count_entries(flags),
        mask.total,
        count_by_kind(structure, flags),
        {**ranking.notes, "live_zero_score": unmoved},
        sparsity,
        ranking.slow,
    )
