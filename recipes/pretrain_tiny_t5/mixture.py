"""What ``tiny-t5`` is pre-trained on: the plain view of every text task, and some of its bridge."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator, Sequence

import torch

from talos_engine.data.composing import Compose, Composed, View, part_of
from talos_engine.data.embedded.paraphrase import VERBS
from talos_engine.data.words import KINDS, NAMES, THINGS
from talos_engine.seeding import derive_seed

SHARES = {
    "entailment": 1.5,
    "facts": 0.7,
    "following": 0.8,
    "kinds": 0.5,
    "odd": 1.0,
    "owners": 1.5,
    "pairs": 1.2,
    "paraphrase": 1.5,
    "pronouns": 1.5,
    "reading": 1.5,
    "rewording": 0.8,
    "stories": 0.4,
    "sums": 0.7,
}
"""Relative frequencies; what only has to be known by heart is learnt soonest."""
MATCHING = ("following", "kinds", "owners", "pairs", "paraphrase", "reading", "rewording")
STAGES = ((1008, ("pairs",)), (2608, MATCHING))
"""What is learnt until which step, before everything together. To match what stands in two places
takes more than six thousand steps to begin when there is much else that is learnt sooner, and less
than one thousand with single letters and nothing else. Ends are whole blocks."""
BRIDGE = 0.25
"""Share of examples in a template of the task, with texts that none of its splits has."""
BLOCK = 16
"""Batches that are drawn together and sorted by length, so that little is padded."""
END, OFFSET = 1, 3  # ByT5: 0 pads, 1 ends, bytes follow three special tokens


def kinds(rng: random.Random) -> Composed:
    """What a word is, so that also those words mean something whose facts are held back."""
    kind = rng.choice(list(KINDS))
    return Composed(f"{rng.choice(KINDS[kind])} of {rng.choice(NAMES)} is a", (kind,), 0)


def following(rng: random.Random) -> Composed:
    """What follows of a word without "no": its kind, and neither the reverse nor another kind."""
    kind, other = rng.sample(list(KINDS), 2)
    word = rng.choice(KINDS[kind])
    told = rng.choice(((word, kind), (word, kind), (kind, word), (word, other)))
    right = told == (word, kind)
    return Composed("{} follows {}?".format(*told[::-1]), ("yes" if right else "no",), 0)


def owners(rng: random.Random) -> Composed:
    """Who has what, of up to four, asked in another order."""
    count = rng.randint(2, 4)
    told = list(zip(rng.sample(NAMES, count), rng.sample(THINGS, count), strict=True))
    asked = rng.sample(told, rng.randint(1, count))
    text = ", ".join(f"{name} {thing}" for name, thing in told)
    things = " ".join(thing for _, thing in asked)
    return Composed(f"{text}. {things}?", (" ".join(name for name, _ in asked),), 0)


def rewording(rng: random.Random) -> Composed:
    """A sentence to be turned into the passive voice, or back."""
    (a, b), verb = rng.sample(NAMES, 2), rng.choice(VERBS)
    active, passive = f"{a} {verb} {b}", f"{b} {verb} by {a}"
    text, answer = (active, passive) if rng.random() < 0.5 else (passive, active)
    return Composed(f"{text} =", (answer,), 0)


def pairs(rng: random.Random) -> Composed:
    """Meaningless strings of up to three letters in pairs, and the seconds of those that are named.

    Finding what stands beside a word that is named again is what reading, pronouns and paraphrase
    need; single letters teach it long before words do.
    """
    count, length = rng.randint(2, 4), rng.choice((1, 1, 1, 1, 2, 3))
    firsts = rng.sample(range(26**length), count)
    seconds = rng.sample(range(26**length), count)
    told = [(spell(a, length), spell(b, length)) for a, b in zip(firsts, seconds, strict=True)]
    asked = rng.sample(told, rng.randint(1, count))
    text = ", ".join(f"{a} {b}" for a, b in told)
    return Composed(
        f"{text}. {' '.join(a for a, _ in asked)}?", (" ".join(b for _, b in asked),), 0
    )


def spell(number: int, length: int) -> str:
    """A number below ``26 ** length`` as so many small letters."""
    return "".join(chr(97 + number // 26**place % 26) for place in range(length))


DRILLS: dict[str, Callable[[random.Random], Composed]] = {
    "following": following,
    "kinds": kinds,
    "owners": owners,
    "pairs": pairs,
    "rewording": rewording,
}
"""No tasks: each has one answer, which is to be written."""


def draw(rng: random.Random, names: Sequence[str]) -> Composed:
    """One example of a mixture of these."""
    name = rng.choices(names, [SHARES[each] for each in names])[0]
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
        names = next((some for end, some in STAGES if block * BLOCK < end), tuple(SHARES))
        drawn = sorted(
            (draw(rng, names) for _ in range(size * BLOCK)), key=lambda each: len(each.text)
        )
        groups = [drawn[first : first + size] for first in range(0, len(drawn), size)]
        rng.shuffle(groups)
        for group in groups[skip:]:
            texts = pad([tokens(each.text) for each in group], 0)
            yield texts, pad([tokens(each.choices[each.label]) for each in group], -100)
        block, skip = block + 1, 0
