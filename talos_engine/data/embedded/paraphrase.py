"""The task ``paraphrase``: do two sentences of the same words say the same?"""

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
from talos_engine.data.words import NAMES

VERBS = ("asked", "beat", "called", "fed", "hit", "led", "met", "paid", "shook", "told")
PLAIN = (("{a} {v} {b}", "{b} {v} by {a}"),)
TEMPLATES = (
    ("{a} {v} {b}", "{b} got {v} by {a}"),
    ("it was {a} who {v} {b}", "{a} {v} {b}"),
    ("{b} was {v} by {a}", "{a} {v} {b}"),
)


def compose(rng: random.Random, view: View) -> Composed:
    """One pair; where it says something else, the people have changed places."""
    a, b = rng.sample(NAMES, 2)
    verb, truth = rng.choice(VERBS), rng.random() < 0.5
    first, second = rng.sample(pick(rng, view, PLAIN, TEMPLATES), 2)
    one, other = (a, b) if truth else (b, a)
    join = " = " if view is View.PLAIN else " means "
    text = first.format(a=a, b=b, v=verb) + join + second.format(a=one, b=other, v=verb)
    return yes_no(text, truth)


register_texts(
    "paraphrase",
    "whether two sentences of the same words say the same (yes or no)",
    compose,
    answers=YES_NO,
)
