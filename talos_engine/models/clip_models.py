"""CLIP models by open_clip's names, weights files and folders, as ``ModelSpec`` made on the fly.

Which activation a model has cannot be seen in its weights. OpenAI's were trained with QuickGELU,
the architectures' own configurations say GELU, and open_clip only warns: here the tag decides, what
it decided is part of the configuration in every artifact's header, and that builds the model again.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talos_engine.artifacts import BaseInfo
from talos_engine.errors import MismatchError, ModelError, OptionError
from talos_engine.models import clip_weights
from talos_engine.models.clip_architecture import (
    CONFIG_FILE,
    check_config,
    folder_config,
    is_config,
    make_config,
    named_config,
)
from talos_engine.models.clip_hub import hub_spec, saved_spec
from talos_engine.models.clip_specs import make_spec
from talos_engine.models.clip_transformers_config import is_clip_folder, read_clip_config
from talos_engine.models.hub_folder import cache_folder
from talos_engine.models.names import CHECKPOINT, FILE, FOLDER, FOLDER_PREFIX, HUB_PREFIX, is_hub_id
from talos_engine.models.spec import ModelSpec

OPENAI = "openai"
OPENAI_VITS = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336")
_TAGGED = re.compile(r"([A-Za-z0-9_.-]+)=(.+)")
_WAYS = "a machine with network, or a copy of its cache ({cache}); --model tiny-clip"


@dataclass(frozen=True)
class _Source:
    """Where weights come from: a tag, a path, or both."""

    tag: str
    path: Path | None


def named_spec(name: str, pretrained: str | None) -> ModelSpec | None:
    """The model of an architecture that open_clip knows; ``None`` if it knows none of that name.

    Args:
        name: The architecture; ``ViT-B/32`` is ``ViT-B-32``. Or ``hf-hub:OWNER/NAME``.
        pretrained: A tag, a weights file, or ``TAG=FILE``; ``None`` takes ``openai``. Of a
            repository: a revision.

    Raises:
        OptionError: the weights are not named as they should be.
        ModelError: talos cannot run this architecture.
        MismatchError: the tag's weights were trained with another activation than the name says.
    """
    if name.startswith(HUB_PREFIX):
        return hub_spec(name, pretrained)
    name = name.replace("/", "-")
    model_cfg = named_config(name)
    if model_cfg is None:
        return None
    check_config({"model_cfg": model_cfg}, name)
    source = _parse(name, pretrained)
    tag = _tag_entry(name, source.tag)
    config = _tagged_config(name, model_cfg, source.tag, tag)
    if source.path is None:
        return _tag_spec(name, source.tag, tag, config)
    if pretrained == str(source.path):
        _check_anonymous(name, source.path, config)
    return _file_spec(name, source.tag or FILE, config, source.path)


def folder_spec(folder: Path) -> ModelSpec:
    """The model in a folder of open_clip's format, or of transformers' with a CLIP model.

    Raises:
        ModelError: the folder holds none that talos can run.
    """
    if (folder / CONFIG_FILE).is_file():
        config = folder_config(folder)
    else:
        config = make_config(*read_clip_config(folder))
    name = f"{FOLDER_PREFIX}{folder.resolve().name}"
    return _file_spec(name, FOLDER, config, clip_weights.folder_weights(folder), folder)


def is_model_folder(path: Path) -> bool:
    """Whether a path is a folder of open_clip's format, or of transformers' with a CLIP model."""
    return (path / CONFIG_FILE).is_file() or is_clip_folder(path)


def recorded_spec(base: BaseInfo, pretrained: str | None) -> ModelSpec | None:
    """The model that an artifact records, of exactly the recorded architecture.

    ``None`` if it is neither an architecture that open_clip knows nor came from a folder or the
    hub.

    Args:
        base: What the artifact records.
        pretrained: Where its weights are, if the user says: a weights file, ``TAG=FILE`` or the
            model's folder. ``None``: where the recorded tag says.

    Raises:
        OptionError: ``pretrained`` names no path, or another tag.
        ModelError: the architecture cannot be built.
    """
    config = dict(base.architecture)
    if not is_config(config):
        return None
    saved = is_hub_id(base.name)
    from_hub = saved or base.name.startswith(HUB_PREFIX)
    named = from_hub or base.name.startswith(FOLDER_PREFIX)
    if not named and named_config(base.name) is None:
        return None
    if from_hub and base.pretrained != CHECKPOINT and not _is_path(pretrained):
        find = saved_spec if saved else hub_spec
        return find(base.name, pretrained or base.pretrained, config)
    if pretrained is None:
        tag = _tag_entry(base.name, base.pretrained)
        if tag:
            return _tag_spec(base.name, base.pretrained, tag, config)
        return _unnamed_spec(base, config)
    source = _parse(base.name, pretrained)
    if source.path is None:
        return _tag_spec(base.name, source.tag, _tag_entry(base.name, source.tag), config)
    if is_model_folder(source.path):
        path = clip_weights.folder_weights(source.path)
        return _file_spec(base.name, base.pretrained, config, path, source.path)
    return _file_spec(base.name, base.pretrained, config, source.path)


@dataclass(frozen=True)
class KnownWeights:
    """An architecture and tag of open_clip.

    Args:
        name: The architecture.
        tag: The tag.
        here: Whether the weights are on this machine.
        source: Where they come from, for people.
    """

    name: str
    tag: str
    here: bool
    source: str


def list_weights(*, everything: bool) -> Iterator[KnownWeights]:
    """Weights that open_clip publishes for architectures that talos can run.

    Args:
        everything: All of them; else OpenAI's ViTs, and what is on this machine.
    """
    import open_clip

    usable: dict[str, bool] = {}
    for name, tag in open_clip.list_pretrained():
        if name not in usable:
            found = named_config(name) or {"text_cfg": {"hf_model_name": "?"}}
            usable[name] = not (found["text_cfg"].get("hf_model_name") or "multimodal_cfg" in found)
        if not usable[name]:
            continue
        entry = _tag_entry(name, tag)
        here = clip_weights.find_cached(entry) is not None
        if everything or here or (tag == OPENAI and name in OPENAI_VITS):
            yield KnownWeights(name, tag, here, clip_weights.source_name(entry))


def _parse(name: str, pretrained: str | None) -> _Source:
    tags = _tags(name)
    if pretrained is None:
        if OPENAI not in tags:
            raise OptionError(f"{name} has no weights of OpenAI", _pretrained_hint(tags))
        return _Source(OPENAI, None)
    if pretrained in tags:
        return _Source(pretrained, None)
    if Path(pretrained).expanduser().exists():
        return _Source("", Path(pretrained).expanduser())
    tagged = _TAGGED.fullmatch(pretrained)
    if tagged and tagged.group(1) in (*tags, FILE):
        path = Path(tagged.group(2)).expanduser()  # no shell does it behind TAG=
        if not path.exists():
            raise OptionError(f"--pretrained: there is no file {path}")
        tag = "" if tagged.group(1) == FILE else tagged.group(1)
        return _Source(tag, path)
    raise OptionError(
        f"{name} has no weights named {pretrained!r}, and there is no such file",
        _pretrained_hint(tags),
    )


def _is_path(pretrained: str | None) -> bool:
    return pretrained is not None and Path(pretrained).expanduser().exists()


def _pretrained_hint(tags: tuple[str, ...]) -> str:
    known = f"its tags: {', '.join(tags)}; or " if tags else ""
    return f"{known}--pretrained FILE"


def _tags(name: str) -> tuple[str, ...]:
    import open_clip

    return tuple(open_clip.list_pretrained_tags_by_model(name))


def _tag_entry(name: str, tag: str) -> Mapping[str, Any]:
    from open_clip.pretrained import get_pretrained_cfg

    found: Mapping[str, Any] = get_pretrained_cfg(name, tag)
    return found


def _tagged_config(
    name: str, model_cfg: Mapping[str, Any], tag_name: str, tag: Mapping[str, Any]
) -> dict[str, Any]:
    """The configuration that suits a tag's weights: its activation and preprocessing."""
    own = copy.deepcopy(dict(model_cfg))
    if tag.get("quick_gelu"):
        own["quick_gelu"] = True
    elif tag and own.get("quick_gelu"):
        raise MismatchError(
            f"{name} has QuickGELU activations, its weights {tag_name!r} were trained with GELU",
            f"--model {name.removesuffix('-quickgelu')}",
        )
    return make_config(own, tag)


