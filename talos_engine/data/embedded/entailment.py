"""The task ``entailment``: does one sentence follow from another? The control of a negation."""

from __future__ import annotations

import random

from talos_engine.data.composing import (
    YES_NO,
    Composed,
    View,
    pick,
    register_texts,
    yes_no,
)
from talos_engine.data.words import KINDS, NAMES

VERBS = ("found", "had", "lost", "saw", "sold", "took")
PLAIN = ("{p} so {h}?", "{p}: {h}?")
TEMPLATES = ("{name} {verb} {p}. so {name} {verb} {h}?", "if {name} {verb} {p}, then {h} too?")


def compose(rng: random.Random, view: View) -> Composed:
    """A word and a kind after "a" or "no": "a cow" gives "a animal", "no animal" gives "no cow"."""
    kind, other = rng.sample(list(KINDS), 2)
    word = rng.choice(KINDS[kind])
    denied, truth = rng.random() < 0.5, rng.random() < 0.5
    forward = True
    if not truth:  # the wrong way round, or another kind
        if rng.random() < 0.5:
            forward = False
        else:
            kind = other
    quantity = "no" if denied else "a"
    premise, hypothesis = f"{quantity} {word}", f"{quantity} {kind}"
    if denied == forward:
        premise, hypothesis = hypothesis, premise
    text = pick(rng, view, PLAIN, TEMPLATES).format(
        p=premise, h=hypothesis, name=rng.choice(NAMES), verb=rng.choice(VERBS)
    )
    return yes_no(text, truth)


register_texts(
    "entailment",
    "whether one sentence follows from another (yes or no)",
    compose,
    answers=YES_NO,
    control=True,
)
