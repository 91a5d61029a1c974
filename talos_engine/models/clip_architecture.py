"""CLIP architectures as open_clip configures them: configuration in, module and tokenizer out.

A configuration has the form of ``open_clip_config.json``: ``model_cfg`` and ``preprocess_cfg``. It
travels in the header of every artifact, so it is checked here before anything is built from it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from talos_engine.artifacts import read_json
from talos_engine.artifacts.strict_json import plain_json
from talos_engine.errors import ModelError, first_line
from talos_engine.hub import hub_problem

CONFIG_FILE = "open_clip_config.json"
_LARGEST = 2**20  # of any number in a configuration; vocabularies have half of it
_DEEPEST = 512  # blocks of a tower
_TOKENIZER_OPTIONS = {"clean", "strip_sep_token", "reduction_mask", "language"}


def named_config(name: str) -> dict[str, Any] | None:
    """The ``model_cfg`` of an architecture that open_clip knows, registered ones included."""
    import open_clip

    found: dict[str, Any] | None = None
    if name in open_clip.list_models():
        found = open_clip.get_model_config(name)
    return found


def folder_config(folder: Path) -> dict[str, Any]:
    """The configuration of a model in a folder, its preprocessing completed.

    Raises:
        ModelError: the file is no configuration.
        CorruptFileError: it is no JSON.
    """
    path = folder / CONFIG_FILE
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("model_cfg"), dict):
        raise ModelError(f"{path} has no 'model_cfg'")
    overlay = found.get("preprocess_cfg", {})
    if not isinstance(overlay, dict):
        raise ModelError(f"'preprocess_cfg' of {path} is not an object")
    return make_config(found["model_cfg"], overlay)


def make_config(model_cfg: Mapping[str, Any], preprocess: Mapping[str, Any]) -> dict[str, Any]:
    """A whole configuration as plain JSON, open_clip's defaults of preprocessing written out."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    merged = merge_preprocess_dict(asdict(PreprocessCfg()), dict(preprocess))
    del merged["size"]  # always the image tower's
    config = {"model_cfg": dict(model_cfg), "preprocess_cfg": merged}
    plain = plain_json(_listed(config), "the model's configuration")
    assert isinstance(plain, dict)
    return plain


def is_config(architecture: Mapping[str, Any]) -> bool:
    """Whether what a header records is such a configuration."""
    return isinstance(architecture.get("model_cfg"), dict)


def check_config(config: Mapping[str, Any], name: str) -> None:
    """Raise unless talos can build what a configuration describes.

    Raises:
        ModelError: it describes a kind of model that is not supported, or one of absurd size.
    """
    model = config["model_cfg"]
    text, vision = model.get("text_cfg"), model.get("vision_cfg")
    if not isinstance(text, dict) or not isinstance(vision, dict):
        raise ModelError(f"the configuration of {name} lacks 'text_cfg' or 'vision_cfg'")
    if "multimodal_cfg" in model:
        raise ModelError(f"{name} is a CoCa model, which talos does not run")
    if text.get("hf_model_name"):
        raise ModelError(
            f"the text tower of {name} is {text['hf_model_name']} of transformers, which talos "
            "does not build",
            "take an architecture whose text tower is open_clip's own, such as ViT-B-32",
        )
    options = text.get("tokenizer_kwargs", {})
    extra = sorted(set(options) - _TOKENIZER_OPTIONS) if isinstance(options, dict) else ["?"]
    if extra:
        raise ModelError(f"the configuration of {name} sets the tokenizer's {extra[0]!r}")
    for key, value in _numbers(model):
        if not -_LARGEST <= value <= (_DEEPEST if key == "layers" else _LARGEST):
            raise ModelError(f"the configuration of {name} has {key} = {value}")


def make_module(config: Mapping[str, Any], name: str) -> nn.Module:
    """The module that a configuration describes, on torch's current device; its weights are noise.

    For strict loading only: nothing may run it before.

    Args:
        config: The configuration.
        name: The model's, for messages.

    Raises:
        ModelError: nothing can be built from it.
    """
    from open_clip.factory import set_model_preprocess_cfg
    from open_clip.model import CLIP, CustomTextCLIP
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    check_config(config, name)
    arguments = copy.deepcopy(dict(config["model_cfg"]))
    kind = CustomTextCLIP if arguments.pop("custom_text", False) else CLIP
    if "timm_model_name" in arguments["vision_cfg"]:
        arguments["vision_cfg"]["timm_model_pretrained"] = False  # else it would be downloaded
    try:
        module: Any = kind(**arguments)
    except Exception as error:  # of any kind: the configuration is handed through to the towers
        raise ModelError(
            f"the configuration of {name} describes no CLIP model: {first_line(error)}"
        ) from error
    preprocess = merge_preprocess_dict(PreprocessCfg(), config.get("preprocess_cfg", {}))
    set_model_preprocess_cfg(module, {**preprocess, "size": module.visual.image_size})
    found: nn.Module = module
    return found


def make_outline(config: Mapping[str, Any], name: str) -> nn.Module:
    """The same on the meta device, where nothing is allocated."""
    with torch.device("meta"):
        return make_module(config, name)


def make_tokenizer(config: Mapping[str, Any], name: str, folder: Path | None) -> Callable[..., Any]:
    """The tokenizer of a model.

    Args:
        config: Its configuration.
        name: Its name.
        folder: A folder with the model's files, if there is one.

    Raises:
        ModelError: its files cannot be had.
    """
    import open_clip
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    text = config["model_cfg"]["text_cfg"]
    source = text.get("hf_tokenizer_name")
    known = named_config(name) is not None
    if not source and not known:
        options = {"context_length": text.get("context_length", 77)}
        made: Callable[..., Any] = SimpleTokenizer(**options, **text.get("tokenizer_kwargs", {}))
        return made
    if source and folder is None:
        _check_tokenizer(name, str(source), known)
    try:
        if folder is not None and not (folder / CONFIG_FILE).is_file():  # of transformers' format
            made = HFTokenizer(str(folder), context_length=text.get("context_length", 77))
        else:
            made = open_clip.get_tokenizer(f"local-dir:{folder}" if folder is not None else name)
    except (OSError, ValueError) as error:
        raise ModelError(f"the tokenizer of {name} cannot be read: {first_line(error)}") from error
    return made


def save_tokenizer(backbone: Any, folder: Path) -> None:
    """Write the files of a model's own tokenizer, one of transformers, into a folder.

    Args:
        backbone: The model; it has ``make_tokenizer``.
        folder: The folder.

    Raises:
        ModelError: its files cannot be had.
    """
    backbone.make_tokenizer().tokenizer.save_pretrained(folder)


def _check_tokenizer(name: str, source: str, known: bool) -> None:
    """Raise unless the files of a tokenizer from the hub can be had."""
    from huggingface_hub import try_to_load_from_cache

    if not known:
        raise ModelError(
            f"the tokenizer of {name} lies in the folder that the model came from",
            "give the folder too, with --pretrained FOLDER",
        )
    problem = "" if Path(source).is_dir() else hub_problem()
    if problem and not isinstance(try_to_load_from_cache(source, "tokenizer_config.json"), str):
        raise ModelError(
            f"the tokenizer of {name} ({source} on the Hugging Face Hub) is not on this machine, "
            f"and {problem}",
            "fetch it once with network, or take a model with a tokenizer of its own: ViT-B-32",
        )


def _numbers(value: object, key: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield key, value


def _listed(value: Any) -> Any:
    """The same with tuples as lists."""
    if isinstance(value, Mapping):
        return {name: _listed(inner) for name, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, (tuple, list)) else value
