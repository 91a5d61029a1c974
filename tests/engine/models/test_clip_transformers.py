"""CLIP folders of transformers' format: weights, configuration and results, there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from talos_engine.errors import ArtifactError, MismatchError, ModelError, TalosError
from talos_engine.models.clip_transformers import find_place, from_transformers, to_transformers
from talos_engine.models.clip_transformers_config import make_clip_config
from talos_engine.models.loading import build_backbone, find_spec, load_weights


def make_model(folder: Path, act: str = "quick_gelu", **sizes: Any) -> Any:
    """A random CLIPModel of transformers, saved; its LayerNorms and biases are not trivial."""
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 2, "hidden_act": act}
    text |= {"num_attention_heads": 2, "vocab_size": 49408, "max_position_embeddings": 77}
    vision = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "hidden_act": act}
    vision |= {"num_attention_heads": 4, "image_size": 32, "patch_size": 8}
    text, vision = text | sizes.pop("text", {}), vision | sizes.pop("vision", {})
    text["eos_token_id"] = text["vocab_size"] - 1
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=20, **sizes)
    model = CLIPModel(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.02 * torch.randn(value.shape, generator=generator))
    model.save_pretrained(folder)
    return model


def features(model: Any, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What transformers computes: logits per image, and image embeddings (normalized)."""
    with torch.no_grad():
        out = model(pixel_values=pixels, input_ids=tokens)
    return out.logits_per_image, out.image_embeds


def compare(model: Any, folder: Path) -> None:
    """Our logits on uint8 pixels against those of transformers on the same ones."""
    import open_clip

    backbone: Any = build_backbone(load_weights(str(folder)))
    side = model.config.vision_config.image_size
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    names, template = ["cat", "green apple"], "a photo of a {}."
    pixels = backbone.prepare(images)
    tokens = open_clip.get_tokenizer("ViT-B-32")([template.format(name) for name in names])
    logits, embeds = features(model, pixels, tokens)
    with torch.no_grad():
        ours = backbone.classifier(names, [template])(pixels)
        own = torch.nn.functional.normalize(backbone.model.visual(pixels), dim=-1)
    assert float((own - embeds).abs().max()) <= 1e-5
    assert float((ours - logits).abs().max()) <= 1e-5 * max(1.0, float(logits.abs().max()))


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_image_features_and_logits_are_those_of_transformers(tmp_path: Path, act: str) -> None:
    model = make_model(tmp_path, act)
    assert find_spec(str(tmp_path)).architecture()["model_cfg"]["quick_gelu"] is (
        act == "quick_gelu"
    )
    compare(model, tmp_path)


@pytest.mark.slow
def test_features_and_logits_of_a_model_of_the_size_of_vit_b_32(tmp_path: Path) -> None:
    from transformers import CLIPConfig

    base = CLIPConfig()  # ViT-B-32
    text, vision = base.text_config.to_dict(), base.vision_config.to_dict()
    compare(make_model(tmp_path, text=text, vision=vision), tmp_path)


def test_the_way_there_and_back_gives_the_same_bits(tmp_path: Path) -> None:
    make_model(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    ours = load_weights(str(tmp_path)).tensors
    assert torch.equal(ours["visual.proj"].T, stored["visual_projection.weight"])
    fused = ours["transformer.resblocks.1.attn.in_proj_bias"]
    there = "text_model.encoder.layers.1.self_attn"
    assert torch.equal(fused[24:48], stored[f"{there}.k_proj.bias"])
    back = to_transformers(ours)
    assert back.keys() == stored.keys()
    assert all(torch.equal(back[name], value) for name, value in stored.items())
    again = from_transformers(back, ours, "it")
    assert all(torch.equal(again[name], value) for name, value in ours.items())


def test_shards_and_old_position_ids_are_read(tmp_path: Path) -> None:
    model = make_model(tmp_path / "whole")
    model.save_pretrained(tmp_path / "parts", max_shard_size="1MB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    whole, parts = (load_weights(str(tmp_path / name)) for name in ("whole", "parts"))
    assert whole.info.hash == parts.info.hash
    path = tmp_path / "whole" / "model.safetensors"
    old = {**load_file(path), "text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(old, path)
    assert load_weights(str(tmp_path / "whole")).info.hash == whole.info.hash


def test_a_weights_file_of_transformers_is_read_for_an_architecture(
    tmp_path: Path, small_vit: Path
) -> None:
    expected = load_file(small_vit / "small.safetensors")
    save_file(to_transformers(expected), tmp_path / "model.safetensors")
    found = load_weights("Small-ViT", f"openai={tmp_path / 'model.safetensors'}")
    assert found.info.hash == load_weights("Small-ViT", f"openai={small_vit}/small.pt").info.hash


def test_preprocessing_is_that_of_the_folder(tmp_path: Path) -> None:
    make_model(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "resample": 2, "size": {"shortest_edge": 32}})
    )
    backbone = build_backbone(load_weights(str(tmp_path)))
    config: Any = backbone.image_transform().config["open_clip"]
    assert (config["interpolation"], config["resize_mode"]) == ("bilinear", "shortest")
    pixels = backbone.image_transform().apply(Image.new("RGB", (40, 50), (255, 0, 0)))
    assert pixels.shape == (3, 32, 32)


def edit(folder: Path, part: str, key: str, value: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    (config[part] if part else config)[key] = value
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("text_config", "hidden_act", "gelu", "activations"),
        ("vision_config", "layer_norm_eps", 1e-6, "layer_norm_eps"),
        ("vision_config", "num_channels", 1, "num_channels"),
        ("vision_config", "hidden_size", "wide", "no configuration"),
        ("vision_config", "patch_size", 16, "conv1"),
        ("text_config", "num_hidden_layers", 3, "layers.2"),
        ("text_config", "num_hidden_layers", 1, "layers.1"),
    ],
)
def test_a_folder_that_talos_cannot_run_is_refused(
    tmp_path: Path, part: str, key: str, value: object, said: str
) -> None:
    make_model(tmp_path)
    edit(tmp_path, part, key, value)
    with pytest.raises((ModelError, MismatchError), match=said):
        load_weights(str(tmp_path))


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"weight_map": {"logit_scale": "../../model.safetensors"}}, "not in its folder"),
        ({"weight_map": {"logit_scale": "other.bin"}}, "other.bin"),
        ({"weight_map": {}}, "in which files"),
        ([], "in which files"),
        ({"weight_map": {"logit_scale": "gone.safetensors"}}, "gone"),
        ({"weight_map": {"logit_scale": "part.safetensors"}}, "disagree"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path: Path, index: object, said: str) -> None:
    make_model(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "part.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match=said):
        load_weights(str(tmp_path))


def test_folders_of_other_models_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(TalosError, match="type 'bert'"):
        find_spec(str(tmp_path))


def test_what_clip_model_has_not_is_refused_by_name() -> None:
    model = {"embed_dim": 8, "vision_cfg": {"layers": [3, 4, 6, 3]}, "text_cfg": {}}
    with pytest.raises(ModelError, match="ResNet"):
        make_clip_config({"model_cfg": model}, "it")
    model = {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"proj_bias": True}}
    with pytest.raises(ModelError, match=r"text_cfg\.proj_bias = True"):
        make_clip_config({"model_cfg": model}, "it")
    with pytest.raises(ModelError, match="no place for"):
        find_place("visual.layer1.weight")
