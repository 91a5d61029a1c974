"""The task ``pronouns``: whom a pronoun means, as in Winograd schemas; one word turns it round."""

from __future__ import annotations

import random

from talos_engine.data.composing import (
    Composed,
    View,
    pick,
    register_texts,
    shuffled,
)
from talos_engine.data.words import NAMES

SCHEMAS = (  # what one did to the other, how the first is, how the second is
    ("fed", "kind", "hungry"),
    ("beat", "fast", "slow"),
    ("paid", "rich", "poor"),
    ("taught", "wise", "new"),
    ("lifted", "strong", "light"),
    ("hid from", "afraid", "fierce"),
    ("nursed", "able", "ill"),
    ("robbed", "bad", "careless"),
    ("begged", "in need", "generous"),
    ("thanked", "glad", "helpful"),
)
PLAIN = ("{a} {verb} {b}. {how}?", "{how}: {a} {verb} {b}")
TEMPLATES = (
    "{a} {verb} {b} as they were {how}. who?",
    "{b} was {verb} by {a} as they were {how}. who?",
)


def compose(rng: random.Random, view: View) -> Composed:
    """One sentence; its adjective tells which of the two people is meant."""
    names = rng.sample(NAMES, 2)
    verb, *traits = rng.choice(SCHEMAS)
    meant = rng.randrange(2)
    template = pick(rng, view, PLAIN, TEMPLATES)
    text = template.format(a=names[0], b=names[1], verb=verb, how=traits[meant])
    choices, label = shuffled(rng, names[meant], [names[1 - meant]])
    return Composed(text, choices, label)


register_texts(
    "pronouns",
    "whom a pronoun means (two answers)",
    compose,
)
