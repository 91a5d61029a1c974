"""T5 architectures as ``transformers`` configures them: configuration in, module and tokenizer out.

What is recorded in headers is plain JSON of the fields that change the computation. It is checked
here before anything is built from it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from talos_engine.artifacts import read_json
from talos_engine.errors import ModelError, first_line

CONFIG_FILE = "config.json"
MODEL_TYPE = "t5"
MAX_TOKENS = 128
_LARGEST = 2**22  # of any number in a configuration; vocabularies have a quarter of it
_DEEPEST = 512  # blocks of a stack
_SIZES = {  # defaults of the library, which leaves them out of files
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_decoder_layers": None,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}
_LAYERS = ("num_layers", "num_decoder_layers")
_WHOLE, _PIECES = "tokenizer.json", "spiece.model"
_TOKENIZER_FILES = (
    _WHOLE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    _PIECES,
)
_PIECES_READERS = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
_OTHER_FILES = ("generation_config.json",)


def is_t5_folder(path: Path) -> bool:
    """Whether a path is a folder with the configuration of a model of ``transformers``."""
    return (path / CONFIG_FILE).is_file()


def is_t5_architecture(architecture: Mapping[str, Any]) -> bool:
    """Whether what a header records is a T5 configuration."""
    return architecture.get("model_type") == MODEL_TYPE


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` of a folder holds.

    Raises:
        ModelError: it is no configuration of a T5 model.
        CorruptFileError: it is no JSON.
    """
    path = folder / CONFIG_FILE
    found = read_json(path)
    kind = found.get("model_type") if isinstance(found, dict) else None
    if not isinstance(found, dict) or kind != MODEL_TYPE:
        raise ModelError(
            f"{path} describes a model of type {kind!r}, which talos does not run",
            "models of transformers must be of type 't5' or 'clip'; folders of open_clip have an "
            "open_clip_config.json, and its models on the Hub are named hf-hub:OWNER/NAME",
        )
    return dict(found)


def make_architecture(
    config: Mapping[str, Any], weight_names: Collection[str] | None, where: str
) -> dict[str, Any]:
    """The recorded form of a configuration.

    Files do not tell plainly whether the last projection is tied to the embeddings: version 5 of
    ``transformers`` writes ``tie_word_embeddings: true`` for every T5 and keeps the difference of
    T5 v1.1 under another name. The projection is one of its own where the decoder's outputs are
    not scaled and the weights have one.

    Args:
        config: Of ``config.json``.
        weight_names: Names of the tensors in the weights files; ``None`` where not known.
        where: The folder, for messages.

    Raises:
        ModelError: it describes no T5 model.
    """
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True) is True)
    has_head = weight_names is None or "lm_head.weight" in weight_names
    pad = config.get("pad_token_id")
    start = config.get("decoder_start_token_id")
    found = {name: config.get(name, default) for name, default in _SIZES.items()}
    found |= {
        "model_type": MODEL_TYPE,
        "num_decoder_layers": found["num_decoder_layers"] or found["num_layers"],
        "layer_norm_epsilon": config.get("layer_norm_epsilon", 1e-6),
        "feed_forward_proj": config.get("feed_forward_proj", "relu"),
        "pad_token_id": 0 if pad is None else pad,
        "decoder_start_token_id": start if start is not None else (0 if pad is None else pad),
        "scale_decoder_outputs": scaled,
        "own_head": has_head and not scaled,
    }
    check_architecture(found, where)
    return found


def check_architecture(architecture: Mapping[str, Any], where: str) -> None:
    """Raise unless talos can build what a recorded configuration describes.

    Raises:
        ModelError: a field is missing, of another type, or of absurd size.
    """
    for name in (*_SIZES, "pad_token_id", "decoder_start_token_id"):
        value = architecture.get(name)
        low = 0 if name.endswith("_id") else 1
        high = _DEEPEST if name in _LAYERS else _LARGEST
        if type(value) is not int or not low <= value <= high:
            raise ModelError(f"the configuration of {where} has {name} = {value!r}")
    for name in ("scale_decoder_outputs", "own_head"):
        if not isinstance(architecture.get(name), bool):
            raise ModelError(f"the configuration of {where} does not say {name!r}")
    epsilon, feed_forward = (
        architecture.get(name) for name in ("layer_norm_epsilon", "feed_forward_proj")
    )
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise ModelError(f"the configuration of {where} has layer_norm_epsilon = {epsilon!r}")
    if not isinstance(feed_forward, str):
        raise ModelError(f"the configuration of {where} has feed_forward_proj = {feed_forward!r}")


def make_module(architecture: Mapping[str, Any], where: str) -> Any:
    """The ``T5ForConditionalGeneration`` that a recorded configuration describes.

    It lies on the meta device; its embeddings, and its last projection where that is tied, are one
    parameter.

    Raises:
        ModelError: nothing can be built from it.
    """
    check_architecture(architecture, where)
    import transformers

    library: Any = transformers  # its annotations leave out what its base classes take
    own = {"model_type", "scale_decoder_outputs", "own_head"}
    given: dict[str, Any] = {
        "attn_implementation": "eager",  # the others refuse masks of answers side by side
        "tie_word_embeddings": not architecture["own_head"],
        **{name: value for name, value in architecture.items() if name not in own},
    }
    try:
        with torch.device("meta"):
            model: Any = library.T5ForConditionalGeneration(library.T5Config(**given))
    except Exception as error:  # of any kind: the configuration is handed through to the library
        raise ModelError(
            f"the configuration of {where} describes no T5 model: {first_line(error)}"
        ) from error
    for stack in (model.encoder, model.decoder):  # not the module: one swapped twice stays swapped
        stack.embed_tokens.weight = model.shared.weight
    head = torch.empty_like(model.shared.weight) if architecture["own_head"] else None
    model.lm_head.weight = model.shared.weight if head is None else nn.Parameter(head)
    return model.eval().requires_grad_(False)


def make_tokenizer(folder: Path | None, name: str) -> Any:
    """The tokenizer in a model's folder; no code from there is run.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    if folder is None:
        raise ModelError(
            f"the tokenizer of {name} lies in the folder that the model came from",
            "pass that folder with --model",
        )
    _check_readers(folder)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # of the library, or of whatever its files need
        raise ModelError(
            f"the tokenizer in {folder} cannot be read: {first_line(error)}",
            "save_pretrained of the model's tokenizer belongs into the same folder",
        ) from error


def _check_readers(folder: Path) -> None:
    """Raise where a tokenizer has only pieces and what reads them is missing.

    ``transformers`` takes such a file for one of ``tiktoken`` then, and asks for that.
    """
    if (folder / _WHOLE).is_file() or not (folder / _PIECES).is_file():
        return
    missing = [package for module, package in _PIECES_READERS.items() if not _is_installed(module)]
    if missing:
        raise ModelError(
            f"the tokenizer in {folder} is a {_PIECES}, which needs {' and '.join(missing)}",
            f"pip install {' '.join(missing)}; or save_pretrained of the tokenizer, where these "
            f"are, gives a {_WHOLE}, which needs neither",
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is part of
        return False


def companion_files(folder: Path) -> list[Path]:
    """The files of a model's folder beside weights and configuration that the library reads."""
    return [
        folder / name for name in (*_TOKENIZER_FILES, *_OTHER_FILES) if (folder / name).is_file()
    ]
