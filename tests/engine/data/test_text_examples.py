"""Labelled texts: what is checked, selected and fingerprinted; where validation comes from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from talos_engine.data.spec import OWN_SPLIT, TEST_SPLIT, TEXTS, TaskSpec, TextExamples
from talos_engine.data.splits import VALIDATION_OF_TEST, load_split
from talos_engine.errors import DataError

SIZES = {"train": 50, "val": 7, "test": 60}


def examples(count: int, prefix: str = "") -> TextExamples:
    numbers = np.arange(count)
    texts = [f"{prefix}text {number}" for number in numbers]
    return TextExamples.with_answers(texts, ("no", "yes"), (numbers % 2).astype(np.int64))


def task(**more: object) -> TaskSpec:
    def load(split: str) -> TextExamples:
        return examples(SIZES[split], f"{split} ")

    spec = TaskSpec("toy-text", "texts", ("no", "yes"), (), load, kind=TEXTS)
    return dataclasses.replace(spec, **more)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"texts": ("a", " \n", "c")}, "row 1 has an empty text"),
        ({"choices": (("x", "y"),) * 2 + (("x",),)}, "row 2 has 1 answer, two are needed"),
        ({"choices": (("x", "x"),) * 3}, "row 0 has the same answer twice: x, x"),
        ({"choices": (("x", ""),) * 3}, "row 0 has an empty answer"),
        ({"choices": (("x", "y", "z"),) * 3}, "row 0 has 3 answers, the task has 2"),
        ({"labels": np.array([0, 1, 2])}, "row 2 has label 2, outside its 2 answers"),
        ({"labels": np.array([0, -1, 1])}, "row 1 has label -1"),
        ({"labels": np.array([0, 1])}, "3 texts with 3 choices and 2 labels"),
        ({"texts": (), "choices": (), "labels": np.array([], np.int64)}, "0 texts"),
    ],
)
def test_what_no_model_can_learn_from_is_refused(changes: dict[str, object], told: str) -> None:
    sound = TextExamples(("a", "b", "c"), (("x", "y"),) * 3, np.array([0, 1, 0]))
    sound.check("toy", 2)
    with pytest.raises(DataError, match=told):
        dataclasses.replace(sound, **changes).check("toy", 2)


def test_answers_may_differ_in_number_where_the_task_has_none_in_common() -> None:
    mixed = TextExamples(("a", "b"), (("x", "y"), ("u", "v", "w")), np.array([1, 2]))
    mixed.check("toy", 0)


def test_every_text_answer_and_label_counts_in_the_fingerprint() -> None:
    first = TextExamples(("ab", "c"), (("x", "y"), ("u", "v")), np.array([0, 1]))
    others = [
        dataclasses.replace(first, texts=("a", "bc")),
        dataclasses.replace(first, choices=(("x", "y"), ("u", "w"))),
        dataclasses.replace(first, choices=(("x", "y", "u"), ("v", "z"))),
        dataclasses.replace(first, labels=np.array([1, 1])),
        first.select(np.array([1, 0])),
    ]
    prints = {each.fingerprint() for each in (first, *others)}
    assert len(prints) == 6
    assert first.select(np.array([0, 1])).fingerprint() == first.fingerprint()


def test_validation_is_a_tenth_of_the_training_texts_by_default() -> None:
    spec = task()
    train, val, test = (load_split(spec, name) for name in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (45, 5, 60)
    texts = {*train.examples.texts, *val.examples.texts}
    assert texts == set(examples(50, "train ").texts)


def test_validation_may_be_a_split_of_its_own() -> None:
    spec = task(validation=OWN_SPLIT)
    assert [len(load_split(spec, name)) for name in ("train", "val", "test")] == [50, 7, 60]


def test_validation_may_be_32_examples_of_the_test_split() -> None:
    spec = task(validation=TEST_SPLIT)
    train, val, test = (load_split(spec, name) for name in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (50, VALIDATION_OF_TEST, 60 - VALIDATION_OF_TEST)
    texts = [*val.examples.texts, *test.examples.texts]
    assert sorted(texts) == sorted(examples(60, "test ").texts)


def test_texts_are_no_images() -> None:
    with pytest.raises(DataError, match="are texts"):
        _ = load_split(task(), "test").images
