"""The task ``odd``: which of three words is of another kind."""

from __future__ import annotations

import random

from talos_engine.data.composing import (
    Composed,
    View,
    is_taught,
    pick,
    register_texts,
)
from talos_engine.data.words import KINDS

PLAIN = ("odd: {} {} {}",)
TEMPLATES = ("{}, {} and {}. which is not like the rest?", "one of {}, {}, {} does not fit:")


def compose(rng: random.Random, view: View) -> Composed:
    """Two words of a kind and one of another, in random order; the answers are in that order."""
    kind, other = rng.sample(list(KINDS), 2)
    known = {
        each: [word for word in KINDS[each] if view is View.TASK or is_taught("odd", word)]
        for each in (kind, other)
    }
    odd = rng.choice(known[other])
    words = [*rng.sample(known[kind], 2), odd]
    rng.shuffle(words)
    text = pick(rng, view, PLAIN, TEMPLATES).format(*words)
    return Composed(text, tuple(words), words.index(odd))


register_texts(
    "odd",
    "which of three words is of another kind (three answers)",
    compose,
)
