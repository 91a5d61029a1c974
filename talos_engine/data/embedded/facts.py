"""The task ``facts``: questions about animals, four answers each, to be known by heart."""

from __future__ import annotations

import functools
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

ANSWERS = 4
RELATIONS = ("food", "home", "legs", "cover")
_TABLE = """
cow    grass farm  four  hair       sheep  grass farm  four  wool
goat   grass farm  four  hair       horse  grass field four  hair
hen    seeds farm  two   feathers   duck   seeds pond  two   feathers
dog    meat  house four  fur        cat    meat  house four  fur
lion   meat  field four  fur        wolf   meat  wood  four  fur
bear   honey wood  four  fur        fox    meat  wood  four  fur
owl    meat  wood  two   feathers   crow   seeds field two   feathers
frog   bugs  pond  four  skin       toad   bugs  pond  four  skin
shark  fish  sea   none  skin       whale  fish  sea   none  skin
seal   fish  sea   none  fur        crab   fish  sea   ten   shell
bee    honey field six   hair       ant    seeds wood  six   shell
spider bugs  house eight hair       snail  leaf  field none  shell
mouse  seeds house four  fur        snake  meat  wood  none  scales
trout  bugs  pond  none  scales     cod    fish  sea   none  scales
hare   leaf  field four  fur        worm   leaf  field none  skin
moth   wool  house six   hair       deer   leaf  wood  four  hair
"""
PLAIN = ("{animal}: {relation}?", "{relation} of the {animal}")
TEMPLATES = {
    "food": (
        "{name} feeds a {animal} with",
        "the {animal} of {name} eats",
        "what {name} gives a {animal}:",
    ),
    "home": (
        "{name} saw a {animal} in the",
        "the {animal} of {name} lives in the",
        "{name} tracks a {animal} to its",
    ),
    "legs": (
        "legs on the {animal} of {name}",
        "the {animal} {name} drew has legs:",
        "{name} counts legs of a {animal}:",
    ),
    "cover": (
        "the {animal} of {name} has a coat of",
        "{name} touched a {animal} and felt",
        "on {name}'s {animal} one sees",
    ),
}


@functools.cache
def known() -> dict[str, dict[str, tuple[str, ...]]]:
    """Animals by relation and value."""
    words = _TABLE.split()
    found: dict[str, dict[str, tuple[str, ...]]] = {relation: {} for relation in RELATIONS}
    for place in range(0, len(words), 1 + len(RELATIONS)):
        animal, *values = words[place : place + 1 + len(RELATIONS)]
        for relation, value in zip(RELATIONS, values, strict=True):
            found[relation][value] = (*found[relation].get(value, ()), animal)
    return found


def compose(rng: random.Random, view: View) -> Composed:
    """One question; values are drawn before animals, so that no answer is right more often."""
    while True:
        relation = rng.choice(RELATIONS)
        value = rng.choice(list(known()[relation]))
        animal = rng.choice(known()[relation][value])
        if view is View.TASK or is_taught("facts", relation, animal):
            break
    wrong = rng.sample([each for each in known()[relation] if each != value], ANSWERS - 1)
    choices, label = shuffled(rng, value, wrong)
    template = pick(rng, view, PLAIN, TEMPLATES[relation])
    text = template.format(animal=animal, name=rng.choice(NAMES), relation=relation)
    return Composed(text, choices, label)


register_texts(
    "facts",
    "what animals eat, where they live, what they have (four answers)",
    compose,
)
