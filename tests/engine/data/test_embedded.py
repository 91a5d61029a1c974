"""The embedded image tasks: shapes, determinism, and that no image serves two purposes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from talos_engine.data.drawing import SPLIT_SIZES, colour_distance, contrasting_colours, wear
from talos_engine.data.embedded import counts, digits, fashion, letters, mnist, shapes, signs
from talos_engine.data.embedded import textures as textures_task
from talos_engine.data.grey_scans import ScanSplits
from talos_engine.data.spec import EMBEDDED_TASKS, IMAGES, RawExamples
from talos_engine.errors import DataError

NAMES = tuple(name for name in EMBEDDED_TASKS.names() if EMBEDDED_TASKS.get(name).kind == IMAGES)
DRAWN = {
    "counts": counts.draw,
    "letters": letters.draw,
    "shapes": shapes.draw,
    "signs": signs.draw,
    "textures": textures_task.draw,
}
SCANNED = ("digits", "mnist", "fashion")
_loaded: dict[tuple[str, str], RawExamples] = {}


def examples(name: str, split: str) -> RawExamples:
    task = EMBEDDED_TASKS.get(name)
    if not task.available():
        pytest.skip(f"the data of {name} is not on this machine")
    if (name, split) not in _loaded:
        _loaded[name, split] = task.load(split)
    return _loaded[name, split]


def digests(images: np.ndarray) -> set[str]:
    return {hashlib.sha256(image.tobytes()).hexdigest() for image in images}


def test_the_eight_tasks_are_found_and_letters_is_the_control() -> None:
    assert NAMES == (
        "counts", "digits", "fashion", "letters", "mnist", "shapes", "signs", "textures",
    )  # fmt: skip
    assert [name for name in NAMES if EMBEDDED_TASKS.get(name).control] == ["letters"]


@pytest.mark.parametrize("name", NAMES)
def test_task_is_described_completely(name: str) -> None:
    task = EMBEDDED_TASKS.get(name)
    assert task.name == name
    assert task.description
    assert len(set(task.class_names)) == len(task.class_names)
    assert task.templates
    assert all(template.count("{}") == 1 for template in task.templates)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", NAMES)
def test_split_has_promised_arrays_and_every_class(name: str, split: str) -> None:
    got = examples(name, split)
    classes = len(EMBEDDED_TASKS.get(name).class_names)
    assert got.images.dtype == np.uint8
    assert got.images.shape == (len(got.labels), 32, 32, 3)
    assert got.labels.dtype == np.int64
    tally = np.bincount(got.labels, minlength=classes)
    assert len(tally) == classes
    assert tally.min() >= 0.5 * len(got.labels) / classes
    # No image is blank, and the order is shuffled.
    assert got.images.reshape(len(got.images), -1).std(axis=1).min() > 1
    assert (np.diff(got.labels) != 0).mean() > 0.7


@pytest.mark.parametrize("name", NAMES)
def test_loading_twice_gives_the_same_bytes(name: str) -> None:
    first = examples(name, "test")
    again = EMBEDDED_TASKS.get(name).load("test")
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)


@pytest.mark.parametrize("name", NAMES)
def test_train_and_test_share_no_image(name: str) -> None:
    train, test = examples(name, "train").images, examples(name, "test").images
    assert len(digests(train)) == len(train)
    assert len(digests(test)) == len(test)
    assert not digests(train) & digests(test)


@pytest.mark.parametrize("name", SCANNED)
def test_reserve_shares_no_image_with_the_splits(name: str) -> None:
    reserve = digests(examples(name, "reserve").images)
    assert reserve
    for split in ("train", "test"):
        assert not reserve & digests(examples(name, split).images)


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_reserve_shares_no_raw_scan_with_the_splits(name: str) -> None:
    """Before colouring, where an overlap would hide behind different colours."""
    if name == "digits":
        from sklearn.datasets import load_digits

        scans, rows = load_digits().data.astype(np.uint8), digits.SPLITS
    else:
        scans, rows = mnist._table()[:, :-1], mnist.SPLITS
    parts = [digests(scans[rows.indices(split)]) for split in ("train", "test", "reserve")]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_fashion_reserve_shares_no_raw_scan_with_train() -> None:
    train, reserve = (fashion.TRAIN_ROWS.indices(split) for split in ("train", "reserve"))
    assert len(np.intersect1d(train, reserve)) == 0


@pytest.mark.parametrize("name", DRAWN)
def test_another_random_stream_draws_none_of_the_splits(name: str) -> None:
    """Pre-training draws with the same functions from generators seeded otherwise."""
    classes = len(EMBEDDED_TASKS.get(name).class_names)
    rng = np.random.default_rng([0, 0])
    fresh = np.stack([DRAWN[name](rng, i % classes, 1.0) for i in range(200)])
    fresh = wear(rng, fresh, 1.0)
    for split in SPLIT_SIZES:
        assert not digests(fresh) & digests(examples(name, split).images)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_split_is_refused(name: str) -> None:
    task = EMBEDDED_TASKS.get(name)
    if not task.available():
        pytest.skip(f"the data of {name} is not on this machine")
    with pytest.raises(DataError, match="no split 'validation'"):
        task.load("validation")


def test_scan_parts_are_disjoint_and_complete() -> None:
    parts = ScanSplits("digits", rows=1797, train=1097, test=600, reserve=100)
    rows = np.concatenate([parts.indices(split) for split in ("train", "test", "reserve")])
    np.testing.assert_array_equal(np.sort(rows), np.arange(1797))


def test_fashion_is_unavailable_where_its_folder_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(fashion.FOLDER_VARIABLE, str(tmp_path))
    assert not fashion.available()
    with pytest.raises(DataError, match="dataset-fashion-mnist"):
        fashion.load("train")


def test_wear_of_zero_keeps_images_and_more_wear_changes_them_more() -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 32, 32, 3)).astype(np.uint8)
    np.testing.assert_array_equal(wear(np.random.default_rng(2), images, 0.0), images)
    change = [
        np.abs(wear(np.random.default_rng(2), images, strength).astype(float) - images).mean()
        for strength in (0.2, 0.6, 1.0)
    ]
    assert change[0] < change[1] < change[2]


def test_contrasting_colours_keep_their_distance() -> None:
    rng = np.random.default_rng(3)
    assert colour_distance((0, 0, 0), (255, 255, 255)) == pytest.approx(1.0)
    assert all(colour_distance(*contrasting_colours(rng, 0.4)) >= 0.4 for _ in range(100))


def test_tasks_load_without_torch() -> None:
    code = (
        "import sys; from talos_engine.data.spec import EMBEDDED_TASKS as tasks; "
        "[tasks.get(name) for name in tasks.names()]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
