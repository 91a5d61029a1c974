"""``transformers``: a folder for ``from_pretrained`` of ``CLIPModel`` or a T5."""

from __future__ import annotations

import json
from pathlib import Path

from talos_engine.artifacts import write_json
from talos_engine.errors import ModelError
from talos_engine.models.clip_architecture import save_tokenizer
from talos_engine.models.clip_transformers import to_transformers
from talos_engine.models.clip_transformers_config import (
    CONFIG_FILE,
    PREPROCESSING_FILE,
    make_clip_config,
    make_preprocessing,
)
from talos_engine.models.exporting import (
    CLIP,
    EXPORTERS,
    T5,
    ExporterEntry,
    ExportSource,
    write_weights,
)
from talos_engine.models.t5_models import write_companions

_START, _END = "<|startoftext|>", "<|endoftext|>"


def write_clip(source: ExportSource, folder: Path) -> str:
    """Write a CLIPModel, its preprocessing and its tokenizer; QuickGELU is its ``hidden_act``.

    Raises:
        ModelError: CLIPModel cannot compute what this model does.
    """
    info = source.weights.info
    config, text = info.architecture, info.architecture["model_cfg"]["text_cfg"]
    write_json(folder / CONFIG_FILE, make_clip_config(config, info.name), force=False)
    write_json(folder / PREPROCESSING_FILE, make_preprocessing(config), force=False)
    if text.get("hf_tokenizer_name"):
        save_tokenizer(source.backbone, folder)
    else:
        _write_bpe(folder, text.get("context_length", 77))
    write_weights(folder / "model.safetensors", to_transformers(source.weights.tensors))
    return 'transformers.CLIPModel.from_pretrained("FOLDER")'


def write_t5(source: ExportSource, folder: Path) -> str:
    """Write a T5 model, with the configuration and tokenizer of the folder that it came from.

    Raises:
        ModelError: nobody knows that folder.
    """
    weights = source.weights
    if weights.folder is None:
        raise ModelError(
            f"the configuration and tokenizer of {weights.info.name} lie in its folder",
            "pass that folder with --model",
        )
    write_companions(weights.folder, folder)
    write_weights(folder / "model.safetensors", weights.tensors)
    return 'transformers.T5ForConditionalGeneration.from_pretrained("FOLDER")'


def _write_bpe(folder: Path, context_length: int) -> None:
    """CLIP's own tokenizer, whose merges come with open_clip, in the files of ``CLIPTokenizer``."""
    from open_clip.tokenizer import SimpleTokenizer

    bpe = SimpleTokenizer()
    special = {"<start_of_text>": _START, "<end_of_text>": _END}
    tokens = {special.get(token, token): number for token, number in bpe.encoder.items()}
    text = json.dumps(tokens, ensure_ascii=False)
    (folder / "vocab.json").write_text(text, encoding="utf-8")
    ranked = sorted(bpe.bpe_ranks, key=bpe.bpe_ranks.__getitem__)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in ranked)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": context_length,
        "bos_token": _START,
        "eos_token": _END,
        "pad_token": _END,
        "unk_token": _END,
        "do_lower_case": True,
    }
    write_json(folder / "tokenizer_config.json", settings, force=False)


EXPORTERS.register("transformers")(ExporterEntry("transformers", {CLIP: write_clip, T5: write_t5}))
