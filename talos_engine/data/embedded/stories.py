"""The task ``stories``: what people do next, two endings each."""

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
from talos_engine.data.words import NAMES

ENDINGS = {
    "ate bread": ("was hungry", "had no lunch", "wanted food", "felt empty"),
    "drank water": ("was thirsty", "had a dry mouth", "ate much salt", "ran in the sun"),
    "went to bed": ("was tired", "worked all night", "could not stay up", "yawned"),
    "lit a fire": ("was cold", "sat in the snow", "came in frozen", "shivered"),
    "saw a doctor": ("was ill", "broke a leg", "had a fever", "hurt a hand"),
    "ran away": ("was scared", "met a lion", "heard a shot", "saw a ghost"),
    "took a bath": ("was dirty", "fell in mud", "cleaned a stove", "smelled bad"),
    "bought a gift": ("had a party to go to", "loved a girl", "thought of mum", "had a guest"),
    "said sorry": ("was rude", "broke a cup", "came late", "told a lie"),
    "read a book": ("was bored", "had a free day", "missed the show", "found a library"),
    "went shopping": ("was out of milk", "got paid", "needed shoes", "saw a sale"),
    "called a cab": ("missed the bus", "had a flat tyre", "lost the car", "was far from home"),
}
PLAIN = ("{name} {cause}, so:", "{cause}? {name}")
TEMPLATES = (
    "{when} {name} {cause}. later {name}",
    "{when} {name} {cause} and then",
)
WHEN = ("today", "at noon", "one day", "in may", "last week")


def compose(rng: random.Random, view: View) -> Composed:
    """One beginning with its ending and that of another story."""
    while True:
        ending = rng.choice(list(ENDINGS))
        cause = rng.choice(ENDINGS[ending])
        if view is View.TASK or is_taught("stories", cause):
            break
    wrong = rng.choice([each for each in ENDINGS if each != ending])
    choices, label = shuffled(rng, ending, [wrong])
    template = pick(rng, view, PLAIN, TEMPLATES)
    text = template.format(name=rng.choice(NAMES), cause=cause, when=rng.choice(WHEN))
    return Composed(text, choices, label)


register_texts(
    "stories",
    "how a story of one sentence goes on (two endings)",
    compose,
)
