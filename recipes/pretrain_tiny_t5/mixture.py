"""What ``tiny-t5`` is pre-trained on: the plain view of every text task, and some of its bridge."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator

import torch

from talos_engine.data.composing import Compose, Composed, View, part_of
from talos_engine.data.embedded.paraphrase import VERBS
from talos_engine.data.words import KINDS, NAMES, THINGS
from talos_engine.seeding import derive_seed

SHARES = {
    "entailment": 1.5,
    "facts": 0.7,
    "kinds": 0.3,
    "odd": 1.0,
    "owners": 0.8,
    "paraphrase": 1.5,
    "pronouns": 1.5,
    "reading": 1.5,
    "rewording": 0.8,
    "stories": 0.4,
    "sums": 0.7,
}
"""Relative frequencies; what only has to be known by heart is learnt soonest."""
BRIDGE = 0.25
"""Share of examples in a template of the task, with texts that none of its splits has."""
BLOCK = 16
"""Batches that are drawn together and sorted by length, so that little is padded."""
END, OFFSET = 1, 3  # ByT5: 0 pads, 1 ends, bytes follow three special tokens


def kinds(rng: random.Random) -> Composed:
    """What a word is, so that also those words mean something whose facts are held back."""
    kind = rng.choice(list(KINDS))
    return Composed(f"{rng.choice(KINDS[kind])} of {rng.choice(NAMES)} is a", (kind,), 0)


def owners(rng: random.Random) -> Composed:
    """Who has what, asked twice at once."""
    (a, b), (x, y) = rng.sample(NAMES, 2), rng.sample(THINGS, 2)
    told = ((x, a), (y, b)) if rng.random() < 0.5 else ((y, b), (x, a))
    asked = " ".join(thing for thing, _ in told)
    return Composed(f"{a} {x}, {b} {y}. {asked}?", (" ".join(name for _, name in told),), 0)


def rewording(rng: random.Random) -> Composed:
    """A sentence to be turned into the passive voice, or back."""
    (a, b), verb = rng.sample(NAMES, 2), rng.choice(VERBS)
    active, passive = f"{a} {verb} {b}", f"{b} {verb} by {a}"
    text, answer = (active, passive) if rng.random() < 0.5 else (passive, active)
    return Composed(f"{text} =", (answer,), 0)


DRILLS: dict[str, Callable[[random.Random], Composed]] = {
    "kinds": kinds,
    "owners": owners,
    "rewording": rewording,
}
"""No tasks: each has one answer, which is to be written."""


def draw(rng: random.Random) -> Composed:
    """One example of the mixture."""
    name = rng.choices(list(SHARES), list(SHARES.values()))[0]
    if name in DRILLS:
        return DRILLS[name](rng)
    compose: Compose = importlib.import_module(f"talos_engine.data.embedded.{name}").compose
    view = View.BRIDGE if rng.random() < BRIDGE else View.PLAIN
    while True:
        made = compose(rng, view)
        if view is View.PLAIN or part_of(made.text) == "pre-training":
            return made


def tokens(text: str) -> list[int]:
    """Token ids of a text, the same as ``ByT5Tokenizer``'s."""
    return [*(byte + OFFSET for byte in text.encode()), END]


def pad(rows: list[list[int]], value: int) -> torch.Tensor:
    """Rows of different length as one tensor, int64."""
    length = max(map(len, rows))
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def batches(seed: int, size: int, start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of texts (n, length) and right answers (n, length), padded with 0 and -100.

    Args:
        seed: Seed of the run.
        size: Examples per batch.
        start: Number of the first batch; a batch depends on nothing but seed and number.
    """
    block, skip = divmod(start, BLOCK)
    while True:
        rng = random.Random(derive_seed("tiny-t5", seed, block))
        drawn = sorted((draw(rng) for _ in range(size * BLOCK)), key=lambda each: len(each.text))
        groups = [drawn[first : first + size] for first in range(0, len(drawn), size)]
        rng.shuffle(groups)
        for group in groups[skip:]:
            texts = pad([tokens(each.text) for each in group], 0)
            yield texts, pad([tokens(each.choices[each.label]) for each in group], -100)
        block, skip = block + 1, 0
