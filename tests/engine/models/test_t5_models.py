"""``--model`` of T5: folders, hub ids, caches; weights files; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from talos_engine.artifacts import BaseInfo
from talos_engine.errors import ArtifactError, MismatchError, ModelError, OptionError
from talos_engine.models.loading import (
    build_backbone,
    check_model_name,
    find_spec,
    load_weights,
    open_skeleton,
)
from talos_engine.models.names import T5_NAMES
from talos_engine.models.spec import IMAGES, TEXTS
from talos_engine.models.t5_models import named_spec


@pytest.fixture
def own(t5_toys: Any, tmp_path: Path) -> Path:
    """A copy of ``v10`` to change."""
    return Path(shutil.copytree(t5_toys.model(), tmp_path / "own"))


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_names_of_t5_and_of_open_clip_are_told_apart() -> None:
    for name, repo in T5_NAMES.items():
        spec = find_spec(name)
        assert (spec.name, spec.pretrained, spec.kind) == (repo, "main", TEXTS)
        assert find_spec(repo, "v1").pretrained == "v1"
    assert find_spec("ViT-B/32").kind == IMAGES
    for name in ("t5", "a/b/c", "", "../t5", "ViT-B/32"):
        assert named_spec(name, None) is None


def test_without_network_the_ways_on_are_told() -> None:
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set") as caught:
        check_model_name("t5-small")
    assert "google-t5/t5-small" in caught.value.message
    assert "--model FOLDER" in caught.value.hint
    with pytest.raises(ModelError, match="at v1"):
        load_weights("google/flan-t5-base", "v1")


def test_a_copy_in_the_cache_is_enough(
    t5_toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    repo = tmp_path / "models--google-t5--t5-small"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("c" * 40)
    shutil.copytree(t5_toys.model(), repo / "snapshots" / ("c" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    check_model_name("t5-small")
    weights = load_weights("t5-small")
    assert weights.info.name == "google-t5/t5-small"
    assert weights.info.hash == load_weights(t5_toys.model()).info.hash
    again = load_weights(None, None, weights.info)
    assert again.info == weights.info, "what artifacts record finds it again"
    assert build_backbone(again).encode_texts(["a"], [("b", "c")]).shape == (1, 3, 2)


def test_one_file_shards_and_pickles_hold_the_same(t5_toys: Any, own: Path) -> None:
    whole = load_weights(t5_toys.model())
    assert load_weights(t5_toys.model("sharded")).info.hash == whole.info.hash
    state = load_file(own / "model.safetensors")
    (own / "model.safetensors").unlink()
    copies = dict.fromkeys(
        ("lm_head.weight", "encoder.embed_tokens.weight"), state["shared.weight"]
    )
    extra = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    torch.save({**state, **copies, extra: torch.zeros(2)}, own / "pytorch_model.bin")
    assert load_weights(str(own)).info.hash == whole.info.hash, "tied once, leftovers dropped"


def test_half_precision_becomes_float32(own: Path) -> None:
    state = load_file(own / "model.safetensors")
    half = {key: value.bfloat16() for key, value in state.items()}
    save_file(half, own / "model.safetensors", {"format": "pt"})
    loaded = load_weights(str(own)).tensors
    assert all(loaded[key].equal(half[key].float()) for key in loaded)


def test_a_tokenizer_is_needed_only_for_texts(own: Path) -> None:
    for name in ("tokenizer_config.json", "added_tokens.json"):
        (own / name).unlink(missing_ok=True)
    (own / "tokenizer_config.json").write_text('{"tokenizer_class": "Nothing"}')
    backbone = build_backbone(load_weights(str(own)))
    with pytest.raises(ModelError, match=r"tokenizer in .* cannot be read"):
        backbone.encode_texts(["a"], [("b", "c")])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"model_type": "bert"}, "type 'bert'"),
        ({"model_type": "mt5"}, "type 'mt5'"),
        ({"d_model": 2**40}, "d_model = 1099511627776"),
        ({"num_layers": 10_000}, "num_layers = 10000"),
        ({"d_ff": "wide"}, "d_ff = 'wide'"),
        ({"feed_forward_proj": "no-such-thing"}, "describes no T5 model"),
        ({"layer_norm_epsilon": 3}, "layer_norm_epsilon = 3"),
    ],
)
def test_configurations_that_talos_cannot_run(own: Path, values: Any, told: str) -> None:
    change_config(own, **values)
    with pytest.raises(ModelError, match=told):
        open_skeleton(str(own))


def test_weights_that_do_not_fit(own: Path) -> None:
    path = own / "model.safetensors"
    state = load_file(path)
    bad = {
        "missing in the file": {k: v for k, v in state.items() if "block.1" not in k},
        "missing in the model": {**state, "extra": torch.zeros(1)},
        r"of shape \(384, 24\), found": {**state, "shared.weight": torch.zeros(3, 3)},
        "NaN": {**state, "shared.weight": state["shared.weight"] * torch.nan},
        "differ": {**state, "encoder.embed_tokens.weight": state["shared.weight"] + 1},
    }
    for told, tensors in bad.items():
        save_file(tensors, path, {"format": "pt"})
        with pytest.raises(MismatchError, match=told):
            load_weights(str(own))
    path.write_bytes(b"garbage")
    with pytest.raises(ArtifactError, match=r"model\.safetensors"):
        load_weights(str(own))
    path.unlink()
    with pytest.raises(ModelError, match="has no weights"):
        load_weights(str(own))


def test_shards_that_are_missing_or_elsewhere(t5_toys: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(t5_toys.model("sharded"), tmp_path / "own"))
    index = folder / "model.safetensors.index.json"
    found = json.loads(index.read_text())
    next(iter(folder.glob("model-*.safetensors"))).unlink()
    with pytest.raises(ModelError, match="which is not there"):
        load_weights(str(folder))
    found["weight_map"] = dict.fromkeys(found["weight_map"], "../v10/model.safetensors")
    index.write_text(json.dumps(found))
    with pytest.raises(ArtifactError, match="not in its folder"):
        load_weights(str(folder))


def test_weights_have_no_second_source(t5_toys: Any) -> None:
    with pytest.raises(OptionError, match="does not go with the folder"):
        find_spec(t5_toys.model(), "main")
    base: BaseInfo = load_weights(t5_toys.model()).info
    with pytest.raises(OptionError, match="came from a folder"):
        load_weights(None, None, base)
    assert load_weights(None, t5_toys.model(), base).info == base
