"""From what ``--model`` names to weights and backbones: catalog names and our own checkpoints."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from talos_engine.artifacts import (
    PLAIN,
    BaseInfo,
    Header,
    TensorSpec,
    hash_tensors,
    open_checkpoint,
    read_checkpoint,
    read_checkpoint_header,
    recorded_evaluation,
)
from talos_engine.errors import MismatchError
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.spec import MODELS, Backbone, BaseWeights, ModelSpec


def load_weights(model: str) -> BaseWeights:
    """The tensors that ``model`` names, with their identity.

    Args:
        model: A catalog name, or the path of a checkpoint of ours.

    Raises:
        UnknownNameError: neither a known name nor a file.
        ArtifactError: the file is not a sound checkpoint of a known architecture.
        MismatchError: it was made to be evaluated linearized, so it is no base of its own.
    """
    path = Path(model)
    if is_checkpoint_path(model):
        checkpoint = read_checkpoint(path)
        check_is_base(checkpoint.header, path)
        return _identify_checkpoint(checkpoint.header.base, checkpoint.tensors)
    return _identify_known(MODELS.get(model), MODELS.get(model).read())


@dataclasses.dataclass(frozen=True)
class OpenBase:
    """A model's tensors before anything is known of their content.

    Args:
        specs: Dtype and shape of every tensor.
        tensors: The tensors; those of a checkpoint are read when asked for, one at a time.
        origin: What a checkpoint records as its own base; ``None`` for a catalog name.
        name: The catalog name, where ``origin`` is ``None``.
    """

    specs: Mapping[str, TensorSpec]
    tensors: Mapping[str, Tensor]
    origin: BaseInfo | None
    name: str

    @functools.cached_property
    def weights(self) -> BaseWeights:
        """The tensors with their identity; each is read once, for its hash, when first asked."""
        if self.origin is not None:
            return _identify_checkpoint(self.origin, self.tensors)
        return _identify_known(MODELS.get(self.name), self.tensors)


@contextmanager
def open_base(model: str) -> Iterator[OpenBase]:
    """The tensors that ``model`` names; a checkpoint's stay in its file.

    Args:
        model: A catalog name, or the path of a checkpoint of ours.

    Raises:
        UnknownNameError: neither a known name nor a file.
        ArtifactError: the file is not a sound checkpoint.
    """
    if is_checkpoint_path(model):
        with open_checkpoint(model) as file:
            check_is_base(file.header, Path(model))
            yield OpenBase(file.specs, file, file.header.base, "")
        return
    tensors = MODELS.get(model).read()
    specs = {name: TensorSpec(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    yield OpenBase(specs, tensors, None, model)


def _identify_checkpoint(origin: BaseInfo, tensors: Mapping[str, Tensor]) -> BaseWeights:
    found = hash_tensors(tensors)
    own = dataclasses.replace(origin, pretrained="checkpoint", hash=found)
    return BaseWeights(origin if found == origin.hash else own, origin, tensors)


def _identify_known(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> BaseWeights:
    info = BaseInfo(
        name=spec.name,
        pretrained=spec.pretrained,
        architecture=spec.architecture(),
        hash=hash_tensors(tensors),
    )
    return BaseWeights(info, info, tensors)


def check_is_base(header: Header, path: Path) -> None:
    """Raise unless a checkpoint may be what others are made from.

    Raises:
        MismatchError: it stands for a model linearized at the base that it was made from.
    """
    if recorded_evaluation(header, path) != PLAIN:
        raise MismatchError(
            f"{path} is evaluated linearized at {header.base.name} and is no base itself",
            f"--model {header.base.name}",
        )


def is_checkpoint_path(model: str) -> bool:
    """Whether ``model`` names a file rather than a catalog entry."""
    return model not in MODELS.names() and Path(model).is_file()


def check_model_name(model: str) -> None:
    """Raise unless ``model`` is a catalog name or a file; reads nothing.

    Raises:
        UnknownNameError: it is neither.
    """
    if not is_checkpoint_path(model):
        MODELS.get(model)


def open_skeleton(model: str) -> Skeleton:
    """The shape of the model that ``model`` names; of a checkpoint, only the header is read.

    Raises:
        UnknownNameError: neither a known name nor a file.
        ArtifactError: the file is not a sound checkpoint.
    """
    return MODELS.get(architecture_name(model)).skeleton()


def architecture_name(model: str) -> str:
    """The catalog name of the architecture of what ``model`` names."""
    if not is_checkpoint_path(model):
        return model
    header = read_checkpoint_header(model)
    check_is_base(header, Path(model))
    return header.base.name


def build_backbone(weights: BaseWeights) -> Backbone:
    """The backbone of these weights' architecture, holding them.

    Raises:
        UnknownNameError: the architecture is not in the catalog.
        MismatchError: the weights do not fit it.
    """
    return MODELS.get(weights.info.name).build(weights)
