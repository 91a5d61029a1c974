"""``--model hf-hub:OWNER/NAME``: models of open_clip by the name of their repository."""

from __future__ import annotations

import fnmatch
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine import hub
from talos_engine.errors import ModelError, OptionError
from talos_engine.models.loading import (
    build_backbone,
    check_model_name,
    find_spec,
    load_weights,
    open_skeleton,
)
from talos_engine.models.spec import IMAGES

NAME = "hf-hub:someone/own"
COMMIT = "c" * 40


class AttemptError(AssertionError):
    """Something asked the network."""


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> Any:
        raise AttemptError(arguments)

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    hub.hub_answers.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def snapshot(cache: Path, toy_folder: Path) -> Path:
    """``someone/own`` in the cache: the toy model with its tokenizer."""
    return fill_cache(cache, toy_folder)


def fill_cache(cache: Path, folder: Path) -> Path:
    repo = cache / "models--someone--own"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(folder, repo / "snapshots" / COMMIT))


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_copy_in_the_cache_is_enough(
    snapshot: Path, offline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    check_model_name(NAME)
    weights = load_weights(NAME)
    assert (weights.info.name, weights.info.pretrained) == (NAME, "main")
    assert load_weights(NAME, COMMIT).info.hash == weights.info.hash
    theirs: Any = open_clip.create_model(f"local-dir:{snapshot}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{snapshot}")(["a red", "a grey"])
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = build_backbone(weights).classifier(("red", "grey"), ("a {}",))(images)
        head = theirs.encode_text(tokens, normalize=True)
        expected = theirs.logit_scale.exp() * theirs.encode_image(images, normalize=True) @ head.T
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_what_artifacts_record_finds_it_again(snapshot: Path) -> None:
    info = load_weights(NAME).info
    again = load_weights(None, None, info)
    assert again.info == info
    assert again.folder == snapshot
    (snapshot / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 3}}))
    assert load_weights(None, None, info).info == info, "the recorded configuration counts"
    assert load_weights(None, str(snapshot / "open_clip_model.safetensors"), info).info == info


@pytest.mark.usefixtures("cache", "no_sockets")
def test_offline_one_message_says_the_ways_on_and_nothing_is_asked() -> None:
    for ask in (check_model_name, load_weights, open_skeleton):
        with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set") as caught:
            ask(NAME)
        assert "someone/own of the Hugging Face Hub" in caught.value.message
        for way in ("--model FOLDER", "network", "--model tiny-clip"):
            assert way in caught.value.hint
    with pytest.raises(ModelError, match="at v1"):
        check_model_name(NAME, "v1")


def test_half_a_copy_is_none(snapshot: Path) -> None:
    (snapshot / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match="not on this machine"):
        check_model_name(NAME)


def test_names_and_revisions_that_are_none(snapshot: Path) -> None:
    for name in ("hf-hub:", "hf-hub:own", "hf-hub:a/b/c", "hf-hub:../own"):
        with pytest.raises(OptionError, match="names no repository"):
            find_spec(name)
    with pytest.raises(OptionError, match="is a path"):
        find_spec(NAME, str(snapshot))


class Hub:
    """A hub of one repository: copies what is asked for into the cache, and keeps the requests."""

    def __init__(self, source: Path, cache: Path) -> None:
        self.source, self.cache = source, cache
        self.asked: list[list[str]] = []

    def __call__(self, repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        assert (repo, revision) == ("someone/own", "main")
        self.asked.append(allow_patterns)
        place = self.cache / "models--someone--own"
        (place / "refs").mkdir(parents=True, exist_ok=True)
        (place / "refs" / "main").write_text(COMMIT)
        folder = place / "snapshots" / COMMIT
        folder.mkdir(parents=True, exist_ok=True)
        for path in self.source.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, folder)
        return str(folder)


@pytest.fixture
def online(cache: Path, tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    import huggingface_hub

    found = Hub(Path(shutil.copytree(toy_folder, tmp_path / "source")), cache)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found)
    monkeypatch.setattr("talos_engine.models.hub_folder.hub_problem", lambda: "")
    return found


def test_it_is_downloaded_once_and_no_second_weights_with_it(online: Hub) -> None:
    (online.source / "open_clip_pytorch_model.bin").write_bytes(b"a pickle that nobody needs")
    assert load_weights(NAME).info.pretrained == "main"
    assert [request[0] for request in online.asked] == ["open_clip_config.json"] * 2
    assert len(online.asked[0]) == 1, "the configuration comes alone"
    assert not list(online.cache.glob("**/*.bin"))
    load_weights(NAME)
    assert len(online.asked) == 2, "from the cache"


def test_a_pickle_is_fetched_where_there_is_nothing_else(online: Hub) -> None:
    expected = load_weights(NAME).info.hash
    shutil.rmtree(online.cache)
    from safetensors.torch import load_file

    path = online.source / "open_clip_model.safetensors"
    torch.save(load_file(path), online.source / "open_clip_pytorch_model.bin")
    path.unlink()
    assert load_weights(NAME).info.hash == expected


def test_a_repository_of_another_library_is_told(online: Hub) -> None:
    (online.source / "open_clip_config.json").unlink()
    with pytest.raises(ModelError, match=r"has no open_clip_config\.json"):
        load_weights(NAME)


def test_a_repository_without_weights_is_told(online: Hub) -> None:
    (online.source / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights that talos reads"):
        load_weights(NAME)


def test_a_repository_is_a_model_of_images(snapshot: Path) -> None:
    spec = find_spec(NAME)
    assert spec.kind == IMAGES
    assert spec.folder() == snapshot