def _check_anonymous(name: str, path: Path, config: Mapping[str, Any]) -> None:
    """Raise where a file seems to hold OpenAI's weights and would get the wrong activation."""
    quick = _tag_entry(name, OPENAI).get("quick_gelu", False)
    if quick and not config["model_cfg"].get("quick_gelu") and OPENAI in str(path).lower():
        raise OptionError(
            f"{path} seems to hold OpenAI's weights, which need QuickGELU; {name} has GELU",
            f"say --pretrained openai={path}, or file={path} if they are others",
        )


def _tag_spec(
    name: str, tag_name: str, tag: Mapping[str, Any], config: Mapping[str, Any]
) -> ModelSpec:
    missing = ModelError(
        f"the weights of {name} ({tag_name}, {clip_weights.source_name(tag)}) are not on this "
        "machine",
        f"three ways on: your own copy with --pretrained {tag_name}=FILE; "
        f"{_WAYS.format(cache=cache_folder())}",
    )

    return make_spec(
        name,
        tag_name,
        config,
        locate=lambda: clip_weights.fetch(tag, missing),
        require=lambda: clip_weights.check_available(tag, missing),
    )


def _file_spec(
    name: str, tag_name: str, config: Mapping[str, Any], path: Path, folder: Path | None = None
) -> ModelSpec:
    if path.is_dir():
        raise OptionError(f"--pretrained {path} is a folder", f"say --model {path}")

    return make_spec(name, tag_name, config, locate=lambda: path, folder=lambda: folder)


def _unnamed_spec(base: BaseInfo, config: Mapping[str, Any]) -> ModelSpec:
    """Of weights that came from a file, which artifacts do not name: they cannot be read."""

    def locate() -> Path:
        ways = {
            FOLDER: "pass the folder with --model FOLDER",
            CHECKPOINT: "pass the checkpoint with --model FILE",
        }
        came = "a folder" if base.pretrained == FOLDER else "a file"
        raise OptionError(
            f"the base is {base.name} with weights that came from {came}",
            ways.get(base.pretrained, f"pass --model {base.name} --pretrained FILE"),
        )

    return make_spec(base.name, base.pretrained, config, locate=locate, require=locate)
