"""``open_clip``: a folder for ``open_clip.create_model_and_transforms("local-dir:FOLDER")``."""

from __future__ import annotations

from pathlib import Path

from talos_engine.artifacts import write_json
from talos_engine.models.clip_architecture import CONFIG_FILE, save_tokenizer
from talos_engine.models.exporting import (
    CLIP,
    EXPORTERS,
    ExporterEntry,
    ExportSource,
    write_weights,
)


def write_folder(source: ExportSource, folder: Path) -> str:
    """Write configuration (with the activation), weights, and the tokenizer where it is its own."""
    config = source.weights.info.architecture
    write_json(folder / CONFIG_FILE, config, force=False)
    if config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"):
        save_tokenizer(source.backbone, folder)
    write_weights(folder / "open_clip_model.safetensors", source.weights.tensors)
    return 'open_clip.create_model_and_transforms("local-dir:FOLDER")'


EXPORTERS.register("open-clip")(ExporterEntry("open-clip", {CLIP: write_folder}))
