"""``--model OWNER/NAME``: the configuration tells T5 from CLIP, and is fetched before weights."""

from __future__ import annotations

import fnmatch
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from talos_engine.errors import ModelError, OptionError
from talos_engine.models.hub_folder import tell_once
from talos_engine.models.loading import (
    build_backbone,
    check_model_name,
    find_spec,
    load_weights,
    open_skeleton,
)
from talos_engine.models.spec import IMAGES, TEXTS

NAME = "someone/own"
COMMIT = "c" * 40
TEXTS_AND_FIRST = ("*.json", "*.model", "*.txt", "model*.safetensors")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
PREPROCESSING = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}


class Hub:
    """A hub of one repository: copies what is asked for into the cache, and keeps the requests."""

    def __init__(self, source: Path, cache: Path) -> None:
        self.source, self.place = source, cache / "models--someone--own"
        self.asked: list[list[str]] = []
        self.commit = COMMIT

    def __call__(self, repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        assert (repo, revision) == (NAME, "main")
        self.asked.append(allow_patterns)
        return str(self.fill(*allow_patterns))

    def fetch(self, repo: str, name: str, *, revision: str) -> str:
        """One file of a commit, or a record in the cache that the commit has none."""
        from huggingface_hub.errors import EntryNotFoundError

        assert repo == NAME
        self.asked.append([f"{revision}/{name}"])
        folder = self.place / "snapshots" / revision
        if not (self.source / name).is_file():
            (self.place / ".no_exist" / revision).mkdir(parents=True, exist_ok=True)
            (self.place / ".no_exist" / revision / name).touch()
            raise EntryNotFoundError(f"404: {name}")
        return str(shutil.copy(self.source / name, folder))

    def fill(self, *patterns: str) -> Path:
        (self.place / "refs").mkdir(parents=True, exist_ok=True)
        (self.place / "refs" / "main").write_text(self.commit)
        folder = self.place / "snapshots" / self.commit
        folder.mkdir(parents=True, exist_ok=True)
        for path in self.source.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns):
                shutil.copy(path, folder)
        return folder

    def has_weights(self) -> bool:
        return any(path.name in WEIGHTS for path in self.place.rglob("*"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub that answers, and an empty cache; its repository is filled by the test."""
    import huggingface_hub
    from huggingface_hub import constants

    (tmp_path / "source").mkdir()
    found = Hub(tmp_path / "source", tmp_path / "hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", found.fetch)
    tell_once.cache_clear()
    monkeypatch.setattr("talos_engine.models.hub_folder.hub_problem", lambda: "")
    return found


@pytest.fixture(scope="session")
def saved_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIPModel as transformers saves it, with preprocessing that is not CLIP's own."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("saved-clip")
    tower = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tower |= {"hidden_size": 16, "hidden_act": "quick_gelu"}
    vision = {**tower, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=tower, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return folder


@pytest.fixture
def clip(hub: Hub, saved_clip: Path) -> Hub:
    shutil.copytree(saved_clip, hub.source, dirs_exist_ok=True)
    return hub


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "talos_engine.models.hub_folder.hub_problem", lambda: "HF_HUB_OFFLINE is set"
    )


def test_clip_is_told_from_t5_before_any_weights(clip: Hub, t5_toys: Any) -> None:
    spec = find_spec(NAME)
    assert (spec.name, spec.pretrained, spec.kind) == (NAME, "main", IMAGES)
    assert spec.architecture()["preprocess_cfg"]["mean"] == PREPROCESSING["image_mean"]
    assert clip.asked[0] == ["config.json"]
    assert not clip.has_weights()
    shutil.rmtree(clip.place)
    shutil.rmtree(clip.source)
    shutil.copytree(t5_toys.model(), clip.source)
    spec = find_spec(NAME)
    assert (spec.name, spec.pretrained, spec.kind) == (NAME, "main", TEXTS)
    assert not clip.has_weights()


def test_clip_of_a_repository_is_that_of_its_folder(
    clip: Hub, saved_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, there = load_weights(NAME), load_weights(str(saved_clip))
    assert weights.info.hash == there.info.hash
    assert weights.info.architecture == there.info.architecture
    forbid(monkeypatch)
    asked = len(clip.asked)
    check_model_name(NAME)
    again = load_weights(None, None, load_weights(NAME).info)
    assert again.info == weights.info, "what artifacts record finds it again"
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ours, theirs = (
        build_backbone(each).classifier(("cat", "dog"), ("a {}",))(images)
        for each in (again, there)
    )
    assert ours.equal(theirs)
    assert load_weights(None, str(saved_clip), weights.info).info == weights.info
    assert len(clip.asked) == asked


def test_a_pickle_of_clip_is_fetched_where_there_is_nothing_else(
    clip: Hub, saved_clip: Path
) -> None:
    path = clip.source / "model.safetensors"
    torch.save(load_file(path), clip.source / "pytorch_model.bin")
    path.unlink()
    assert load_weights(NAME).info.hash == load_weights(str(saved_clip)).info.hash


def test_shards_that_an_index_lists_are_all_fetched(clip: Hub, saved_clip: Path) -> None:
    from transformers import CLIPModel

    (clip.source / "model.safetensors").unlink()
    CLIPModel.from_pretrained(saved_clip).save_pretrained(clip.source, max_shard_size="3MB")
    assert len(list(clip.source.glob("model-*.safetensors"))) > 1
    clip.fill("*.json", "model-00001*")
    assert load_weights(NAME).info.hash == load_weights(str(saved_clip)).info.hash


def test_preprocessing_is_fetched_where_the_cache_lacks_it(clip: Hub) -> None:
    clip.fill("config.json", "model.safetensors")  # as CLIPModel.from_pretrained leaves it
    clip.commit = "d" * 40  # the repository has moved on since
    assert find_spec(NAME).architecture()["preprocess_cfg"]["mean"] == PREPROCESSING["image_mean"]
    assert clip.asked == [[f"{COMMIT}/preprocessor_config.json"]], "of the commit in the cache"
    assert (clip.place / "refs" / "main").read_text() == COMMIT


@pytest.mark.parametrize("why", ["offline", "proxy"])
def test_an_unknown_preprocessing_is_noted_and_the_cached_model_taken(
    clip: Hub, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clip.fill("config.json", "model.safetensors")
    break_hub(monkeypatch, why)
    for _ in range(2):
        found = load_weights(NAME).info.architecture["preprocess_cfg"]
        assert found["mean"][0] == 0.48145466
    (note,) = caplog.messages
    assert "whether the repository someone/own has a preprocessor_config.json" in note
    assert {"offline": "HF_HUB_OFFLINE is set", "proxy": "ProxyError: 403"}[why] in note
    assert "mean and std of OpenAI's CLIP" in note


def test_a_new_model_is_not_fetched_without_its_preprocessing(
    clip: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip.fill("config.json")
    break_hub(monkeypatch, "proxy")
    with pytest.raises(ModelError, match="ProxyError: 403"):
        load_weights(NAME)
    assert clip.asked == []


@pytest.mark.parametrize("why", ["offline", "proxy"])
def test_a_repository_without_preprocessing_is_asked_once(
    clip: Hub, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (clip.source / "preprocessor_config.json").unlink()
    weights = load_weights(NAME)
    asked = len(clip.asked)
    clip.commit = "d" * 40
    find_spec(NAME)
    break_hub(monkeypatch, why)
    assert load_weights(NAME).info == weights.info
    assert (len(clip.asked), caplog.messages) == (asked, [])


def break_hub(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """No network by the user's wish, or a proxy that lets the port answer and nothing through."""
    import huggingface_hub

    def refuse(*arguments: Any, **named: Any) -> str:
        raise OSError("ProxyError: 403 Forbidden")

    if why == "offline":
        forbid(monkeypatch)
    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(huggingface_hub, name, refuse)


@pytest.mark.parametrize("kind", ["mt5", "bert", None])
def test_what_talos_does_not_run_is_refused_before_its_weights(hub: Hub, kind: Any) -> None:
    (hub.source / "config.json").write_text(json.dumps({"model_type": kind}))
    for name in (*WEIGHTS, "spiece.model"):
        (hub.source / name).write_bytes(b"large")
    for ask in (check_model_name, load_weights, open_skeleton):
        with pytest.raises(ModelError, match=f"someone/own .* of type {kind!r}") as caught:
            ask(NAME)
        assert "'clip' or 't5'" in caught.value.hint
    assert hub.asked == [["config.json"]], "and from the cache the next time"


def test_a_recorded_t5_that_became_another_is_refused_before_its_weights(
    hub: Hub, t5_toys: Any
) -> None:
    shutil.copytree(t5_toys.model(), hub.source, dirs_exist_ok=True)
    base = load_weights(NAME).info
    assert hub.asked == [["config.json"], ["config.json", *TEXTS_AND_FIRST]]
    shutil.rmtree(hub.place)
    (hub.source / "config.json").write_text(json.dumps({"model_type": "mt5"}))
    with pytest.raises(ModelError, match="type 'mt5'"):
        load_weights(None, None, base)
    assert not hub.has_weights()


def test_an_unsupported_model_of_open_clip_is_refused_before_its_weights(hub: Hub) -> None:
    config = {"model_cfg": {"text_cfg": {"hf_model_name": "roberta"}, "vision_cfg": {}}}
    (hub.source / "open_clip_config.json").write_text(json.dumps(config))
    (hub.source / "open_clip_model.safetensors").write_bytes(b"large")
    with pytest.raises(ModelError, match="text tower of hf-hub:someone/own is roberta"):
        load_weights(f"hf-hub:{NAME}")
    assert hub.asked == [["open_clip_config.json"]]


def test_a_repository_of_open_clip_is_told_its_name(hub: Hub) -> None:
    (hub.source / "open_clip_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"has no config\.json") as caught:
        find_spec(NAME)
    assert "hf-hub:OWNER/NAME" in caught.value.hint


def test_offline_without_a_copy_both_kinds_are_told(
    clip: Hub, saved_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch)
    with pytest.raises(ModelError, match="not on this machine, and HF_HUB_OFFLINE") as caught:
        find_spec(NAME)
    for way in ("T5", "CLIP", "--model FOLDER", "tiny-t5", "tiny-clip"):
        assert way in caught.value.hint
    clip.fill("config.json")
    assert find_spec(NAME).kind == IMAGES, "the configuration is enough to know it"
    with pytest.raises(ModelError, match="not on this machine"):
        check_model_name(NAME)
    assert clip.asked == []


def test_a_revision_that_is_a_path(clip: Hub, saved_clip: Path) -> None:
    with pytest.raises(OptionError, match="is a path"):
        find_spec(NAME, str(saved_clip))
