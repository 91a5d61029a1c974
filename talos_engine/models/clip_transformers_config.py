"""Configurations of CLIP models between open_clip and transformers, preprocessing included.

transformers names the activation where open_clip has a flag, and its CLIPModel has fewer variants:
what it does not have is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from talos_engine.artifacts import read_json
from talos_engine.errors import ModelError, TalosError, first_line

CONFIG_FILE = "config.json"
MODEL_TYPE = "clip"
PREPROCESSING_FILE = "preprocessor_config.json"
BPE_TOKENS = 49408
"""Size of CLIP's own vocabulary, which comes with open_clip."""
FIRST_HIGHEST = 2
"""``eos_token_id`` that makes transformers read the text at its highest token, as open_clip does;
OpenAI's published configurations have it."""

_TOWER = {"layers", "width", "mlp_ratio"}
_VISION = {*_TOWER, "head_width", "patch_size", "image_size", "patch_dropout"}
_TEXT = {*_TOWER, "context_length", "vocab_size", "heads", "hf_tokenizer_name", "tokenizer_kwargs"}
_PLAIN = {  # what must have this value where it is named, since CLIPModel has nothing else
    "pool_type": ("tok", "argmax"),
    "proj_type": ("linear",),
    "pos_embed_type": ("learnable",),
    "block_type": ("default",),
}
_SILENT = {"pad_id", "eos_id", "attn_pooler_queries", "attn_pooler_heads", "output_tokens"}
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
_RESAMPLING = {"bilinear": 2, "bicubic": 3}


def is_clip_folder(folder: Path) -> bool:
    """Whether a path is a folder of transformers' format with a CLIP model."""
    try:
        found = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else None
    except TalosError:
        return False
    return isinstance(found, dict) and found.get("model_type") == MODEL_TYPE


def read_clip_config(folder: Path, name: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """``model_cfg`` and ``preprocess_cfg`` of open_clip for a folder of transformers' format.

    Args:
        folder: The folder.
        name: What a tokenizer of its own is recorded as; not given: the folder's name.

    Raises:
        ModelError: its configuration is none, or open_clip has no such model.
    """
    from transformers import CLIPConfig

    path = folder / CONFIG_FILE
    try:
        config: Any = CLIPConfig.from_dict(read_json(path))
    except TalosError:
        raise
    except Exception as error:  # of any kind: its checks differ between versions
        raise ModelError(f"{path} is no configuration of CLIP: {first_line(error)}") from error
    text, vision = config.text_config, config.vision_config
    acts = {text.hidden_act, vision.hidden_act}
    if len(acts) > 1 or not acts <= _ACTIVATIONS.keys():
        raise ModelError(
            f"{path} has activations {text.hidden_act!r} and {vision.hidden_act!r}",
            "talos runs CLIP with quick_gelu or gelu in both towers",
        )
    fixed = {"layer_norm_eps": 1e-5, "num_channels": 3}
    for key, value in fixed.items():
        for tower in (text, vision):
            if getattr(tower, key, value) != value:
                raise ModelError(f"{path} has {key} = {getattr(tower, key)}, not {value}")
    text_cfg = {
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "width": text.hidden_size,
        "heads": text.num_attention_heads,
        "layers": text.num_hidden_layers,
        "mlp_ratio": text.intermediate_size / text.hidden_size,
    }
    if text.vocab_size != BPE_TOKENS:
        text_cfg["hf_tokenizer_name"] = name or folder.resolve().name
    model_cfg = {
        "embed_dim": config.projection_dim,
        "quick_gelu": _ACTIVATIONS[text.hidden_act],
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.hidden_size,
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "layers": vision.num_hidden_layers,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
        },
        "text_cfg": text_cfg,
    }
    return model_cfg, _read_preprocessing(folder)


def _read_preprocessing(folder: Path) -> dict[str, Any]:
    path = folder / PREPROCESSING_FILE
    if not path.is_file():
        return {}  # CLIP's own
    found = read_json(path)
    if not isinstance(found, dict):
        raise ModelError(f"{path} is not an object")
    made: dict[str, Any] = {}
    for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
        if theirs in found:
            made[ours] = found[theirs]
    names = {number: name for name, number in _RESAMPLING.items()}
    if "resample" in found:
        if found["resample"] not in names:
            raise ModelError(f"{path} has resample = {found['resample']}; bicubic is 3, bilinear 2")
        made["interpolation"] = names[found["resample"]]
    size = found.get("size")
    if isinstance(size, dict) and "height" in size:
        made["resize_mode"] = "squash"
    return made


