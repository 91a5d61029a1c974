"""What every workflow starts with: common options, the model, its tasks, its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from talos_engine.artifacts import (
    LINEARIZED,
    PLAIN,
    BaseInfo,
)
from talos_engine.data.images import LazyImages
from talos_engine.data.prepared import prepare_images
from talos_engine.data.settings import current_data
from talos_engine.data.spec import TextExamples
from talos_engine.data.splits import Split, find_task, load_split
from talos_engine.device import Runtime, resolve_runtime
from talos_engine.errors import (
    DataError,
    MismatchError,
    ModelError,
    OptionError,
    TalosError,
)
from talos_engine.evaluation.accuracy import EvaluationTask
from talos_engine.models.loading import (
    build_backbone,
    check_model_name,
    find_spec,
    load_weights,
)
from talos_engine.models.spec import MODELS, Backbone, BaseWeights


@dataclass(frozen=True)
class Common:
    """Options that every workflow shares.

    Args:
        seed: Key of everything random, in [0, 2^63).
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``float32`` or ``bfloat16`` (autocast).
        threads: CPU threads; 0 leaves torch's own choice.
        force: Whether existing outputs are replaced.
        pretrained: Weights of the model, where it is an architecture of open_clip: a tag, a file
            or ``TAG=FILE``; ``None`` takes the model's own.
    """

    seed: int = 0
    device: str = "auto"
    dtype: str = "float32"
    threads: int = 0
    force: bool = False
    pretrained: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise OptionError(f"--seed must lie in [0, 2^63), not {self.seed}")

    def runtime(self) -> Runtime:
        """The device and precision, resolved; sets the number of threads."""
        return resolve_runtime(self.device, self.dtype, self.threads)

    def words(self) -> list[str]:
        """Those of these options that name the model's weights, as on a command line."""
        return [] if self.pretrained is None else [f"--pretrained={self.pretrained}"]

    def recorded(self) -> dict[str, str]:
        """Those of these options that change tensors, for an artifact's header."""
        return {"dtype": self.dtype}


@dataclass(frozen=True)
class Session:
    """A model on its device.

    Args:
        weights: θ0 on the CPU.
        backbone: The model holding θ0.
        runtime: Device and precision.
    """

    weights: BaseWeights
    backbone: Backbone
    runtime: Runtime

    def evaluation_task(
        self, task: str, split: str, points: int = 0, seed: int = 0, evaluation: str = PLAIN
    ) -> EvaluationTask:
        """A task's split, prepared, with its classifier.

        Args:
            task: Name of the task.
            split: ``train``, ``val`` or ``test``.
            points: Keep a random subset of at most this size; 0 keeps everything.
            seed: Key of the subset.
            evaluation: ``plain``, or ``linearized`` for the encoder's expansion at θ0.
        """
        spec = find_task(task)
        check_kind(task, spec.kind, self.weights.info.name, self.backbone.kind)
        inputs, labels = self.prepare(load_split(spec, split))
        found = EvaluationTask(task, self.classifier(task), inputs, labels)
        found = found.sample(points, seed) if points else found
        return self.linearized(found) if evaluation == LINEARIZED else found

    def linearized(self, task: EvaluationTask) -> EvaluationTask:
        """The same task for the encoder's first-order expansion at θ0, wherever it is edited to."""
        return replace(task, classifier=self.backbone.linearize(task.classifier))

    def prepare(self, split: Split) -> tuple[Tensor, Tensor]:
        """Model inputs and labels of a split, on the CPU.

        Images in memory become float32; images of any size uint8, and those that cannot be decoded
        may be left out, see ``prepare_images``. Texts become token ids.

        Raises:
            MismatchError: the model takes examples of another kind.
        """
        check_kind(split.task, split.examples.kind, self.weights.info.name, self.backbone.kind)
        if isinstance(split.examples, TextExamples):
            texts = split.examples

            def note_cut(count: int) -> None:
                current_data().report_cut(split.task, split.name, count, len(split))

            inputs = self.backbone.encode_texts(texts.texts, texts.choices, note_cut)
            return inputs, torch.from_numpy(split.labels)
        if isinstance(split.images, LazyImages):
            return prepare_images(split, self.backbone.image_transform())
        return self.backbone.prepare(split.images), torch.from_numpy(split.labels)

    def classifier(self, task: str) -> torch.nn.Module:
        """The zero-shot classifier of a task.

        Raises:
            MismatchError: the model takes examples of another kind.
        """
        spec = find_task(task)
        check_kind(task, spec.kind, self.weights.info.name, self.backbone.kind)
        return self.backbone.classifier(
            spec.class_names, spec.templates, length_normalized=spec.length_normalized
        )


