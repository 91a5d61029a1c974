"""Splits: a fixed tenth for validation, disjoint, fingerprinted; malformed examples are refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.data import splits as module
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import DataError, OptionError, UnknownNameError


def task_of(train: int, test: int = 3, classes: int = 4, **changes: Any) -> TaskSpec:
    """Example i of a split shows its own number in its pixels."""

    def load(split: str) -> RawExamples:
        size, start = (train, 0) if split == "train" else (test, 50_000)
        numbers = np.arange(start, start + size)
        images = np.zeros((size, 2, 2, 3), dtype=np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = numbers % 256, numbers // 256
        return RawExamples(images, (numbers % classes).astype(np.int64))

    names = tuple(f"class {number}" for number in range(classes))
    spec = TaskSpec("numbered", "for tests", names, ("a {}",), load)
    return dataclasses.replace(spec, **changes)


def numbers_of(split: module.Split) -> list[int]:
    pixel = split.images[:, 0, 0].astype(int)
    return (pixel[:, 0] + 256 * pixel[:, 1]).tolist()


@given(st.integers(2, 400))
def test_validation_is_a_tenth_and_train_the_rest(total: int) -> None:
    spec = task_of(total)
    train, val = load_split(spec, "train"), load_split(spec, "val")
    assert len(val) == max(1, total // 10)
    assert sorted(numbers_of(train) + numbers_of(val)) == list(range(total))
    for split in (train, val):
        assert split.labels.tolist() == [number % 4 for number in numbers_of(split)]
        assert split.labels.dtype == np.int64


def test_validation_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.VALIDATION_LIMIT == 5000
    monkeypatch.setattr(module, "VALIDATION_LIMIT", 7)
    assert len(load_split(task_of(200), "val")) == 7
    assert len(load_split(task_of(200), "train")) == 193


def test_validation_is_spread_over_the_data_and_always_the_same() -> None:
    found = numbers_of(load_split(task_of(1000), "val"))
    assert found == sorted(found)
    assert found == numbers_of(load_split(task_of(1000), "val"))
    assert min(found) < 100
    assert max(found) > 900
    # Golden: numpy's default_rng(20250402).permutation(20)[:2], numpy 2.4.6.
    assert numbers_of(load_split(task_of(20), "val")) == [10, 11]


def test_no_seed_of_a_run_moves_the_split() -> None:
    np.random.seed(1)
    first = load_split(EMBEDDED_TASKS.get("toy-a"), "val").fingerprint
    np.random.seed(2)
    assert load_split(EMBEDDED_TASKS.get("toy-a"), "val").fingerprint == first


def test_test_is_the_sources_own_in_its_order() -> None:
    split = load_split(task_of(50, test=5), "test")
    assert numbers_of(split) == [50_000 + number for number in range(5)]
    assert (split.task, split.name, len(split)) == ("numbered", "test", 5)


def test_the_fingerprint_sees_every_pixel_label_and_shape() -> None:
    spec = task_of(30)
    prints = {load_split(spec, name).fingerprint for name in ("train", "val", "test")}
    assert len(prints) == 3
    assert all(len(text) == 64 for text in prints)
    raw = spec.load("test")

    def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
        changed = dataclasses.replace(spec, load=lambda split: RawExamples(images, labels))
        return load_split(changed, "test").fingerprint

    same = fingerprint(raw.images.copy(), raw.labels.copy())
    assert same == load_split(spec, "test").fingerprint
    pixel = raw.images.copy()
    pixel[-1, -1, -1, -1] ^= 1
    label = raw.labels.copy()
    label[0] = 3 - label[0]
    reshaped = raw.images.reshape(3, 1, 4, 3)
    assert len({same, fingerprint(pixel, raw.labels), fingerprint(raw.images, label)}) == 3
    assert fingerprint(reshaped, raw.labels) != same


def test_a_fortran_ordered_source_has_the_same_fingerprint() -> None:
    spec = task_of(10)
    raw = spec.load("test")
    other = RawExamples(np.asfortranarray(raw.images), raw.labels)
    assert load_split(dataclasses.replace(spec, load=lambda split: other), "test").fingerprint == (
        load_split(spec, "test").fingerprint
    )


def malformed(images: np.ndarray, labels: np.ndarray) -> TaskSpec:
    return task_of(5, load=lambda split: RawExamples(images, labels))


IMAGES = np.zeros((5, 2, 2, 3), dtype=np.uint8)
LABELS = np.zeros(5, dtype=np.int64)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES, np.array([0, 1, 4, 2, 9]), "row 2 has label 4, outside the 4 classes"),
        (IMAGES, np.array([0, 1, 2, -1, 0]), "row 3 has label -1"),
        (IMAGES, LABELS[:4], "5 images with 4 labels"),
        (IMAGES[:0], LABELS[:0], "0 images with 0 labels"),
        (IMAGES.astype(np.float32), LABELS, "must be uint8"),
        (IMAGES[..., :1], LABELS, "must be uint8 of shape"),
        (IMAGES[0], LABELS, "must be uint8 of shape"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_malformed_examples_are_refused(
    images: np.ndarray, labels: np.ndarray, words: str, split: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load_split(malformed(images, labels), split)
    assert "'numbered'" in caught.value.message


def test_one_example_is_too_few_to_split() -> None:
    with pytest.raises(DataError, match="1 training examples: too few"):
        load_split(task_of(1), "train")


@pytest.mark.parametrize("name", ["", "validation", "Train", "reserve"])
def test_there_are_three_splits(name: str) -> None:
    with pytest.raises(OptionError, match="train, val, test"):
        load_split(task_of(10), name)


def test_tasks_are_found_by_name_and_availability(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_task("toy-a").name == "toy-a"
    with pytest.raises(UnknownNameError, match="no task named 'digit'") as caught:
        find_task("digit")
    assert "did you mean 'digits'?" in caught.value.hint
    gone = task_of(5, available=lambda: False)
    monkeypatch.setitem(EMBEDDED_TASKS._entries, "gone", gone)
    with pytest.raises(DataError, match="not on this machine"):
        find_task("gone")