def make_clip_config(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``config.json`` of transformers for an open_clip configuration, its own defaults left out.

    Args:
        config: The configuration, as artifacts record it.
        name: The model's name, for messages.

    Raises:
        ModelError: transformers' CLIPModel cannot compute what it describes; names the setting.
    """
    model = config["model_cfg"]
    for problem in _differences(model):
        raise ModelError(
            f"{name} has {problem}, which the CLIPModel of transformers does not have",
            "--to open_clip takes every model",
        )
    text, vision = model["text_cfg"], model["vision_cfg"]
    act = "quick_gelu" if model.get("quick_gelu") else "gelu"
    shared = {"hidden_act": act, "layer_norm_eps": 1e-5, "projection_dim": model["embed_dim"]}
    width, text_width = vision.get("width", 768), text.get("width", 512)
    return {
        "architectures": ["CLIPModel"],
        "model_type": MODEL_TYPE,
        "projection_dim": model["embed_dim"],
        "dtype": "float32",
        "text_config": {
            **shared,
            "model_type": "clip_text_model",
            "vocab_size": text.get("vocab_size", BPE_TOKENS),
            "max_position_embeddings": text.get("context_length", 77),
            "hidden_size": text_width,
            "intermediate_size": int(text_width * text.get("mlp_ratio", 4.0)),
            "num_attention_heads": text.get("heads", 8),
            "num_hidden_layers": text.get("layers", 12),
            "bos_token_id": 0,
            "eos_token_id": FIRST_HIGHEST,
        },
        "vision_config": {
            **shared,
            "model_type": "clip_vision_model",
            "image_size": _side(vision.get("image_size", 224)),
            "patch_size": _side(vision.get("patch_size", 16)),
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "num_attention_heads": width // vision.get("head_width", 64),
            "num_hidden_layers": vision.get("layers", 12),
        },
    }


def _differences(model: Mapping[str, Any]) -> Iterator[str]:
    """What a ``model_cfg`` asks for beyond the plain CLIP of transformers."""
    known = {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "custom_text"}
    for part, allowed in (("", known), ("vision_cfg", _VISION), ("text_cfg", _TEXT)):
        for key, value in (model[part] if part else model).items():
            if key in allowed or key in _SILENT or value in (None, False, {}):
                continue
            if value in _PLAIN.get(key, ()):
                continue
            yield f"{part}.{key} = {value!r}".lstrip(".")
    vision = model["vision_cfg"]
    if not isinstance(vision.get("layers", 12), int):
        yield f"vision_cfg.layers = {vision['layers']!r} (a ResNet)"
    for key in ("image_size", "patch_size"):
        value = vision.get(key, 16)
        if isinstance(value, (list, tuple)) and len(set(value)) > 1:
            yield f"vision_cfg.{key} = {value!r}"


def make_preprocessing(config: Mapping[str, Any]) -> dict[str, Any]:
    """``preprocessor_config.json`` of transformers for an open_clip configuration.

    Raises:
        ModelError: its image processor cannot do what this one asks for.
    """
    from open_clip.transform import PreprocessCfg

    own = {**vars(PreprocessCfg()), **config.get("preprocess_cfg", {})}
    side = _side(config["model_cfg"]["vision_cfg"].get("image_size", 224))
    modes = {"shortest": {"shortest_edge": side}, "squash": {"height": side, "width": side}}
    if own["interpolation"] not in _RESAMPLING or own["resize_mode"] not in modes:
        raise ModelError(
            f"images are resized with {own['interpolation']}, {own['resize_mode']}, which the "
            "image processor of transformers does not do",
            "--to open_clip takes every model",
        )
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": modes[own["resize_mode"]],
        "resample": _RESAMPLING[own["interpolation"]],
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(own["mean"]),
        "image_std": list(own["std"]),
    }


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, (list, tuple)) else size)
