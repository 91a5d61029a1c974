"""The task ``reading``: who has what, answered from the text itself."""

from __future__ import annotations

import random

from talos_engine.data.composing import (
    Composed,
    View,
    pick,
    register_texts,
    shuffled,
)
from talos_engine.data.words import NAMES, THINGS

PLAIN = ("{a} {x}, {b} {y}. {ask}?", "{a}: {x} {b}: {y} {ask}=")
TEMPLATES = (
    "{a} has the {x} and {b} the {y}. the {ask} is with",
    "the {x} is for {a}, the {y} for {b}. give the {ask} to",
    "the {y}: {b} took it. the {x}: {a} did. find the {ask} at",
)


def compose(rng: random.Random, view: View) -> Composed:
    """One text about two people with one thing each."""
    names, things = rng.sample(NAMES, 2), rng.sample(THINGS, 2)
    asked = rng.randrange(2)
    choices, label = shuffled(rng, names[asked], [names[1 - asked]])
    text = pick(rng, view, PLAIN, TEMPLATES).format(
        a=names[0], b=names[1], x=things[0], y=things[1], ask=things[asked]
    )
    return Composed(text, choices, label)


register_texts(
    "reading",
    "who has the thing that is asked for, from the text (two answers)",
    compose,
)
