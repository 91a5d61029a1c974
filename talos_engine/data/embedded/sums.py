"""The task ``sums``: sums and differences of small numbers in words, four answers each."""

from __future__ import annotations

import random

from talos_engine.data.composing import (
    Composed,
    View,
    is_taught,
    pick,
    register_texts,
    shuffled,
)
from talos_engine.data.words import NAMES, NUMBERS, THINGS

ANSWERS = 4
PLAIN = {True: ("{a} and {b}:", "{a} + {b} ="), False: ("{a} less {b}:", "{a} - {b} =")}
TEMPLATES = {
    True: ("{name} had {a} {thing}s and got {b}. now", "{a} {thing}s and {b} of {name}. in all"),
    False: ("{name} had {a} {thing}s and lost {b}. now", "of {a} {thing}s {name} took {b}. left"),
}


def compose(rng: random.Random, view: View) -> Composed:
    """One problem; the result is drawn first, so that none is right more often than others."""
    most = len(NUMBERS) - 1
    while True:
        result, adds = rng.randrange(1, most + 1), rng.random() < 0.5
        b = rng.randrange(0, result + 1) if adds else rng.randrange(0, most - result + 1)
        a = result - b if adds else result + b
        if view is View.TASK or is_taught("sums", str(a), "+" if adds else "-", str(b)):
            break
    near = sorted((each for each in range(most + 1) if each != result), key=lambda each: (
        abs(each - result), rng.random()))  # fmt: skip
    choices, label = shuffled(
        rng, NUMBERS[result], [NUMBERS[each] for each in rng.sample(near[:5], ANSWERS - 1)]
    )
    template = pick(rng, view, PLAIN[adds], TEMPLATES[adds])
    text = template.format(
        a=NUMBERS[a], b=NUMBERS[b], name=rng.choice(NAMES), thing=rng.choice(THINGS)
    )
    return Composed(text, choices, label)


register_texts(
    "sums",
    "sums and differences of numbers in words (four answers)",
    compose,
)
