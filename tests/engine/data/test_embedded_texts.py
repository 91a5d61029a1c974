"""The embedded text tasks: fixed, balanced, disjoint, and not given away by single words."""

from __future__ import annotations

import importlib
import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from talos_engine.data.composing import (
    TEXT_SIZES,
    YES_NO,
    View,
    compose_split,
    is_taught,
    part_of,
    yes_no,
)
from talos_engine.data.embedded import facts
from talos_engine.data.names import task_names
from talos_engine.data.spec import EMBEDDED_TASKS, TEXTS, TextExamples
from talos_engine.data.words import KINDS, NAMES
from talos_engine.errors import DataError

TASKS = tuple(name for name in EMBEDDED_TASKS.names() if EMBEDDED_TASKS.get(name).kind == TEXTS)
SPLITS = tuple(TEXT_SIZES)
LONGEST = 64
_loaded: dict[tuple[str, str], TextExamples] = {}


def examples(name: str, split: str) -> TextExamples:
    if (name, split) not in _loaded:
        loaded = EMBEDDED_TASKS.get(name).load(split)
        assert isinstance(loaded, TextExamples)
        _loaded[name, split] = loaded
    return _loaded[name, split]


def compose(name: str):
    return importlib.import_module(f"talos_engine.data.embedded.{name}").compose


def test_the_eight_tasks_are_found_and_entailment_is_the_control() -> None:
    assert TASKS == (
        "entailment", "facts", "odd", "paraphrase", "pronouns", "reading", "stories", "sums",
    )  # fmt: skip
    assert [name for name in TASKS if EMBEDDED_TASKS.get(name).control] == ["entailment"]
    assert set(TASKS) <= set(task_names())


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", TASKS)
def test_examples_are_sound_short_and_different(name: str, split: str) -> None:
    found = examples(name, split)
    found.check(name, len(EMBEDDED_TASKS.get(name).class_names))
    assert len(found.texts) == TEXT_SIZES[split]
    assert len(set(found.texts)) == len(found.texts)
    assert max(len(text.encode()) for text in found.texts) <= LONGEST
    assert all(text == text.strip() and "  " not in text for text in found.texts)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", TASKS)
def test_every_label_is_right_equally_often_in_no_order(name: str, split: str) -> None:
    found = examples(name, split)
    tally = np.bincount(found.labels, minlength=len(found.choices[0]))
    assert len(tally) == len(found.choices[0])
    assert tally.max() - tally.min() <= 2
    changes = (np.diff(found.labels) != 0).mean()
    assert changes == pytest.approx(1 - 1 / len(tally), abs=0.08)


@pytest.mark.parametrize("name", TASKS)
def test_train_and_test_share_no_text_and_pre_training_sees_none(name: str) -> None:
    train, test = (set(examples(name, split).texts) for split in SPLITS)
    assert not train & test
    rng = random.Random(1)
    seen = {compose(name)(rng, View.PLAIN).text for _ in range(2000)}
    bridge = {compose(name)(rng, View.BRIDGE).text for _ in range(2000)}
    seen |= {text for text in bridge if part_of(text) == "pre-training"}
    assert len(seen) > 100
    assert not seen & (train | test)


@pytest.mark.parametrize("name", TASKS)
def test_loading_twice_gives_the_same_examples(name: str) -> None:
    again = EMBEDDED_TASKS.get(name).load("test")
    assert again.fingerprint() == examples(name, "test").fingerprint()


@pytest.mark.parametrize("name", TASKS)
def test_an_unknown_split_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="no split 'validation'"):
        EMBEDDED_TASKS.get(name).load("validation")


@pytest.mark.parametrize("name", TASKS)
def test_single_words_give_little_away(name: str) -> None:
    """A logistic regression on the words of text and answer, each alone, is near chance."""

    def documents(found: TextExamples) -> list[str]:
        return [
            " ".join([*(f"t:{word}" for word in text.split()), f"a:{choice.replace(' ', '_')}"])
            for text, choices in zip(found.texts, found.choices, strict=True)
            for choice in choices
        ]

    train, test = (examples(name, split) for split in SPLITS)
    count = len(train.choices[0])
    vectorizer = CountVectorizer(token_pattern=r"\S+", binary=True)
    inputs = vectorizer.fit_transform(documents(train))
    model = LogisticRegression(max_iter=200).fit(inputs, np.eye(count)[train.labels].ravel())
    scores = model.decision_function(vectorizer.transform(documents(test))).reshape(-1, count)
    assert (scores.argmax(1) == test.labels).mean() < 1 / count + 0.12


def test_too_few_texts_are_an_error() -> None:
    with pytest.raises(DataError, match="fewer than 1000 different texts"):
        compose_split("toy", "test", lambda rng, view: yes_no(str(rng.random() < 0.5), True))


def test_yes_and_no_are_where_they_belong() -> None:
    assert YES_NO[yes_no("a", True).label] == "yes"
    assert YES_NO[yes_no("a", False).label] == "no"


def test_pre_training_is_shown_some_facts_and_never_the_others() -> None:
    every = {
        (relation, animal, value)
        for relation, values in facts.known().items()
        for value, animals in values.items()
        for animal in animals
    }
    shown = {fact for fact in every if is_taught("facts", fact[0], fact[1])}
    assert 0.4 < len(shown) / len(every) < 0.8
    rng = random.Random(2)
    seen = set()
    for _ in range(3000):
        made = facts.compose(rng, View.PLAIN)
        relation, animal = sorted(
            made.text.replace(" of the ", " ").replace(":", "").replace("?", "").split(),
            key=lambda word: word not in facts.RELATIONS,
        )
        seen.add((relation, animal, made.choices[made.label]))
    assert seen == shown


def answer_entailment(text: str) -> str:
    """What follows, from the words alone, as a logician would say."""
    words = text.replace(".", "").replace(",", "").replace("?", "").split()
    quantity = "no" if "no" in words else "a"
    nouns = [after for before, after in itertools.pairwise(words) if before == quantity]
    kind = {word: name for name, members in KINDS.items() for word in members}
    narrow, wide = nouns if quantity == "a" else nouns[::-1]
    return "yes" if kind.get(narrow) == wide else "no"


@pytest.mark.parametrize("split", SPLITS)
def test_entailment_is_logic(split: str) -> None:
    found = examples("entailment", split)
    for text, choices, label in zip(found.texts, found.choices, found.labels, strict=True):
        assert answer_entailment(text) == choices[label], text


def test_names_are_told_apart_by_their_first_letter() -> None:
    assert len({name[0] for name in NAMES}) == len(NAMES)


def test_no_word_is_of_two_kinds() -> None:
    words = [word for members in KINDS.values() for word in members]
    assert len(set(words)) == len(words)


def test_text_tasks_load_without_torch() -> None:
    code = (
        "import sys; from talos_engine.data.spec import EMBEDDED_TASKS as tasks; "
        "[tasks.get(name).load('test') for name in sys.argv[1:]]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, *TASKS], check=True, timeout=120)
