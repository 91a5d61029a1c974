"""``--model``: catalog names, checkpoints of ours, and what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from talos_engine.artifacts import Checkpoint, Header, hash_tensors, write_checkpoint
from talos_engine.errors import ArtifactError, MismatchError, UnknownNameError, WrongKindError
from talos_engine.models.loading import (
    build_backbone,
    check_model_name,
    is_checkpoint_path,
    load_weights,
)
from talos_engine.models.spec import BaseWeights


def write_edited(path: Path, weights: BaseWeights, **changed: torch.Tensor) -> None:
    header = Header("checkpoint", weights.info, "nonlinear", "toy-a", {}, 0, "")
    tensors = {**weights.tensors, **{n.replace("__", "."): value for n, value in changed.items()}}
    write_checkpoint(path, Checkpoint(header, tensors))


def test_a_catalog_name_gives_its_own_identity() -> None:
    weights = load_weights("toy-clip")
    assert weights.info == weights.origin
    assert weights.info.name == "toy-clip"
    assert weights.info.hash == hash_tensors(weights.tensors)
    assert weights.matching(weights.info.hash) is weights.info
    assert weights.matching("0" * 64) is None
    assert load_weights("toy-clip").info == weights.info
    assert load_weights("toy-other").info.hash != weights.info.hash


def test_the_hash_covers_the_text_tower() -> None:
    weights = load_weights("toy-clip")
    tensors = dict(weights.tensors)
    tensors["positional_embedding"] = tensors["positional_embedding"] + 1e-6
    assert hash_tensors(tensors) != weights.info.hash


def test_a_checkpoint_has_its_own_hash_and_remembers_its_base(tmp_path: Path) -> None:
    base = load_weights("toy-clip")
    path = tmp_path / "a.safetensors"
    write_edited(path, base, visual__ln_pre__bias=torch.ones(16))
    weights = load_weights(str(path))
    assert weights.origin == base.info
    assert weights.info.hash == hash_tensors(weights.tensors) != base.info.hash
    assert weights.matching(base.info.hash) == base.info
    assert weights.matching(weights.info.hash) is weights.info
    state = build_backbone(weights).encoder_state()
    assert state["visual.ln_pre.bias"].tolist() == [1.0] * 16


def test_names_win_over_files_and_files_need_no_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny-clip").write_text("not a model")
    assert not is_checkpoint_path("tiny-clip")
    write_edited(Path("edited"), load_weights("toy-clip"))
    assert is_checkpoint_path("edited")
    check_model_name("edited")
    check_model_name("tiny-clip")


@pytest.mark.parametrize("name", ["tiny-clop", "missing.safetensors", "", "../../x", "ViT-B-33"])
def test_neither_name_nor_file_lists_what_there_is(name: str) -> None:
    for function in (check_model_name, load_weights):
        with pytest.raises(UnknownNameError, match="no model named") as caught:
            function(name)
        assert "tiny-clip" in caught.value.hint


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises((UnknownNameError, ArtifactError)):
        load_weights(str(tmp_path))


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    plain = tmp_path / "plain.safetensors"
    save_file({"x": torch.zeros(1)}, plain)
    with pytest.raises(WrongKindError, match="a checkpoint was expected"):
        load_weights(str(plain))
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(ArtifactError):
        load_weights(str(text))


def test_a_checkpoint_of_another_architecture_is_refused_when_built(tmp_path: Path) -> None:
    base = load_weights("toy-clip")
    path = tmp_path / "a.safetensors"
    write_edited(path, base, visual__ln_pre__bias=torch.ones(8))
    with pytest.raises(MismatchError, match=r"visual\.ln_pre\.bias"):
        build_backbone(load_weights(str(path)))


def test_a_checkpoint_of_an_unknown_model_is_refused(tmp_path: Path) -> None:
    import dataclasses

    base = load_weights("toy-clip")
    info = dataclasses.replace(base.info, name="someones-clip")
    path = tmp_path / "a.safetensors"
    write_edited(path, dataclasses.replace(base, info=info))
    with pytest.raises(UnknownNameError, match="someones-clip"):
        build_backbone(load_weights(str(path)))
