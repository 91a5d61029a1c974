"""The files of ``tiny-clip``: open_clip alone loads them, in both ways, and they are as described."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors import safe_open

from talos_engine.data.spec import EMBEDDED_TASKS, IMAGES

FOLDER = Path(str(resources.files("talos_engine.models"))) / "tiny_clip"
WEIGHTS = FOLDER / "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return open_clip.create_model(f"local-dir:{FOLDER}").eval()


@pytest.fixture(scope="module")
def tokenizer() -> open_clip.HFTokenizer:
    return open_clip.get_tokenizer(f"local-dir:{FOLDER}")


def test_weights_are_small_and_float16() -> None:
    assert WEIGHTS.stat().st_size <= 10_000_000
    with safe_open(WEIGHTS, "pt") as stored:
        assert {stored.get_tensor(key).dtype for key in stored.keys()} == {torch.float16}  # noqa: SIM118


def test_loaded_model_is_float32_with_the_stored_values(model: torch.nn.Module) -> None:
    with safe_open(WEIGHTS, "pt") as stored:
        for key, value in model.state_dict().items():
            assert value.dtype == torch.float32
            assert torch.equal(value, stored.get_tensor(key).float()), key
            assert torch.isfinite(value).all(), key


def test_model_is_a_plain_clip_with_gelu(model: torch.nn.Module) -> None:
    assert type(model).__name__ == "CLIP"
    kinds = {type(module).__name__ for module in model.modules()}
    assert {"MultiheadAttention", "GELU"} <= kinds
    assert "QuickGELU" not in kinds
    assert all(
        module.dropout == 0 for module in model.modules() if hasattr(module, "in_proj_weight")
    )
    assert model.visual.image_size == (32, 32)
    assert 1e6 < sum(p.numel() for p in model.visual.parameters()) < 5e6


def test_both_config_files_describe_the_same_model() -> None:
    full = json.loads((FOLDER / "open_clip_config.json").read_text())
    assert full["model_cfg"] == json.loads((FOLDER / "tiny-clip.json").read_text())
    assert full["preprocess_cfg"]["mean"] == list(open_clip.OPENAI_DATASET_MEAN)


def test_named_model_with_checkpoint_path_equals_the_folder(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory = open_clip.factory
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", [*factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    open_clip.add_model_config(FOLDER)
    named = open_clip.create_model("tiny-clip", pretrained=str(WEIGHTS)).eval()
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(named.encode_image(image), model.encode_image(image))
    by_name, by_folder = map(open_clip.get_model_preprocess_cfg, (named, model))
    assert by_name.keys() == by_folder.keys()
    for key, value in by_name.items():
        # JSON knows lists only where open_clip has tuples.
        assert by_folder[key] == (list(value) if key in ("mean", "std") else value), key


def test_every_prompt_is_known_and_fits(tokenizer: open_clip.HFTokenizer) -> None:
    unknown = tokenizer.tokenizer.unk_token_id
    end = tokenizer.tokenizer.eos_token_id
    for name in EMBEDDED_TASKS.names():
        task = EMBEDDED_TASKS.get(name)
        if task.kind != IMAGES:
            continue
        for template in task.templates:
            tokens = tokenizer([template.format(each) for each in task.class_names])
            assert tokens.shape == (len(task.class_names), 16)
            assert not (tokens == unknown).any()
            # The text tower reads its output at the largest token number: the end.
            assert (tokens.max(dim=1).values == end).all()
            assert (tokens[:, 0] == tokenizer.tokenizer.bos_token_id).all()
            pieces = tokenizer.tokenizer.convert_ids_to_tokens(tokens.flatten().tolist())
            assert not any(piece.startswith("##") for piece in pieces)
            assert len({tuple(row) for row in tokens.tolist()}) == len(task.class_names)


def test_unknown_words_are_spelled_and_long_texts_still_end(
    tokenizer: open_clip.HFTokenizer,
) -> None:
    tokens = tokenizer(["a Xylophone", "word " * 40])
    pieces = tokenizer.tokenizer.convert_ids_to_tokens(tokens[0].tolist())
    assert pieces[1:5] == ["a", "x", "##y", "##l"]
    assert (tokens.max(dim=1).values == tokenizer.tokenizer.eos_token_id).all()


def test_zero_shot_beats_chance_clearly(
    model: torch.nn.Module, tokenizer: open_clip.HFTokenizer
) -> None:
    """A guard against weights and tokenizer that don't belong together; not a benchmark."""
    task = EMBEDDED_TASKS.get("textures")
    examples = task.load("test")
    pixels = torch.from_numpy(examples.images[:200]).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    prompts = [task.templates[0].format(name) for name in task.class_names]
    with torch.inference_mode():
        head = model.encode_text(tokenizer(prompts), normalize=True)
        features = model.encode_image((pixels - mean) / std, normalize=True)
    right = (features @ head.T).argmax(1) == torch.from_numpy(examples.labels[:200])
    assert right.float().mean() > 0.3
