"""Prepared images: open_clip's own pixels, kept on disk, the same whatever way they are read."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from talos_engine.data import prepared
from talos_engine.data.finding import find_task
from talos_engine.data.images import EncodedImage, decode_image
from talos_engine.data.prepared import prepare_images
from talos_engine.data.splits import load_split
from talos_engine.errors import DataError, OutputError
from talos_engine.models.open_clip_backbone import PixelScale
from talos_engine.workflows.opening import Session


def open_clips_transform(session: Session) -> Callable[[Image.Image], torch.Tensor]:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(**session.backbone.model.visual.preprocess_cfg)
    return image_transform_v2(config, is_train=False)


@pytest.mark.parametrize("size", [(32, 32), (40, 33), (33, 90), (7, 5), (300, 200)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "LA"])
def test_pixels_are_open_clips_bit_for_bit(
    toy_session: Session, make_picture: Callable[..., Image.Image], size: Any, mode: str
) -> None:
    image = make_picture(3, *size).convert(mode)
    expected = open_clips_transform(toy_session)(image)
    transform = toy_session.backbone.image_transform()
    found = transform.apply(image)
    assert found.dtype == np.uint8
    assert found.shape == transform.shape == (3, 32, 32)
    config = toy_session.backbone.model.visual.preprocess_cfg
    scaled = PixelScale(config["mean"], config["std"])(torch.from_numpy(found))
    assert torch.equal(scaled, expected)


def test_a_classifier_takes_bytes_as_it_takes_normalized_images(toy_session: Session) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    classifier = toy_session.classifier("toy-a")
    raw = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        found, expected = classifier(raw), classifier(toy_session.backbone.prepare(images))
    assert torch.equal(found, expected)


@pytest.fixture(params=["memory", "disk"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path | None:
    """Where prepared images are kept: nowhere, or this folder."""
    monkeypatch.setenv(prepared.FOLDER_VARIABLE, str(tmp_path / "cache"))
    if request.param == "memory":
        return None
    monkeypatch.setattr(prepared, "IN_MEMORY_BYTES", 0)
    return tmp_path / "cache" / "images"


def test_a_split_is_prepared_in_order(
    toy_session: Session, pets_folder: Path, using: Callable[..., Any], place: Path | None
) -> None:
    using(path=pets_folder)
    split = load_split(find_task("pets"), "train")
    pixels, labels = toy_session.prepare(split)
    transform = toy_session.backbone.image_transform()
    expected = [transform.apply(decode_image(image)) for image in split.images.encoded()]
    np.testing.assert_array_equal(pixels.numpy(), np.stack(expected))
    assert labels.tolist() == split.labels.tolist()
    assert (pixels.dtype, labels.dtype) == (torch.uint8, torch.int64)
    if place is not None:
        assert sorted(path.suffix for path in place.iterdir()) == [".json", ".u8"]


def test_kept_images_are_not_decoded_again(
    toy_session: Session,
    pets_folder: Path,
    using: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(prepared, "IN_MEMORY_BYTES", 0)
    monkeypatch.setenv(prepared.FOLDER_VARIABLE, str(tmp_path / "cache"))
    using(path=pets_folder)
    split = load_split(find_task("pets"), "test")
    transform = toy_session.backbone.image_transform()
    first, _ = prepare_images(split, transform)

    def refuse(_: EncodedImage) -> Image.Image:
        raise AssertionError("decoded")

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "decode_image", refuse)
        again, _ = prepare_images(split, transform)
        assert torch.equal(first, again)
        again += 1  # a private copy: the file stays as it is
        assert torch.equal(first + 1, again)
        third, _ = prepare_images(split, transform)
        assert torch.equal(first, third)
    smaller = type(transform)(
        {"size": 8}, (3, 8, 8), lambda image: transform.apply(image)[:, :8, :8]
    )
    assert prepare_images(split, smaller)[0].shape == (6, 3, 8, 8), "another size, another file"


@pytest.mark.parametrize("harm", ["cut", "no list", "list of another", "not json", "both gone"])
def test_a_damaged_cache_is_made_anew(
    toy_session: Session,
    pets_folder: Path,
    using: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    harm: str,
) -> None:
    monkeypatch.setattr(prepared, "IN_MEMORY_BYTES", 0)
    monkeypatch.setenv(prepared.FOLDER_VARIABLE, str(tmp_path / "cache"))
    using(path=pets_folder)
    split = load_split(find_task("pets"), "test")
    first, _ = toy_session.prepare(split)
    first = first.clone()
    (pixels,) = (tmp_path / "cache" / "images").glob("*.u8")
    (listed,) = (tmp_path / "cache" / "images").glob("*.json")
    if harm == "cut":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif harm == "not json":
        listed.write_text("[1")
    elif harm == "list of another":
        listed.write_text(json.dumps({"900": "?"}))
    else:
        listed.unlink()
        if harm == "both gone":
            pixels.unlink()
    assert torch.equal(toy_session.prepare(split)[0], first)


def break_image(path: Path, how: str) -> None:
    content = path.read_bytes()
    broken = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "text": b"not an image at all",
        "flipped": content[:100] + bytes([content[100] ^ 255]) + content[101:],
    }
    path.write_bytes(broken[how])


@pytest.mark.parametrize("how", ["truncated", "empty", "text", "flipped"])
def test_a_broken_image_is_named_or_left_out(
    toy_session: Session,
    pets_folder: Path,
    using: Callable[..., Any],
    place: Path | None,
    how: str,
) -> None:
    break_image(pets_folder / "test" / "dog" / "1.png", how)
    using(path=pets_folder)
    split = load_split(find_task("pets"), "test")
    with pytest.raises(DataError, match="the image cannot be read") as caught:
        toy_session.prepare(split)
    assert str(pets_folder / "test" / "dog" / "1.png") in caught.value.message
    assert "row 3" in caught.value.message
    assert "--skip-bad" in caught.value.hint
    assert place is None or not list(place.iterdir()), "nothing half made is kept"
    for _ in range(2):  # the second time from the file
        run = using(path=pets_folder, skip_bad=True)
        pixels, labels = toy_session.prepare(load_split(find_task("pets"), "test"))
        assert labels.tolist() == [0, 0, 1, 2, 2]
        assert len(pixels) == 5
        assert run.report() == {"skipped": {"pets": {"test_images": 1}}}
    using(path=pets_folder)
    with pytest.raises(DataError, match=r"dog/1\.png"):
        toy_session.prepare(split)


def test_nothing_but_broken_images_is_an_error(
    toy_session: Session, pets_folder: Path, using: Callable[..., Any], place: Path | None
) -> None:
    for path in (pets_folder / "test").rglob("*.png"):
        break_image(path, "truncated")
    using(path=pets_folder, skip_bad=True)
    with pytest.raises(DataError, match="cannot be read"):
        toy_session.prepare(load_split(find_task("pets"), "test"))


def test_an_image_that_would_blow_up_is_refused(
    toy_session: Session, pets_folder: Path, using: Callable[..., Any]
) -> None:
    Image.new("RGB", (60_000, 1)).save(pets_folder / "test" / "cat" / "0.png")
    using(path=pets_folder)
    with pytest.raises(DataError, match=r"cat/0\.png .*too narrow"):
        toy_session.prepare(load_split(find_task("pets"), "test"))


def test_no_room_is_said_before_the_work(
    toy_session: Session,
    pets_folder: Path,
    using: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(prepared, "IN_MEMORY_BYTES", 0)
    monkeypatch.setenv(prepared.FOLDER_VARIABLE, str(tmp_path / "cache"))
    using(path=pets_folder)
    split = load_split(find_task("pets"), "test")
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(OutputError, match="not enough space") as caught:
            toy_session.prepare(split)
    assert prepared.FOLDER_VARIABLE in caught.value.hint
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(prepared.FOLDER_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be kept"):
        toy_session.prepare(split)


def test_what_killed_runs_left_is_cleaned_up(
    toy_session: Session,
    pets_folder: Path,
    using: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "cache" / "images"
    folder.mkdir(parents=True)
    old, new = folder / "a.01234567.tmp", folder / "b.01234567.tmp"
    for stray in (old, new):
        stray.write_text("")
    os.utime(old, (0, 0))
    monkeypatch.setattr(prepared, "IN_MEMORY_BYTES", 0)
    monkeypatch.setenv(prepared.FOLDER_VARIABLE, str(tmp_path / "cache"))
    using(path=pets_folder)
    toy_session.prepare(load_split(find_task("pets"), "test"))
    assert (old.exists(), new.exists()) == (False, True), "another run may still write"


def test_progress_is_told_and_few_images_wait(
    toy_session: Session, pets_folder: Path, using: Callable[..., Any]
) -> None:
    run = using(path=pets_folder)
    told: list[tuple[str, int, int]] = []
    run.progress = lambda what, done, total: told.append((what, done, total))
    split = load_split(find_task("pets"), "train")
    transform = toy_session.backbone.image_transform()
    alive, most, lock = 0, 0, threading.Lock()

    def apply(image: Image.Image) -> np.ndarray:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        result = transform.apply(image)
        with lock:
            alive -= 1
        return result

    prepare_images(split, type(transform)(transform.config, transform.shape, apply))
    assert told == [("decoding pets train", done, 11) for done in range(1, 12)]
    assert most <= torch.get_num_threads()


def test_an_image_is_turned_as_its_camera_was_held(
    make_picture: Callable[..., Image.Image],
) -> None:
    import io

    image = make_picture(1, 40, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    assert decode_image(EncodedImage("here", stream.getvalue())).size == (20, 40)
