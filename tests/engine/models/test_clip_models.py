"""``--model`` and ``--pretrained``: architectures of open_clip, tags, files, folders, activations."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from talos_engine import hub
from talos_engine.artifacts import Checkpoint, Header, write_checkpoint
from talos_engine.errors import (
    ArtifactError,
    MismatchError,
    ModelError,
    OptionError,
    UnknownNameError,
)
from talos_engine.models.clip_architecture import check_config, make_config
from talos_engine.models.clip_models import list_weights
from talos_engine.models.loading import (
    build_backbone,
    check_model_name,
    find_spec,
    load_weights,
    open_skeleton,
)
from talos_engine.models.names import architecture_names
from talos_engine.models.spec import BaseWeights
from talos_engine.workflows.bases import check_base

NAMES = ("red cat", "green dog", "blue bird")
TEMPLATES = ("a photo of a {}.", "one {}")


def logits(weights: BaseWeights, images: list[Image.Image]) -> torch.Tensor:
    """Through our transformation and classifier."""
    backbone = build_backbone(weights)
    transform = backbone.image_transform()
    inputs = torch.from_numpy(np.stack([transform.apply(image) for image in images]))
    with torch.no_grad():
        return backbone.classifier(NAMES, TEMPLATES)(inputs)


def library_logits(name: str, path: Path, images: list[Image.Image], **more: Any) -> torch.Tensor:
    """The same with open_clip alone, as its documentation has it."""
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=str(path), **more)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    with torch.no_grad():
        columns = []
        for class_name in NAMES:
            tokens = tokenizer([template.format(class_name) for template in TEMPLATES])
            mean = model.encode_text(tokens, normalize=True).mean(0)
            columns.append(mean / mean.norm())
        pixels = torch.stack([preprocess(image) for image in images])
        features = model.encode_image(pixels, normalize=True)
        return model.logit_scale.exp() * features @ torch.stack(columns).T


@pytest.fixture
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(32, 32), (40, 70), (33, 31), (90, 64)]
    return [Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)) for size in sizes]


@pytest.fixture
def cached(small_vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with the weights of the tag ``openai``, as the library lays it out."""
    from huggingface_hub import constants

    repo = tmp_path / "hub" / "models--someone--small"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("c" * 40)
    snapshot = repo / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(small_vit / "small.safetensors", snapshot / "open_clip_model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("file", ["small.safetensors", "small.pt"])
def test_our_logits_are_those_of_open_clip(
    small_vit: Path, images: list[Image.Image], file: str
) -> None:
    ours = logits(load_weights("Small-ViT", str(small_vit / file)), images)
    theirs = library_logits("Small-ViT", small_vit / file, images)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert float(theirs.std()) > 0.01, "else anything would agree"


def test_weights_of_openai_get_quick_gelu_and_keep_it(
    small_vit: Path, images: list[Image.Image], tmp_path: Path
) -> None:
    path = small_vit / "small.safetensors"
    weights = load_weights("Small-ViT", f"openai={path}")
    assert weights.info.pretrained == "openai"
    assert weights.info.architecture["model_cfg"]["quick_gelu"] is True
    quick = library_logits("Small-ViT", path, images, force_quick_gelu=True)
    torch.testing.assert_close(logits(weights, images), quick, rtol=1e-5, atol=1e-5)
    plain = load_weights("Small-ViT", str(path))
    assert plain.info.pretrained == "file"
    assert plain.info.hash == weights.info.hash
    assert float((logits(plain, images) - quick).abs().max()) > 1e-3
    saved = tmp_path / "edited.safetensors"
    changed = {**weights.tensors, "visual.ln_pre.bias": torch.ones(16)}
    write_checkpoint(
        saved, Checkpoint(Header("checkpoint", weights.info, "m", "t", {}, 0, ""), changed)
    )
    again = load_weights(str(saved))
    theirs = library_logits("Small-ViT", saved, images, force_quick_gelu=True)
    torch.testing.assert_close(logits(again, images), theirs, rtol=1e-5, atol=1e-5)


def test_another_activation_is_an_error(small_vit: Path) -> None:
    path = str(small_vit / "small.safetensors")
    quick, plain = load_weights("Small-ViT", f"openai={path}"), load_weights("Small-ViT", path)
    assert check_base(quick, quick.info, Path("x")) == quick.info
    with pytest.raises(MismatchError, match="quick_gelu = True, the model given has None"):
        check_base(plain, quick.info, Path("x"))
    recorded = load_weights(None, path, quick.info)
    assert recorded.info == quick.info, "the recorded architecture is what counts"


def test_a_name_that_says_quick_gelu_refuses_other_weights(
    small_vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from open_clip import factory

    config = {**factory._MODEL_CONFIGS["Small-ViT"], "quick_gelu": True}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Small-ViT", config)
    with pytest.raises(MismatchError, match="trained with GELU"):
        find_spec("Small-ViT", "later")
    assert find_spec("Small-ViT", "openai").architecture()["model_cfg"]["quick_gelu"]


def test_a_nameless_file_that_looks_like_openais_is_asked_about(
    small_vit: Path, tmp_path: Path
) -> None:
    path = tmp_path / "clip-OpenAI.safetensors"
    shutil.copy(small_vit / "small.safetensors", path)
    with pytest.raises(OptionError, match="need QuickGELU") as caught:
        find_spec("Small-ViT", str(path))
    assert f"openai={path}" in caught.value.hint
    assert find_spec("Small-ViT", f"file={path}").pretrained == "file"
    assert find_spec("Small-ViT", f"openai={path}").pretrained == "openai"


def test_a_cached_copy_needs_no_network(
    small_vit: Path, cached: Path, images: list[Image.Image]
) -> None:
    weights = load_weights("Small-ViT")
    assert weights.info.pretrained == "openai"
    assert load_weights("Small-ViT", "openai").info == weights.info
    assert load_weights(None, None, weights.info).info == weights.info
    quick = library_logits(
        "Small-ViT", small_vit / "small.safetensors", images, force_quick_gelu=True
    )
    torch.testing.assert_close(logits(weights, images), quick, rtol=1e-5, atol=1e-5)
    here = {(known.name, known.tag) for known in list_weights(everything=False) if known.here}
    assert here == {("Small-ViT", "openai")}


@pytest.mark.parametrize("function", [check_model_name, load_weights])
def test_without_network_one_error_names_three_ways(small_vit: Path, function: Any) -> None:
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set") as caught:
        function("ViT-B-32", "openai")
    assert "ViT-B-32 (openai" in caught.value.message
    for way in ("--pretrained openai=FILE", "network", "--model tiny-clip"):
        assert way in caught.value.hint


def test_a_hub_that_does_not_answer_is_asked_once(
    small_vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("talos_engine.models.clip_weights.hub_problem", lambda: "no answer")
    monkeypatch.setattr("open_clip.pretrained.download_pretrained", lambda *_: pytest.fail("asked"))
    with pytest.raises(ModelError, match="no answer"):
        load_weights("Small-ViT")


def test_a_download_that_fails_is_one_error(
    small_vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FileNotFoundError("Failed to download file (x)\nmore")

    monkeypatch.setattr("talos_engine.models.clip_weights.hub_problem", lambda: "")
    monkeypatch.setattr("open_clip.pretrained.download_pretrained", fail)
    check_model_name("Small-ViT")
    with pytest.raises(
        ModelError, match=r"downloading failed: Failed to download file \(x\) \(three"
    ):
        load_weights("Small-ViT")


@pytest.fixture
def folder(small_vit: Path, tmp_path: Path) -> Path:
    """A folder of open_clip's format with QuickGELU and a normalization of its own."""
    made = tmp_path / "my clip"
    made.mkdir()
    config = json.loads((small_vit / "configs" / "Small-ViT.json").read_text())
    config["quick_gelu"] = True
    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    whole = {"model_cfg": config, "preprocess_cfg": preprocess}
    (made / "open_clip_config.json").write_text(json.dumps(whole))
    shutil.copy(small_vit / "small.safetensors", made / "open_clip_model.safetensors")
    return made


def test_a_folder_of_open_clips_format(
    folder: Path, images: list[Image.Image], tmp_path: Path
) -> None:
    weights = load_weights(str(folder))
    assert (weights.info.name, weights.info.pretrained) == ("local-dir:my clip", "folder")
    assert str(tmp_path) not in json.dumps(dataclasses.asdict(weights.info))
    theirs = library_logits(f"local-dir:{folder}", Path(), images)
    torch.testing.assert_close(logits(weights, images), theirs, rtol=1e-5, atol=1e-5)
    with pytest.raises(OptionError, match="came from a folder"):
        load_weights(None, None, weights.info)
    assert load_weights(None, str(folder), weights.info).info == weights.info
    with pytest.raises(OptionError, match="does not go with the folder"):
        load_weights(str(folder), "openai")


def test_a_folder_without_weights_or_model_is_refused(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        find_spec(str(folder))
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(ModelError, match="model_cfg"):
        find_spec(str(folder))


def test_a_tokenizer_that_lies_in_the_folder_is_asked_for(
    toy_folder: Path, tmp_path: Path, images: list[Image.Image]
) -> None:
    base = load_weights(str(toy_folder))
    theirs = library_logits(f"local-dir:{toy_folder}", Path(), images)
    torch.testing.assert_close(logits(base, images), theirs, rtol=1e-5, atol=1e-5)
    saved = tmp_path / "checkpoint"
    write_checkpoint(
        saved, Checkpoint(Header("checkpoint", base.info, "m", "t", {}, 0, ""), dict(base.tensors))
    )
    with pytest.raises(ModelError, match="tokenizer") as caught:
        logits(load_weights(str(saved)), images)
    assert "--pretrained FOLDER" in caught.value.hint
    found = logits(load_weights(str(saved), str(toy_folder)), images)
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-5)
    with pytest.raises(OptionError, match="is a checkpoint"):
        load_weights(str(saved), "openai")


def test_what_cannot_be_named_so(small_vit: Path, tmp_path: Path) -> None:
    for pretrained, words in (
        ("nothing", "no weights named 'nothing'"),
        ("openai=nowhere.pt", "no file nowhere.pt"),
        (str(tmp_path), "is a folder"),
    ):
        with pytest.raises(OptionError, match=words):
            find_spec("Small-ViT", pretrained)
    with pytest.raises(OptionError, match="has its own weights"):
        find_spec("tiny-clip", "openai")
    with pytest.raises(OptionError, match="no weights of OpenAI") as caught:
        find_spec("ViT-H-14")
    assert "laion2b_s32b_b79k" in caught.value.hint
    with pytest.raises(UnknownNameError, match="no model named 'ViT-B-23'") as unknown:
        find_spec("ViT-B-23")
    assert "did you mean 'ViT-B-32'" in unknown.value.hint
    assert find_spec("ViT-B/32").name == "ViT-B-32"


@pytest.mark.parametrize(
    ("name", "tag", "words"),
    [
        ("coca_ViT-B-32", "laion2b_s13b_b90k", "CoCa"),
        ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k", "transformers"),
    ],
)
def test_architectures_that_are_not_supported_say_so(name: str, tag: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        find_spec(name, tag)


class _Harm:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_never_runs(small_vit: Path, tmp_path: Path) -> None:
    for name, legacy in (("new.pt", False), ("old.pt", True)):
        harm = {"x": torch.zeros(1), "y": _Harm(tmp_path / "harm")}
        torch.save(harm, tmp_path / name, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(ArtifactError, match="tensors only"):
            load_weights("Small-ViT", str(tmp_path / name))
    assert not (tmp_path / "harm").exists()


def test_torchscript_is_refused(small_vit: Path, tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "jit.pt")
    with pytest.raises(ArtifactError, match="TorchScript"):
        load_weights("Small-ViT", str(tmp_path / "jit.pt"))


def broken(state: dict[str, torch.Tensor]) -> Iterator[tuple[dict[str, torch.Tensor], str]]:
    name = "visual.ln_pre.bias"
    yield {key: value for key, value in state.items() if key != name}, "missing in the file"
    yield {**state, "more": torch.zeros(1)}, "missing in the model"
    yield {**state, name: torch.zeros(17)}, r"expected .*\(16,\), found .*\(17,\)"
    yield {**state, name: torch.full((16,), torch.nan)}, "NaN"
    yield {**state, name: torch.zeros(16, dtype=torch.int64)}, "int64"


def test_weights_that_do_not_fit_are_refused(small_vit: Path, tmp_path: Path) -> None:
    state = load_file(small_vit / "small.safetensors")
    for number, (wrong, words) in enumerate(broken(state)):
        path = tmp_path / f"{number}.safetensors"
        save_file(wrong, path)
        with pytest.raises(MismatchError, match=words):
            load_weights("Small-ViT", str(path))
    for content in (b"", b"hello", b"PK\x03\x04 not a zip", b"\x80\x02."):
        path.write_bytes(content)
        with pytest.raises(ArtifactError):
            load_weights("Small-ViT", str(path))


def test_half_precision_and_prefixes_are_read_as_the_library_reads_them(
    small_vit: Path, tmp_path: Path
) -> None:
    state = load_file(small_vit / "small.safetensors")
    half = {f"module.{name}": value.half() for name, value in state.items()}
    save_file(half, tmp_path / "half.safetensors")
    found = load_weights("Small-ViT", str(tmp_path / "half.safetensors")).tensors
    assert set(found) == set(state)
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[name].half().float())


def test_a_checkpoint_of_ours_is_no_weights_file(small_vit: Path, tmp_path: Path) -> None:
    weights = load_weights("Small-ViT", str(small_vit / "small.pt"))
    path = tmp_path / "c"
    header = Header("checkpoint", weights.info, "m", "t", {}, 0, "")
    write_checkpoint(path, Checkpoint(header, dict(weights.tensors)))
    with pytest.raises(ArtifactError, match="made by talos") as caught:
        load_weights("Small-ViT", str(path))
    assert f"--model {path}" in caught.value.hint


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("vision_cfg", "layers", 10**6),
        ("vision_cfg", "width", 10**9),
        ("text_cfg", "tokenizer_kwargs", {"trust_remote_code": True}),
        ("text_cfg", "hf_model_name", "someone/model"),
    ],
)
def test_a_hostile_configuration_is_refused_before_anything_is_built(
    small_vit: Path, place: str, key: str, value: Any
) -> None:
    config = copy.deepcopy(find_spec("Small-ViT", "later").architecture())
    check_config(config, "x")
    config["model_cfg"][place][key] = value
    with pytest.raises(ModelError):
        check_config(config, "x")


def test_a_configuration_that_describes_nothing_is_one_error(small_vit: Path) -> None:
    weights = load_weights("Small-ViT", str(small_vit / "small.pt"))
    wrong = copy.deepcopy(weights.info.architecture)
    wrong["model_cfg"]["vision_cfg"]["nonsense"] = 1
    info = dataclasses.replace(weights.info, architecture=wrong)
    with pytest.raises(ModelError, match="describes no CLIP model"):
        build_backbone(dataclasses.replace(weights, info=info))


def test_a_configuration_larger_than_the_weights_is_refused_before_it_takes_memory(
    small_vit: Path,
) -> None:
    weights = load_weights("Small-ViT", str(small_vit / "small.pt"))
    wrong = copy.deepcopy(weights.info.architecture)
    wrong["model_cfg"]["vision_cfg"]["width"] = 2**20
    info = dataclasses.replace(weights.info, architecture=wrong)
    with pytest.raises(MismatchError, match="do not fit the architecture"):
        build_backbone(dataclasses.replace(weights, info=info))


def test_skeletons_need_no_weights() -> None:
    skeleton = open_skeleton("ViT-B-32", "openai")
    assert skeleton.total_entries == 151_277_313
    assert skeleton.encoder_entries == 87_849_216
    assert skeleton.input_shape == (3, 224, 224)
    kinds = {group.kind for group in skeleton.structure.groups}
    assert kinds == {"q", "k", "v", "o", "mlp_in", "mlp_out", "ln", "conv"}


def test_training_defaults_are_the_papers() -> None:
    found = find_spec("ViT-L-14", "openai").training_defaults[""]
    assert found["lr"] == 1e-5
    assert (found["steps"], found["warmup"], found["batch_size"]) == (2000, 200, 128)
    assert (found["weight_decay"], found["clip"], found["schedule"]) == (0.1, 1.0, "cosine")


def test_names_are_those_of_the_library() -> None:
    import open_clip

    known = {name for name in open_clip.list_models() if not name.startswith("Small")}
    assert set(architecture_names()) == known


def test_a_made_configuration_is_plain_and_sizeless() -> None:
    config = make_config({"a": (1, 2)}, {"size": 3, "mean": (0.1, 0.2, 0.3), "url": "x"})
    assert config["model_cfg"] == {"a": [1, 2]}
    assert config["preprocess_cfg"]["mean"] == [0.1, 0.2, 0.3]
    assert not {"size", "url"} & set(config["preprocess_cfg"])


def test_the_reason_is_the_users_own_wish_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "hub_answers", lambda: pytest.fail("asked"))
    assert hub.hub_problem() == "HF_HUB_OFFLINE is set"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    assert hub.hub_problem() == "the hub cannot be reached"
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    assert hub.hub_problem() == ""
