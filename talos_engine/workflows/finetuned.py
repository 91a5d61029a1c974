"""Fine-tuned models that a vector can be made from: checkpoints of ours, adapters, state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.artifacts import (
    LINEARIZED,
    PLAIN,
    artifact_hash,
    file_hash,
    inspect_kind,
    is_checkpoint_folder,
    read_checkpoint,
    read_checkpoint_header,
    recorded_evaluation,
)
from talos_engine.errors import CorruptFileError, OptionError
from talos_engine.models.adapters import CONFIG, WEIGHTS, is_adapter, merge_adapter
from talos_engine.models.foreign_weights import keep_integers, read_foreign
from talos_engine.models.loading import is_checkpoint_path
from talos_engine.models.spec import BaseWeights
from talos_engine.workflows.bases import check_architecture, check_base, check_expansion_point
from talos_engine.workflows.opening import resolve_model


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model and the base that it is compared with.

    Args:
        weights: θ0.
        tensors: θ* by ``state_dict`` key.
        method: What made it; ``external`` where nothing is recorded, ``peft-lora`` for adapters.
        task: The task it was made for; empty where none is recorded.
        config: What a vector's header tells of it.
        seed: Of the run that made it.
        data: Fingerprint of its data.
        notes: What people should know of it, a sentence each.
    """

    weights: BaseWeights
    tensors: Mapping[str, Tensor]
    method: str
    task: str
    config: Mapping[str, Any]
    seed: int = 0
    data: str = ""
    notes: tuple[str, ...] = ()


def recorded_task(path: Path) -> str:
    """The task that a fine-tuned model records; empty where it records none."""
    return read_checkpoint_header(path).task if _is_ours(path) else ""


def read_finetuned(path: Path, model: str | None, pretrained: str | None) -> Finetuned:
    """A fine-tuned model with its base.

    Args:
        path: A checkpoint of ours; a folder with an adapter of ``peft``, or with a model of the
            base's architecture as its library writes it; or a state dict of that architecture, as
            safetensors or a ``torch.save`` file of tensors.
        model: The base; only a checkpoint of ours tells it by itself.
        pretrained: Where the base's weights are, if the user says.

    Raises:
        OptionError: nothing names the base.
        MismatchError: the model belongs to another base or architecture.
        ArtifactError: a file cannot be read as a fine-tuned model.
    """
    if _is_ours(path):
        return _read_checkpoint(path, model, pretrained)
    if model is None:
        raise OptionError(f"{path} does not tell its base", "say --model")
    weights = resolve_model(model, [], pretrained)
    config: dict[str, Any] = {"sparsity": 0.0, "evaluation": PLAIN}
    method = "external"
    if is_adapter(path):
        method = "peft-lora"
        merged = merge_adapter(path, weights.tensors)  # first: it tells what is missing, and why
        config["adapter"] = {name: file_hash(path / name) for name in (CONFIG, WEIGHTS)}
        found = keep_integers(weights, merged)
    elif path.is_dir():  # of a library: read like a base
        other = resolve_model(str(path), [], None)
        check_architecture(weights.info, other.info, path)
        config["finetuned_hash"] = other.info.hash
        found = keep_integers(weights, other.tensors)
    else:
        found = read_foreign(path, weights)
        config["finetuned_hash"] = file_hash(path)
    return Finetuned(weights, found.tensors, method, "", config, notes=found.notes)


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return is_checkpoint_folder(path)
    try:
        return inspect_kind(path) != "tensors"
    except CorruptFileError:
        with path.open("rb") as file:
            if file.read(4) in (b"PK\x03\x04", b"\x80\x02\x8a\n"):  # written by torch.save
                return False
        raise


def _read_checkpoint(path: Path, model: str | None, pretrained: str | None) -> Finetuned:
    checkpoint = read_checkpoint(path)
    header = checkpoint.header
    weights = resolve_model(model, [header.base], pretrained)
    if model is not None and is_checkpoint_path(model):  # any two of one architecture
        check_architecture(weights.info, header.base, path)
    else:
        check_base(weights, header.base, path)
    evaluation = recorded_evaluation(header, path)
    if evaluation == LINEARIZED:
        check_expansion_point(weights, header.base, path)
    mask = header.config.get("mask")
    return Finetuned(
        weights,
        checkpoint.tensors,
        header.method,
        header.task,
        {
            "sparsity": mask["sparsity"] if isinstance(mask, dict) else 0.0,
            "finetuned": header.config,
            "finetuned_hash": artifact_hash(path),
            "evaluation": evaluation,
        },
        header.seed,
        header.data,
    )
