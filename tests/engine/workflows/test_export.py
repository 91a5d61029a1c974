"""Exported folders, loaded by the libraries alone and compared with what we compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from talos_engine.errors import ModelError, OptionError, OutputError, TalosError
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.export import ExportRequest, export
from talos_engine.workflows.opening import Common, Session, open_session, resolve_model

TASK = "toy-a"


def our_logits(path: Path | str) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Logits of a checkpoint on a task's test images, the images, and the task."""
    from talos_engine.data.splits import find_task

    session: Session = open_session(resolve_model(str(path), []), Common(device="cpu").runtime())
    found = session.evaluation_task(TASK, "test")
    with torch.no_grad():
        return found.classifier(found.inputs), found.inputs, find_task(TASK)


def prompts(spec: Any) -> list[str]:
    return [template.format(name) for name in spec.class_names for template in spec.templates]


def head_logits(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, spec: Any) -> Any:
    """Zero-shot logits from embeddings, written out."""
    image, text = (value / value.norm(dim=-1, keepdim=True) for value in (image, text))
    head = text.reshape(len(spec.class_names), len(spec.templates), -1).mean(1)
    return scale.exp() * image @ (head / head.norm(dim=-1, keepdim=True)).T


@pytest.fixture
def merged(toy_files: Any, tmp_path: Path) -> Path:
    out = tmp_path / "merged.safetensors"
    vectors = tuple(toy_files.vector(task) for task in "ab")
    add_vectors(AddRequest(vectors=vectors, out=out, coefs=(0.7,), common=Common(device="cpu")))
    return out


def test_a_merged_model_is_the_same_in_open_clip(merged: Path, tmp_path: Path) -> None:
    import open_clip

    folder = tmp_path / "folder"
    done = export(ExportRequest("open_clip", folder, merged))
    assert done.loads == f'open_clip.create_model_and_transforms("local-dir:{folder}")'
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    ours, inputs, spec = our_logits(merged)
    model.eval()
    with torch.no_grad():
        text = model.encode_text(tokenizer(prompts(spec)))
        theirs = head_logits(model.encode_image(inputs), text, model.logit_scale, spec)
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(ours.abs().max())
    assert torch.equal(ours.argmax(1), theirs.argmax(1))


def test_a_merged_model_is_the_same_in_transformers(merged: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    folder = tmp_path / "folder"
    export(ExportRequest("transformers", folder, merged))
    model, told = CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours, inputs, spec = our_logits(merged)
    tokens = tokenizer(prompts(spec), padding=True, return_tensors="pt")["input_ids"]
    model.eval()
    with torch.no_grad():
        image = model.visual_projection(model.vision_model(inputs).pooler_output)
        text = model.text_projection(model.text_model(tokens).pooler_output)
        theirs = head_logits(image, text, model.logit_scale, spec)
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(ours.abs().max())
    assert torch.equal(ours.argmax(1), theirs.argmax(1))


def test_an_exported_folder_is_a_model_again(merged: Path, tmp_path: Path) -> None:
    ours, _, _ = our_logits(merged)
    for target in ("open_clip", "transformers"):
        export(ExportRequest(target, tmp_path / target, merged))
        again, _, _ = our_logits(tmp_path / target)
        assert torch.equal(ours, again), target


def test_a_vector_is_exported_with_its_base(toy_files: Any, tmp_path: Path) -> None:
    export(ExportRequest("open_clip", tmp_path / "folder", toy_files.vector()))
    found = load_file(tmp_path / "folder" / "open_clip_model.safetensors")
    expected = load_file(toy_files.checkpoint())
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_clips_own_tokenizer_and_quickgelu_go_to_transformers(
    small_vit: Path, tmp_path: Path
) -> None:
    import json

    import open_clip
    from transformers import AutoTokenizer

    common = Common(pretrained=f"openai={small_vit / 'small.safetensors'}")
    export(ExportRequest("transformers", tmp_path / "t", None, "Small-ViT", common))
    config = json.loads((tmp_path / "t" / "config.json").read_text())
    assert {config[f"{tower}_config"]["hidden_act"] for tower in ("text", "vision")} == {
        "quick_gelu"
    }
    texts = ["a photo of a  Dog, isn't it?", "naïve café № 5 ünïcödé!"]
    theirs = AutoTokenizer.from_pretrained(tmp_path / "t")(texts)["input_ids"]
    for ours, found in zip(open_clip.get_tokenizer("ViT-B-32")(texts), theirs, strict=True):
        assert found == ours[: len(found)].tolist()


def l_lora(folder: Path) -> tuple[Path, Path]:
    """A checkpoint of l-lora and its vector."""
    from talos_engine.workflows.finetune import FinetuneRequest, finetune
    from talos_engine.workflows.vector import VectorRequest, make_vector

    out, vector = folder / "lora.safetensors", folder / "lora.vector"
    common = Common(device="cpu")
    options = {"rank": 2, "lora_alpha": 4.0}
    finetune(FinetuneRequest("toy-clip", TASK, "l-lora", out, options=options, common=common))
    make_vector(VectorRequest(out, vector))
    return out, vector


def test_an_l_lora_vector_becomes_an_adapter(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import CLIPModel

    checkpoint, vector = l_lora(tmp_path)
    export(ExportRequest("transformers", tmp_path / "base", None, "toy-clip"))
    export(ExportRequest("transformers", tmp_path / "whole", checkpoint))
    for source in (vector, checkpoint):
        folder = tmp_path / f"adapter-{source.suffix}"
        export(ExportRequest("peft", folder, source))
        model = peft.PeftModel.from_pretrained(
            CLIPModel.from_pretrained(tmp_path / "base"), str(folder)
        )
        assert model.peft_config["default"].r == 2
        found = model.merge_and_unload().state_dict()
        for name, value in load_file(tmp_path / "whole" / "model.safetensors").items():
            assert float((found[name] - value).abs().max()) <= 1e-6, name


def test_what_is_not_low_rank_is_refused(toy_files: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not low-rank|only changes projections"):
        export(ExportRequest("peft", tmp_path / "out", toy_files.vector(method="nonlinear")))
    with pytest.raises(OptionError, match="needs a checkpoint or a vector"):
        export(ExportRequest("peft", tmp_path / "out", None, "toy-clip"))
    assert not (tmp_path / "out").exists()


def test_wrong_inputs_are_refused_and_leave_nothing(toy_files: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wrong = {
        "export target": ExportRequest("onnx", out, toy_files.vector()),
        "mask file": ExportRequest("open_clip", out, toy_files.mask()),
        "another base": ExportRequest("open_clip", out, toy_files.vector(), "toy-other"),
        "there is no file": ExportRequest("open_clip", out, tmp_path / "gone"),
    }
    for said, request in wrong.items():
        with pytest.raises(TalosError, match=said):
            export(request)
        assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    with pytest.raises(OutputError, match="exists already"):
        export(ExportRequest("open_clip", out, toy_files.vector()))
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_full_disk_is_noticed_before(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(OutputError, match="MB free"):
        export(ExportRequest("open_clip", tmp_path / "out", toy_files.vector()))


def test_a_file_without_a_base_needs_a_model(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"logit_scale": torch.tensor(np.float32(0))}, tmp_path / "plain.safetensors")
    with pytest.raises(OptionError, match="records no base"):
        export(ExportRequest("open_clip", tmp_path / "out", tmp_path / "plain.safetensors"))
