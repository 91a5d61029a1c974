"""Vectors from what other tools write: state dicts, adapters, and any two checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from talos_engine.artifacts import read_checkpoint, read_vector, restore
from talos_engine.errors import ArtifactError, CorruptFileError, MismatchError, OptionError
from talos_engine.models.adapters import CONFIG, WEIGHTS
from talos_engine.models.loading import load_weights
from talos_engine.workflows.vector import VectorRequest, make_vector


def restored(vector: Path, base: str) -> dict[str, torch.Tensor]:
    """θ0 + τ."""
    theta0 = load_weights(base).tensors
    entries = read_vector(vector).entries
    return {
        name: restore(value, entries[name]) if name in entries else value
        for name, value in theta0.items()
    }


@pytest.mark.parametrize("form", ["safetensors", "pt", "nested"])
def test_a_state_dict_gives_the_vector_of_its_checkpoint(
    toy_files: Any, tmp_path: Path, form: str
) -> None:
    ours = toy_files.checkpoint("a", "talos")
    tensors = dict(read_checkpoint(ours).tensors)
    other = tmp_path / f"other.{form}"
    if form == "safetensors":
        save_file(tensors, other)
    else:
        torch.save({"state_dict": tensors} if form == "nested" else tensors, other)
    out = tmp_path / "v"
    make_vector(VectorRequest(other, out, model="toy-clip"))
    found, expected = read_vector(out), read_vector(toy_files.vector("a", "talos"))
    assert found.header.method == "external"
    assert found.header.base == expected.header.base
    assert found.entries.keys() == expected.entries.keys()
    for name, entry in expected.entries.items():
        assert torch.equal(found.entries[name].dense(), entry.dense())


def test_files_without_our_header_need_a_model(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(OptionError, match="does not tell its base"):
        make_vector(VectorRequest(tmp_path / "other", tmp_path / "v"))
    with pytest.raises(MismatchError, match="does not fit the architecture"):
        make_vector(VectorRequest(tmp_path / "other", tmp_path / "v", model="toy-clip"))


def test_a_pickled_module_is_refused_with_a_way_to_convert(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(ArtifactError, match="never run") as caught:
        make_vector(VectorRequest(tmp_path / "module.pt", tmp_path / "v", model="toy-clip"))
    assert "state_dict" in caught.value.hint
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_pickle_is_called_damaged(toy_files: Any, tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "cut.pt"
    tensors = dict(read_checkpoint(toy_files.checkpoint("a")).tensors)
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for left in (60, 500, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:left])
        with pytest.raises(CorruptFileError, match=r"cut\.pt is damaged"):
            make_vector(VectorRequest(path, tmp_path / "v", model="toy-clip"))


@pytest.mark.parametrize("prefix", ["model.", "module.", "module.model."])
@pytest.mark.parametrize("absent", ["nothing", "transformer", "text tower"])
def test_a_pickled_encoder_turned_into_a_state_dict_is_understood(
    toy_files: Any, tmp_path: Path, prefix: str, absent: str
) -> None:
    """As the task-vector tools save them: a class around the model, its text tower deleted."""
    tensors = read_checkpoint(toy_files.checkpoint("a")).tensors
    kept = {
        "nothing": lambda name: True,
        "transformer": lambda name: not name.startswith("transformer."),
        "text tower": lambda name: name.startswith("visual."),
    }[absent]
    path = tmp_path / "encoder.pt"
    torch.save({prefix + name: value for name, value in tensors.items() if kept(name)}, path)
    result = make_vector(VectorRequest(path, tmp_path / "v", model="toy-clip"))
    missing = sum(not kept(name) for name in tensors)
    told = [f"{path} has no text tower: {missing} tensors are taken from the base"]
    assert list(result.notes) == (told if missing else [])
    found, expected = read_vector(tmp_path / "v"), read_vector(toy_files.vector("a"))
    assert found.entries.keys() == expected.entries.keys()
    for name, entry in expected.entries.items():
        assert torch.equal(found.entries[name].dense(), entry.dense())


@pytest.mark.parametrize(
    "gone",
    ["visual.ln_pre.bias", "ln_final.bias", "transformer.resblocks.0.ln_1.bias", "logit_scale"],
)
def test_a_single_missing_tensor_is_no_missing_tower(
    toy_files: Any, tmp_path: Path, gone: str
) -> None:
    tensors = dict(read_checkpoint(toy_files.checkpoint("a")).tensors)
    del tensors[gone]
    torch.save(tensors, tmp_path / "odd.pt")
    with pytest.raises(MismatchError, match=f"{gone}': missing in the file"):
        make_vector(VectorRequest(tmp_path / "odd.pt", tmp_path / "v", model="toy-clip"))


def test_an_adapter_gives_its_product(tmp_path: Path) -> None:
    theta0 = load_weights("toy-clip").tensors
    name = next(name for name in theta0 if name.endswith("c_fc.weight"))
    rows, columns = theta0[name].shape
    up, down = torch.randn(rows, 2), torch.randn(2, columns)
    stem = f"base_model.model.{name.removesuffix('.weight')}"
    save_file({f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}, tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 1}))
    out = tmp_path / "v"
    make_vector(VectorRequest(tmp_path, out, model="toy-clip"))
    assert list(read_vector(out).entries) == [name]
    expected = (theta0[name].double() + 0.5 * up.double() @ down.double()).float()
    assert torch.equal(restored(out, "toy-clip")[name], expected)


def test_an_adapter_in_a_pickle_is_refused_with_a_way_to_convert(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 1}))
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(ArtifactError, match=f"has no {WEIGHTS}") as caught:
        make_vector(VectorRequest(tmp_path, tmp_path / "v", model="toy-clip"))
    assert "safe_serialization=True" in caught.value.hint


def test_a_vector_leads_from_one_checkpoint_to_another(toy_files: Any, tmp_path: Path) -> None:
    first, second = toy_files.checkpoint("a", "talos"), toy_files.checkpoint("b", "talos")
    out = tmp_path / "v"
    make_vector(VectorRequest(second, out, model=str(first)))
    found = restored(out, str(first))
    for name, value in read_checkpoint(second).tensors.items():
        assert torch.equal(found[name], value)


@pytest.mark.parametrize("name", ["v10", "v11"])
@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_a_state_dict_of_t5_holds_tied_weights_several_times(
    t5_toys: Any, tmp_path: Path, name: str, form: str
) -> None:
    from transformers import T5ForConditionalGeneration

    model = T5ForConditionalGeneration.from_pretrained(t5_toys.model(name))
    with torch.no_grad():
        model.get_input_embeddings().weight[3] += 0.5
        model.encoder.final_layer_norm.weight += 0.25
    state = {key: value.clone() for key, value in model.state_dict().items()}
    assert {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} < state.keys()
    path = tmp_path / f"tuned.{form}"
    save = torch.save if form == "pt" else save_file
    save(state, path)
    make_vector(VectorRequest(path, tmp_path / "v", t5_toys.model(name)))
    changed = {key: entry.nnz for key, entry in read_vector(tmp_path / "v").entries.items()}
    assert changed == {"shared.weight": 24, "encoder.final_layer_norm.weight": 24}
    found = restored(tmp_path / "v", t5_toys.model(name))
    assert all(torch.equal(value, state[key]) for key, value in found.items())

    state["decoder.embed_tokens.weight"][0] += 1
    save(state, path)
    with pytest.raises(MismatchError, match=r"tuned.*decoder\.embed_tokens\.weight' differ"):
        make_vector(VectorRequest(path, tmp_path / "w", t5_toys.model(name)))
    assert not (tmp_path / "w").exists()
