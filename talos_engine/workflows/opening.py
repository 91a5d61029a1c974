"""What every workflow starts with: common options, the model, its tasks, its vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talos_engine.artifacts import (
    LINEARIZED,
    PLAIN,
    BaseInfo,
    TaskVector,
    TensorSpec,
    hash_tensors,
    read_vector,
    restore,
)
from talos_engine.data.images import LazyImages
from talos_engine.data.prepared import prepare_images
from talos_engine.data.splits import Split, find_task, load_split
from talos_engine.device import Runtime, resolve_runtime
from talos_engine.errors import DataError, MismatchError, ModelError, OptionError, TalosError
from talos_engine.evaluation.accuracy import EvaluationTask
from talos_engine.merging.ops import apply_deltas, dense_changes
from talos_engine.merging.spec import VectorSource
from talos_engine.models.loading import (
    build_backbone,
    check_model_name,
    find_spec,
    load_weights,
)
from talos_engine.models.spec import Backbone, BaseWeights
from talos_engine.models.structure import EncoderStructure


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
        examples = load_split(find_task(task), split)
        inputs, labels = self.prepare(examples)
        if 0 < points < len(labels):
            generator = torch.Generator().manual_seed(seed)
            chosen = torch.randperm(len(labels), generator=generator)[:points].sort().values
            inputs, labels = inputs[chosen], labels[chosen]
        found = EvaluationTask(task, self.classifier(task), inputs, labels)
        return self.linearized(found) if evaluation == LINEARIZED else found

    def linearized(self, task: EvaluationTask) -> EvaluationTask:
        """The same task for the encoder's first-order expansion at θ0, wherever it is edited to."""
        return replace(task, classifier=self.backbone.linearize(task.classifier))

    def prepare(self, examples: Split) -> tuple[Tensor, Tensor]:
        """Model inputs and labels of a split, on the CPU.

        Images in memory become float32; images of any size uint8, and those that cannot be decoded
        may be left out, see ``prepare_images``.
        """
        if isinstance(examples.images, LazyImages):
            return prepare_images(examples, self.backbone.image_transform())
        return self.backbone.prepare(examples.images), torch.from_numpy(examples.labels)

    def classifier(self, task: str) -> torch.nn.Module:
        """The zero-shot classifier of a task."""
        spec = find_task(task)
        return self.backbone.classifier(spec.class_names, spec.templates)


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
    """
    missing: dict[str, TalosError] = {}
    try:
        check = check_model_name if weights else find_spec
        check(model, common.pretrained, recorded)
    except ModelError as error:
        missing["the weights"] = error
    for task in tasks:
        try:
            find_task(task, needs_data=data)
        except DataError as error:
            missing[f"task {task}"] = error
    if len(missing) == 1:
        raise next(iter(missing.values()))
    if missing:
        hints = [f"for {what}, {error.hint}" for what, error in missing.items()]
        kind = type(next(iter(missing.values())))
        raise kind("; ".join(error.message for error in missing.values()), "; ".join(hints))


def check_base(weights: BaseWeights, base: BaseInfo, path: Path) -> BaseInfo:
    """The identity among the weights' own that an artifact was made for.

    Raises:
        MismatchError: it was made for another base; prints both hashes.
    """
    found = weights.matching(base.hash)
    if found is None:
        raise MismatchError(
            f"{path} was made for another base: it records {base.name} {base.hash[:12]}, "
            f"the model given is {weights.info.name} {weights.info.hash[:12]}",
            "pass the model it was made from with --model",
        )
    differs = _first_difference(base.architecture, found.architecture)
    if differs:
        raise MismatchError(
            f"{path} was made for these weights in another architecture: {differs}",
            "leave out --model, or name the weights as when it was made, as --pretrained TAG=FILE",
        )
    return found


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


def read_vectors(
    paths: Sequence[Path], model: str | None, pretrained: str | None = None
) -> tuple[list[TaskVector], BaseWeights]:
    """Task vectors and the base they belong to, everything checked against each other.

    Raises:
        MismatchError: bases, names, shapes or dtypes disagree.
    """
    named = load_weights(model, pretrained) if model is not None else None
    plain_base = named.info if named is not None else None
    vectors = [read_vector(path, allow_plain_base=plain_base) for path in paths]
    check_same_base(paths, vectors)
    weights = named or load_weights(None, pretrained, vectors[0].header.base)
    specs = {
        name: TensorSpec(value.dtype, tuple(value.shape)) for name, value in weights.tensors.items()
    }
    for path, vector in zip(paths, vectors, strict=True):
        check_base(weights, vector.header.base, path)
        check_entries(path, vector, specs)
    return vectors, weights


def check_same_base(paths: Sequence[Path], vectors: Sequence[VectorSource]) -> None:
    """Raise unless all vectors record one base.

    Raises:
        MismatchError: two do not; both are named with their hashes.
    """
    first = vectors[0].header.base
    for path, vector in zip(paths[1:], vectors[1:], strict=True):
        base = vector.header.base
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


def apply_vector(weights: BaseWeights, vector: TaskVector) -> dict[str, Tensor]:
    """``θ0 + τ`` for every tensor that the vector changes.

    Bit for bit the fine-tuned model where the vector was made from exactly these weights.
    """
    if weights.info.hash == vector.header.base.hash:
        return {
            name: restore(weights.tensors[name], entry) for name, entry in vector.entries.items()
        }
    return apply_deltas(weights.tensors, dense_changes(vector), 1.0)


def check_encoder_only(names: Iterable[str], structure: EncoderStructure, what: str) -> None:
    """Raise if any of these tensors lies outside the encoder.

    Accuracies are measured with the base's own head, so such an edit would be measured wrong.

    Raises:
        MismatchError: one does; it is named.
    """
    outside = sorted(set(names) - set(structure.trainable))
    if outside:
        raise MismatchError(
            f"{what} changes {outside[0]!r}, which is outside the image encoder",
            "only edits of the encoder can be evaluated or searched",
        )


def merge_order(vectors: Sequence[VectorSource], coefs: Sequence[float] = ()) -> list[int]:
    """Positions of the vectors in the fixed order of merging: by task, then by content.

    The content is read only where several vectors are of one task, and tensor by tensor.

    Args:
        vectors: The vectors.
        coefs: What tells vectors of equal content apart, one number for each; may be empty.
    """
    tasks = [vector.header.task for vector in vectors]

    def key(position: int) -> tuple[str, str, float]:
        alone = tasks.count(tasks[position]) == 1
        content = "" if alone else _content_hash(vectors[position])
        return tasks[position], content, coefs[position] if coefs else 0.0

    return sorted(range(len(vectors)), key=key)


def _content_hash(vector: VectorSource) -> str:
    """A hash over the changes of a vector, whatever their storage."""
    digest = hashlib.sha256()
    for name in vector.shapes:
        entry = vector.entry(name)
        if entry.nnz:
            digest.update(hash_tensors({name: entry.dense()}).encode())
    return digest.hexdigest()
