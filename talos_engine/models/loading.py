"""From what ``--model`` and ``--pretrained`` name to weights and backbones."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from talos_engine.artifacts import (
    PLAIN,
    BaseInfo,
    Header,
    TensorSpec,
    hash_tensors,
    is_checkpoint_folder,
    open_checkpoint,
    read_checkpoint,
    read_checkpoint_header,
    recorded_evaluation,
)
from talos_engine.errors import MismatchError, ModelError, OptionError, UnknownNameError
from talos_engine.models.hub_models import hub_spec
from talos_engine.models.names import CHECKPOINT, T5_NAMES, architecture_names, is_hub_id
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.spec import (
    MODEL_FAMILIES,
    MODELS,
    Backbone,
    BaseWeights,
    ModelFamily,
    ModelSpec,
)

T = TypeVar("T")


def find_spec(
    model: str | None, pretrained: str | None = None, recorded: BaseInfo | None = None
) -> ModelSpec:
    """The model that the options name; no weight is read.

    Of a checkpoint of ours it is the model of its architecture, whose own weights are others.

    Args:
        model: A catalog name, an architecture of open_clip, a folder of its format, a repository
            of the hub, or the path of a checkpoint of ours; ``None`` takes what is recorded.
        pretrained: Weights of an architecture of open_clip: a tag, a file, or ``TAG=FILE``; of a
            repository: a revision.
        recorded: The base that artifacts at hand record.

    Raises:
        UnknownNameError: there is no such model.
        OptionError: nothing names a model, or ``pretrained`` does not go with it.
        ModelError: talos cannot run it.
        ArtifactError: the file is not a sound checkpoint.
    """
    if model is None:
        if recorded is None:
            raise OptionError("no model given", "say --model tiny-clip, or tiny-t5 for texts")
        return _recorded_spec(recorded, pretrained)
    if is_checkpoint_path(model):
        header = read_checkpoint_header(model)
        check_is_base(header, Path(model))
        folder = _files_folder(model, pretrained)
        return dataclasses.replace(_recorded_spec(header.base, None), folder=lambda: folder)
    if model in MODELS:
        return _catalog_spec(model, pretrained)
    found = None
    if model and Path(model).is_dir():
        found = _folder_spec(Path(model), pretrained)
    elif model:
        found = _first(lambda family: family.named(model, pretrained))
        if found is None and is_hub_id(model) and not Path(model).exists():
            found = hub_spec(model, pretrained)
    if found is None:
        raise _unknown_model(model)
    return found


def _folder_spec(folder: Path, pretrained: str | None) -> ModelSpec | None:
    family = _first(lambda family: family if family.is_folder(folder) else None)
    if family is None:
        return _first(lambda family: family.named(str(folder), pretrained))
    if pretrained is not None:
        raise OptionError(f"--pretrained does not go with the folder {folder}, which has weights")
    return family.from_folder(folder)


def _recorded_spec(base: BaseInfo, pretrained: str | None) -> ModelSpec:
    found = None
    if base.name not in MODELS:
        found = _first(lambda family: family.recorded(base, pretrained))
    return found or _catalog_spec(base.name, pretrained)


def _first(ask: Callable[[ModelFamily], T | None]) -> T | None:
    """The first answer that a family of models gives."""
    answers = (ask(MODEL_FAMILIES.get(name)) for name in MODEL_FAMILIES.names())
    return next((answer for answer in answers if answer is not None), None)


def _catalog_spec(name: str, pretrained: str | None) -> ModelSpec:
    if name not in MODELS:
        raise _unknown_model(name)
    spec = MODELS.get(name)
    if pretrained not in (None, spec.pretrained):
        raise OptionError(f"{name} has its own weights, --pretrained does not go with it")
    return spec


def _unknown_model(name: str) -> UnknownNameError:
    known = [*MODELS.names(), *T5_NAMES, *architecture_names()]
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return UnknownNameError(
        f"there is no model named {name!r}",
        f"{guess}known: {', '.join(MODELS.names())}; architectures of open_clip such as ViT-B-32; "
        f"{', '.join(T5_NAMES)}; the hub id of a T5 such as google/flan-t5-base, or of a CLIP of "
        "transformers; hf-hub:OWNER/NAME of open_clip; a checkpoint made by talos; "
        "a folder of open_clip's format, or of transformers with a T5 or CLIP model",
    )


def _files_folder(model: str, pretrained: str | None) -> Path | None:
    """The folder with the other files of a checkpoint's model: its own, or one that is given."""
    if pretrained is None:
        return Path(model) if Path(model).is_dir() else None
    if not _first(lambda family: family.is_folder(Path(pretrained)) or None):
        raise OptionError(
            f"{model} is a checkpoint and has its own weights",
            "with it, --pretrained may only name the folder that its model came from",
        )
    return Path(pretrained)


def load_weights(
    model: str | None, pretrained: str | None = None, recorded: BaseInfo | None = None
) -> BaseWeights:
    """The tensors that the options name, with their identity; see ``find_spec``.

    Raises:
        ArtifactError: a file is not sound, or does not hold this architecture.
        ModelError: the weights cannot be had.
        MismatchError: a checkpoint was made to be evaluated linearized, so it is no base.
    """
    if model is not None and is_checkpoint_path(model):
        folder = _files_folder(model, pretrained)
        checkpoint = read_checkpoint(model)
        check_is_base(checkpoint.header, Path(model))
        return _identify_checkpoint(checkpoint.header.base, checkpoint.tensors, folder)
    spec = find_spec(model, pretrained, recorded)
    return _identify_known(spec, spec.read())


