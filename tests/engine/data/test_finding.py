"""A task's name finds it: embedded, of the catalog, declared or given; offline nothing is tried."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from talos_engine.data.finding import find_task
from talos_engine.data.images import LazyImages
from talos_engine.data.settings import DataSettings, current_data, use_data
from talos_engine.data.sources import hub
from talos_engine.data.splits import load_split
from talos_engine.errors import DataError, OptionError, UnknownNameError

FIRST, SECOND = "abc1" * 10, "bbb2" * 10
"""Commits whose prepared copies lie in the cache."""


def test_data_given_for_an_unknown_task_make_one(
    pets_folder: Path, using: Callable[..., Any]
) -> None:
    run = using(path=pets_folder)
    spec = find_task("pets")
    assert spec.class_names == ("cat", "dog", "guinea pig")
    assert "a photo of a {}." in run.notes[0]
    assert find_task("pets") is spec, "made once"


def test_without_data_the_name_must_be_known(pets_folder: Path, using: Callable[..., Any]) -> None:
    using(paths={"pets": pets_folder})
    with pytest.raises(UnknownNameError, match="did you mean 'dtd'") as caught:
        find_task("dtb")
    assert "svhn" in caught.value.hint
    assert "digits" in caught.value.hint


def test_data_given_take_the_place_of_an_embedded_tasks_own(
    tmp_path: Path, pets_folder: Path, using: Callable[..., Any]
) -> None:
    for number, name in enumerate(("cat", "dog", "guinea_pig")):
        (pets_folder / "train" / name).rename(pets_folder / "train" / str(number + 7))
    using(paths={"mnist": pets_folder})
    spec = find_task("mnist")
    assert spec.class_names[0] == "zero"
    assert set(spec.load("train").labels.tolist()) == {7, 8, 9}


def test_one_path_without_a_name_is_for_one_task(
    pets_folder: Path, using: Callable[..., Any]
) -> None:
    using(path=pets_folder)
    find_task("pets")
    with pytest.raises(OptionError, match="'pets' or 'toy-a'"):
        find_task("toy-a")


def test_a_task_file_adds_a_task_and_hides_none(
    pets_folder: Path, using: Callable[..., Any]
) -> None:
    text = 'name = "{}"\nclass_names = ["cat", "dog", "guinea pig"]\ntemplates = ["{{}}"]\n'
    text += '[source]\nkind = "folder"\npath = "pets"\n'
    mine, taken = pets_folder.parent / "mine.toml", pets_folder.parent / "taken.toml"
    mine.write_text(text.format("mine"))
    taken.write_text(text.format("dtd"))
    run = using(task_files=(mine,))
    assert find_task("mine").load("train").labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert find_task("toy-a").source == "embedded"
    assert run.notes == []
    with use_data(DataSettings(task_files=(mine, taken))), pytest.raises(DataError, match="'dtd'"):
        find_task("mine")
    with use_data(DataSettings(task_files=(mine, mine))), pytest.raises(DataError, match="'mine'"):
        find_task("mine")


def test_a_declared_task_may_be_given_other_data(
    tmp_path: Path, pets_folder: Path, using: Callable[..., Any]
) -> None:
    toml = tmp_path / "mine.toml"
    toml.write_text(
        'name = "mine"\nclass_names = ["cat", "dog", "guinea pig"]\n'
        '[source]\nkind = "table"\npath = "gone"\nlabel = "kind"\n'
    )
    (tmp_path / "other.csv").write_text("image,kind\na,dog\nb,cat\n")
    using(task_files=(toml,))
    with pytest.raises(DataError, match="gone"):
        find_task("mine")
    using(task_files=(toml,), path=tmp_path / "other.csv")
    assert find_task("mine").load("train").labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"path": Path("gone")}, DataError, "no file or folder gone"),
        ({"paths": {"a": Path("gone")}}, DataError, "no file or folder gone"),
        ({"path": Path(), "paths": {"a": Path()}}, OptionError, "names no task"),
        ({"max_examples": -1}, OptionError, "--max-examples"),
    ],
)
def test_settings_are_checked_at_once(
    settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        DataSettings(**settings)


def test_settings_end_with_their_block(pets_folder: Path) -> None:
    with use_data(DataSettings(path=pets_folder)):
        assert current_data().settings.path == pets_folder
    assert current_data().settings == DataSettings()


def test_a_split_of_lazy_images_is_fingerprinted_by_what_is_stored(
    pets_folder: Path, using: Callable[..., Any]
) -> None:
    using(path=pets_folder)
    split = load_split(find_task("pets"), "test")
    assert isinstance(split.images, LazyImages)
    digest = hashlib.sha256(b"encoded images 6")
    for name in ("cat", "dog", "guinea_pig"):
        for number in range(2):
            data = (pets_folder / "test" / name / f"{number}.png").read_bytes()
            digest.update(len(data).to_bytes(8, "little") + data)
    digest.update(np.array([0, 0, 1, 1, 2, 2], "<i8").tobytes())
    assert split.fingerprint == digest.hexdigest()
    assert load_split(find_task("pets"), "test") is split, "not hashed twice"
    using(path=pets_folder)
    assert load_split(find_task("pets"), "test").fingerprint == split.fingerprint
    (pets_folder / "test" / "cat" / "0.png").write_bytes(b"other")
    using(path=pets_folder)
    assert load_split(find_task("pets"), "test").fingerprint != split.fingerprint


def test_an_embedded_split_is_fingerprinted_as_ever() -> None:
    split = load_split(find_task("toy-a"), "val")
    digest = hashlib.sha256(b"((8, 32, 32, 3), (8,))")
    digest.update(split.images.tobytes() + split.labels.tobytes())
    assert split.fingerprint == digest.hexdigest()


@pytest.mark.parametrize("limit", [1, 5, 7, 8, 1000])
def test_a_limit_keeps_the_same_examples_in_order(using: Callable[..., Any], limit: int) -> None:
    whole = load_split(find_task("toy-a"), "val")
    using(max_examples=limit)
    some = load_split(find_task("toy-a"), "val")
    assert len(some) == min(limit, 8)
    positions = [
        next(row for row, image in enumerate(whole.images) if np.array_equal(image, kept))
        for kept in some.images
    ]
    assert positions == sorted(set(positions))
    assert some.labels.tolist() == whole.labels[positions].tolist()
    assert load_split(find_task("toy-a"), "val").fingerprint == some.fingerprint
    assert (some.fingerprint == whole.fingerprint) == (limit >= 8)


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("the network was asked")


def test_offline_by_wish_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("create_connection", "getaddrinfo", "socket"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError) as caught:
        find_task("dtd")
    assert "HF_HUB_OFFLINE is set" in caught.value.message
    for way in ("--data PATH", "cache", "embedded task"):
        assert way in caught.value.hint


def test_without_network_it_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fail(place: object, patience: float) -> None:
        asked.append((place, patience))
        raise OSError("no route")

    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "create_connection", fail)
    hub.hub_answers.cache_clear()
    try:
        for name in ("dtd", "svhn", "dtd"):
            with pytest.raises(DataError, match="the hub cannot be reached"):
                find_task(name)
    finally:
        hub.hub_answers.cache_clear()
    assert [place for place, _ in asked] == [("huggingface.co", 443)]
    assert asked[0][1] < 10


@pytest.fixture
def cached_dtd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, png: Callable[..., bytes]) -> Path:
    """A prepared copy of ``dtd`` as ``datasets`` leaves it in its cache."""
    from datasets.arrow_writer import ArrowWriter

    from talos_engine.data.declaration import read_catalog

    cache = tmp_path / "cache"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(cache))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    folder = cache / "tanganke___dtd" / "default" / "0.0.0" / FIRST
    folder.mkdir(parents=True)
    names = list(read_catalog("dtd").class_names)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    splits = {}
    for split in ("train", "test"):
        with ArrowWriter(path=str(folder / f"dtd-{split}.arrow"), features=features) as writer:
            for row in range(20):
                writer.write({"image": {"bytes": png(row), "path": None}, "label": row})
            writer.finalize()
        splits[split] = {"name": split, "num_bytes": 1, "num_examples": 20, "dataset_name": "dtd"}
    info = datasets.DatasetInfo(features=features)
    described = {
        **json.loads(json.dumps(info.__dict__, default=lambda thing: None)),
        "features": features.to_dict(),
        "builder_name": "parquet",
        "dataset_name": "dtd",
        "config_name": "default",
        "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
        "splits": splits,
    }
    (folder / "dataset_info.json").write_text(json.dumps(described))
    return folder


def test_a_cached_copy_is_used_without_network(
    cached_dtd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", refuse)
    spec = find_task("dtd")
    assert spec.available()
    assert load_split(spec, "test").labels.tolist() == list(range(20))
    assert len(load_split(spec, "train")) == 18
    with pytest.raises(DataError, match="svhn"):
        find_task("svhn")


def test_a_cached_copy_is_used_where_the_hub_does_not_answer(
    cached_dtd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert load_split(find_task("dtd"), "test").labels.tolist() == list(range(20))
    assert datasets.config.HF_HUB_OFFLINE is False, "put back"


def test_what_the_hub_answers_is_told_with_a_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **given: object) -> None:
        assert given["revision"] == "v1"
        raise datasets.exceptions.DatasetNotFoundError("it is gated") from OSError("401")

    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    monkeypatch.setattr(hub, "hub_problem", lambda: "")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError, match="hub dataset a/b cannot be read: it is gated") as caught:
        hub.HubSource("a/b", revision="v1").open("train")
    assert "--data PATH" in caught.value.hint


@pytest.mark.parametrize("newest", [FIRST, SECOND])
def test_a_pinned_revision_is_not_replaced_by_another_in_the_cache(
    cached_dtd: Path, newest: str
) -> None:
    add_revision(cached_dtd, SECOND)
    for place in cached_dtd.parent.iterdir():
        age = 0 if place.name == newest else 1000
        os.utime(place, (1e9 - age, 1e9 - age))
    for revision, first in ((FIRST, 0), (SECOND, 19)):
        pinned = hub.HubSource("tanganke/dtd", revision=revision)
        assert pinned.available()
        dataset = pinned.open("train").dataset
        assert (len(dataset), dataset[0]["label"]) == (20, first), revision
        assert (
            len(
                hub.HubSource(pinned.repo, revision=revision, train="train[:5]")
                .open("train")
                .dataset
            )
            == 5
        )
    other = hub.HubSource("tanganke/dtd", revision="d" * 40)
    assert not other.available()
    with pytest.raises(DataError, match="at dddd") as caught:
        other.open("train")
    assert "full commit" not in caught.value.hint
    for short in ("v1.0", FIRST[:7]):
        with pytest.raises(DataError, match=f"at {short} ") as caught:
            hub.HubSource("tanganke/dtd", revision=short).open("train")
        assert "must be the full commit, 40 digits" in caught.value.hint
        assert "--data PATH" in caught.value.hint


def test_a_pinned_revision_in_two_configurations_asks_which(cached_dtd: Path) -> None:
    shutil.copytree(cached_dtd, cached_dtd.parents[2] / "small" / "0.0.0" / FIRST)
    with pytest.raises(DataError, match="several configurations: default, small"):
        hub.HubSource("tanganke/dtd", revision=FIRST).open("train")
    chosen = hub.HubSource("tanganke/dtd", config="small", revision=FIRST).open("train")
    assert "small" in chosen.dataset.cache_files[0]["filename"]


def add_revision(copy: Path, revision: str) -> None:
    """Another prepared copy beside one, with its rows in opposite order."""
    from datasets.arrow_writer import ArrowWriter

    folder = Path(shutil.copytree(copy, copy.parent / revision))
    for path in copy.glob("*.arrow"):
        rows = datasets.Dataset.from_file(str(path)).cast_column(
            "image", datasets.Image(decode=False)
        )
        (folder / path.name).unlink()
        with ArrowWriter(path=str(folder / path.name), features=rows.features) as writer:
            for row in reversed(list(rows)):
                writer.write(row)
            writer.finalize()