def open_session(weights: BaseWeights, runtime: Runtime) -> Session:
    """The model of these weights, on its device."""
    backbone = build_backbone(weights)
    backbone.to(runtime.device)
    return Session(weights, backbone, runtime)


def resolve_model(
    model: str | None, recorded: Sequence[BaseInfo], pretrained: str | None = None
) -> BaseWeights:
    """The weights that ``--model`` names, or the base that the artifacts record.

    Args:
        model: What the user named, or ``None``.
        recorded: Bases recorded by the artifacts at hand.
        pretrained: What the user said of the weights, or ``None``.

    Raises:
        OptionError: nothing names a model.
        ModelError: its weights cannot be had.
    """
    return load_weights(model, pretrained, next(iter(recorded), None))


def check_inputs(
    model: str | None,
    common: Common,
    tasks: Sequence[str],
    recorded: BaseInfo | None = None,
    *,
    weights: bool = True,
    data: bool = True,
) -> None:
    """Raise unless the model's weights and the tasks' data can be had; one error tells all.

    Args:
        model: What the user named, or ``None``.
        common: Says where its weights are.
        tasks: Names of tasks.
        recorded: The base that artifacts at hand record.
        weights: Whether weights are needed; else the model must only be known.
        data: Whether data are needed; else the tasks must only be known.

    Raises:
        UnknownNameError: there is no such model or task.
        ModelError: the weights cannot be had, and perhaps data neither.
        DataError: data cannot be had.
        MismatchError: the examples of a task are not of the kind that the model takes.
    """
    missing: dict[str, TalosError] = {}
    found = None
    try:
        found = find_spec(model, common.pretrained, recorded)
        if weights:
            check_model_name(model, common.pretrained, recorded)
    except ModelError as error:
        missing["the weights"] = error
    for task in tasks:
        try:
            spec = find_task(task, needs_data=False)
            if found is not None:
                check_kind(task, spec.kind, model or found.name, found.kind)
            find_task(task, needs_data=data)
        except DataError as error:
            missing[f"task {task}"] = error
    if len(missing) == 1:
        raise next(iter(missing.values()))
    if missing:
        hints = [f"for {what}, {error.hint}" for what, error in missing.items()]
        kind = type(next(iter(missing.values())))
        raise kind("; ".join(error.message for error in missing.values()), "; ".join(hints))


def named_paths(model: str | None, pretrained: str | None = None) -> tuple[Path, ...]:
    """The files and folders that ``--model`` and ``--pretrained`` name, as far as they exist."""
    words = [] if model is None or model in MODELS else [Path(model)]
    if pretrained is not None:
        texts = (pretrained, pretrained.partition("=")[2])  # FILE, or TAG=FILE
        words += [Path(text).expanduser() for text in texts if text]
    return tuple(path for path in words if path.exists())


def check_kind(task: str, has: str, model: str, takes: str) -> None:
    """Raise unless a task has the kind of examples that a model takes.

    Raises:
        MismatchError: it has not.
    """
    if has != takes:
        raise MismatchError(
            f"task {task!r} has {has}, the model {model} takes {takes}",
            f"talos tasks lists the tasks with {takes}, talos models the models that take {has}",
        )