@dataclasses.dataclass(frozen=True)
class OpenBase:
    """A model's tensors before anything is known of their content.

    Args:
        specs: Dtype and shape of every tensor.
        tensors: The tensors; those of a checkpoint are read when asked for, one at a time.
        origin: What a checkpoint records as its own base; ``None`` where the weights are a base's.
        identify: Reads each tensor once, for the hash.
        folder: Returns where the model's other files lie; ``None``: nowhere.
    """

    specs: Mapping[str, TensorSpec]
    tensors: Mapping[str, Tensor]
    origin: BaseInfo | None
    identify: Callable[[Mapping[str, Tensor]], BaseWeights]
    folder: Callable[[], Path | None]

    @functools.cached_property
    def weights(self) -> BaseWeights:
        """The tensors with their identity; each is read once, for its hash, when first asked."""
        return self.identify(self.tensors)

    def matching(self, base_hash: str) -> BaseInfo | None:
        """The identity of these tensors, or of what they were made from, that has this hash.

        Where a checkpoint records that base as its own nothing is read.
        """
        if self.origin is not None and self.origin.hash == base_hash:
            return self.origin
        return self.weights.matching(base_hash)


@contextmanager
def open_base(
    model: str | None, pretrained: str | None = None, recorded: BaseInfo | None = None
) -> Iterator[OpenBase]:
    """The tensors that the options name, see ``find_spec``; a checkpoint's stay in its file.

    Raises:
        ArtifactError: a file is not sound, or does not hold this architecture.
        ModelError: the weights cannot be had.
    """
    if model is not None and is_checkpoint_path(model):
        folder = _files_folder(model, pretrained)
        with open_checkpoint(model) as file:
            check_is_base(file.header, Path(model))
            origin = file.header.base
            identify = functools.partial(_identify_checkpoint, origin, folder=folder)
            yield OpenBase(file.specs, file, origin, identify, lambda: folder)
        return
    spec = find_spec(model, pretrained, recorded)
    tensors = spec.read()
    specs = {name: TensorSpec(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    yield OpenBase(specs, tensors, None, functools.partial(_identify_known, spec), spec.folder)


def _identify_checkpoint(
    origin: BaseInfo, tensors: Mapping[str, Tensor], folder: Path | None
) -> BaseWeights:
    found = hash_tensors(tensors)
    own = dataclasses.replace(origin, pretrained=CHECKPOINT, hash=found)
    return BaseWeights(origin if found == origin.hash else own, origin, tensors, folder)


def _identify_known(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> BaseWeights:
    info = BaseInfo(
        name=spec.name,
        pretrained=spec.pretrained,
        architecture=spec.architecture(),
        hash=hash_tensors(tensors),
    )
    return BaseWeights(info, info, tensors, spec.folder())


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
    """Whether ``model`` names a file, or a folder that talos wrote, rather than a known model."""
    if model in MODELS.names():
        return False
    return Path(model).is_file() or is_checkpoint_folder(model)


def check_model_name(
    model: str | None, pretrained: str | None = None, recorded: BaseInfo | None = None
) -> None:
    """Raise unless the options name a model whose weights can be had; reads none.

    Raises:
        UnknownNameError: there is no such model.
        OptionError: nothing names a model, or ``pretrained`` does not go with it.
        ModelError: its weights can be had neither here nor from the network.
    """
    if model is None or not is_checkpoint_path(model):
        find_spec(model, pretrained, recorded).require()


def open_skeleton(
    model: str | None, pretrained: str | None = None, recorded: BaseInfo | None = None
) -> Skeleton:
    """The shape of the model that the options name; of a checkpoint, only the header is read.

    Raises:
        UnknownNameError: there is no such model.
        ArtifactError: the file is not a sound checkpoint.
    """
    return find_spec(model, pretrained, recorded).skeleton()


def checkpoint_package(
    base: BaseInfo, folder: Callable[[], Path | None]
) -> Callable[[Path], object] | None:
    """What writes the other files of a checkpoint folder; ``None``: checkpoints are files.

    Args:
        base: The base that the checkpoint is made from.
        folder: Returns where that model's other files lie, if they do.

    Raises:
        ModelError: they are needed and nowhere.
    """
    try:
        package = _recorded_spec(base, None).package
    except UnknownNameError:  # nothing but a checkpoint's tensors is known of it
        return None
    if package is None:
        return None
    found = folder()
    if found is None:
        raise ModelError(
            f"the configuration and tokenizer of {base.name} lie in its folder",
            "pass that folder with --model",
        )
    return functools.partial(package, found)


def build_backbone(weights: BaseWeights) -> Backbone:
    """The backbone of these weights' architecture, holding them.

    Raises:
        UnknownNameError: the architecture is not known.
        MismatchError: the weights do not fit it.
    """
    return _recorded_spec(weights.info, None).build(weights)
