"""Pre-training domains about writing: drawn digits, letters, short words, symbols."""

from __future__ import annotations

import string

import numpy as np
from PIL import Image
from sample import NUMBERS, Sample, about, pick, shade, two_colours

from talos_engine.data.drawing import (
    CANVAS,
    SIZE,
    Points,
    Scene,
    backdrop,
    contrasting_colours,
    place,
)
from talos_engine.data.glyphs import TEXT_FONTS, glyph_mask

# Pen paths of handwritten digits in [-1, 1], y pointing down; some digits have several.
_PATHS: tuple[tuple[tuple[tuple[tuple[float, float], ...], ...], ...], ...] = (
    ((((0, -1), (-0.5, -0.6), (-0.6, 0.1), (-0.35, 0.8), (0.1, 1), (0.5, 0.6), (0.6, -0.1),
       (0.4, -0.8), (0, -1)),),),
    ((((0, -1), (0, 0), (0, 1)),),
     (((-0.35, -0.6), (0.05, -1), (0.05, 0), (0.05, 1)),),
     (((-0.3, -0.65), (0, -1), (0, 0), (0, 1)), ((-0.35, 1), (0.35, 1)))),
    ((((-0.5, -0.6), (-0.2, -0.95), (0.3, -0.9), (0.45, -0.45), (0, 0.3), (-0.55, 0.95),
       (0, 0.9), (0.6, 0.95)),),
     (((-0.5, -0.6), (0, -1), (0.45, -0.55), (0.1, 0.2), (-0.45, 0.8), (-0.4, 0.4), (0, 0.75),
       (0.6, 0.9)),)),
    ((((-0.45, -0.75), (0, -1), (0.45, -0.65), (0.2, -0.2), (-0.15, -0.05), (0.3, 0.05),
       (0.5, 0.5), (0.1, 0.95), (-0.5, 0.75)),),),
    ((((-0.25, -1), (-0.5, 0.1), (0.1, 0.15), (0.6, 0.1)), ((0.3, -0.5), (0.25, 0.3), (0.2, 1))),
     (((0.2, -1), (-0.2, -0.4), (-0.6, 0.3), (0, 0.3), (0.6, 0.25)), ((0.25, -0.9), (0.2, 1)))),
    ((((0.5, -0.95), (0, -0.95), (-0.35, -0.9), (-0.45, -0.2), (0.1, -0.25), (0.5, 0.2),
       (0.3, 0.8), (-0.5, 0.9)),),),
    ((((0.35, -1), (-0.15, -0.5), (-0.5, 0.25), (-0.3, 0.9), (0.25, 0.95), (0.5, 0.5), (0.2, 0.1),
       (-0.25, 0.2), (-0.45, 0.6)),),),
    ((((-0.55, -0.9), (0, -0.92), (0.55, -0.9), (0.15, -0.1), (-0.15, 0.95)),),
     (((-0.55, -0.9), (0, -0.92), (0.55, -0.9), (0.15, -0.1), (-0.15, 0.95)),
      ((-0.25, 0), (0.4, -0.05)))),
    ((((0.4, -0.7), (0, -1), (-0.4, -0.65), (0, -0.1), (0.45, 0.45), (0.05, 0.95), (-0.45, 0.5),
       (0, -0.1), (0.4, -0.7)),),),
    ((((0.45, -0.6), (0.05, -0.95), (-0.4, -0.6), (-0.1, -0.1), (0.4, -0.5), (0.4, 0.2),
       (0.2, 1)),),),
)  # fmt: skip
SYMBOLS: dict[str, str] = {
    "sun": "☀", "cloud": "☁", "umbrella": "☂", "snowman": "☃", "comet": "☄", "phone": "☎",
    "skull": "☠", "peace sign": "☮", "yin yang": "☯", "smiling face": "☺", "frowning face": "☹",
    "moon": "☾", "biohazard sign": "☣", "radioactive sign": "☢",
    "spade": "♠", "club": "♣", "music note": "♪", "two music notes": "♫", "sharp sign": "♯",
    "flat sign": "♭", "king": "♚", "queen": "♛", "rook": "♜", "bishop": "♝", "knight": "♞",
    "pawn": "♟", "female sign": "♀", "male sign": "♂", "recycling sign": "♻", "anchor": "⚓",
    "swords": "⚔", "scales": "⚖", "gear": "⚙", "atom": "⚛", "flag": "⚑", "lightning": "⚡",
    "scissors": "✂", "airplane": "✈", "envelope": "✉", "pencil": "✎", "check mark": "✓",
    "ballot cross": "✗", "snowflake": "❄", "flower": "✿", "asterisk": "✱", "hot drink": "☕",
    "telephone": "✆", "hand": "☞", "wheel": "☸", "hash sign": "#", "at sign": "@",
    "dollar sign": "$", "euro sign": "€", "pound sign": "£", "yen sign": "¥", "percent sign": "%",
    "ampersand": "&", "question mark": "?", "exclamation mark": "!", "plus sign": "+",
    "equals sign": "=", "less sign": "<", "greater sign": ">", "left bracket": "(",
    "right bracket": ")", "infinity": "∞", "integral": "∫", "sum sign": "∑", "root sign": "√",
    "omega": "Ω", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "Δ", "lambda": "λ", "pi": "π",
    "sigma": "σ", "phi": "φ", "psi": "ψ", "up arrow": "↑", "down arrow": "↓", "left arrow": "←",
    "right arrow": "→", "turning arrow": "↻", "double arrow": "↔", "house": "⌂", "command": "⌘",
    "paragraph sign": "¶", "section sign": "§", "copyright sign": "©", "degree sign": "°",
    "die one": "⚀", "die two": "⚁", "die three": "⚂", "die four": "⚃", "die five": "⚄",
    "die six": "⚅", "keyboard": "⌨",
}  # fmt: skip
_WORDS = (
    "on", "off", "up", "go", "no", "yes", "ok", "hi", "in", "out", "top", "new", "old", "hot",
    "cat", "dog", "sun", "car", "bus", "tea", "ice", "sky", "sea", "box", "key", "map", "red",
)  # fmt: skip


def _smooth(path: Points) -> Points:
    """Catmull-Rom curve through the points of a path."""
    ends = np.concatenate([path[:1], path, path[-1:]])
    t = np.linspace(0, 1, 5, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
               + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(ends[:-3], ends[1:-2], ends[2:-1], ends[3:], strict=True)
    ]  # fmt: skip
    return np.concatenate([*pieces, path[-1:]])


def _digit_captions(value: int) -> tuple[str, ...]:
    name = NUMBERS[value]
    return (f"the digit {name}", f"the number {name}", f"a picture of the number {name}",
            f"a picture of the digit {name}", f"the digit {value}", f"a {name}")  # fmt: skip


def handwritten_digit(rng: np.random.Generator) -> Sample:
    """A digit drawn with a shaky pen, sometimes at a very low resolution."""
    value = int(rng.integers(10))
    variants = _PATHS[value]
    paths = variants[int(rng.integers(len(variants)))]
    bold = float(rng.uniform(0.05, 0.14))
    colour, ground = contrasting_colours(rng, 0.3)
    scene = Scene(backdrop(rng, ground, 0.0))
    centre = (0.5 + float(rng.normal(0, 0.05)), 0.5 + float(rng.normal(0, 0.05)))
    slant, radius = float(rng.normal(0, 9)), float(rng.uniform(0.27, 0.42))
    stretch = float(rng.uniform(0.7, 1.25))
    for path in paths:
        shaky = np.array(path) + rng.normal(0, 0.07, (len(path), 2))
        lean = shaky + np.outer(-shaky[:, 1], [0.25 * float(rng.normal()), 0.0])
        scene.stroke(place(_smooth(lean), centre, radius, slant, stretch), colour, bold)
    image = scene.pixels()
    if rng.random() < 0.35:
        tiny = Image.fromarray(image).resize((8, 8), Image.Resampling.BOX)
        image = np.asarray(tiny.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    name = NUMBERS[value]
    general = (*_digit_captions(value), f"a handwritten {name}", f"a handwritten number {name}")
    return Sample(image, f"digit {value}", general, (), float(rng.uniform(0, 0.7)))


def _write(rng: np.random.Generator, text: str, font: str, height: float) -> tuple[Scene, str, str]:
    colour, ground = two_colours(rng)
    unrest = 0.06 if rng.random() < 0.3 else 0.0
    scene = Scene(backdrop(rng, shade(rng, ground), unrest))
    mask = glyph_mask(text, font, int(CANVAS * height), float(rng.normal(0, 6)))
    x, y = (0.5 + rng.normal(0, 0.05, 2)).tolist()
    scene.stamp(mask, (x, y), shade(rng, colour))
    return scene, colour, ground


def printed_digit(rng: np.random.Generator) -> Sample:
    """A digit in print."""
    value = int(rng.integers(10))
    font = pick(rng, TEXT_FONTS)
    scene, colour, _ = _write(rng, str(value), font, float(rng.uniform(0.55, 1.1)))
    special = (f"a {colour} {NUMBERS[value]}", f"the number {NUMBERS[value]} in {colour}")
    return Sample(
        scene.pixels(), f"digit {value}", _digit_captions(value), special, float(rng.random() ** 2)
    )


def letter(rng: np.random.Generator) -> Sample:
    """A small or capital letter in print."""
    name = pick(rng, string.ascii_lowercase)
    capital = rng.random() < 0.7
    font = pick(rng, TEXT_FONTS)
    text = name.upper() if capital else name
    scene, colour, ground = _write(rng, text, font, float(rng.uniform(0.6, 1.1)))
    case = "capital" if capital else "small"
    general = (f"the letter {name}", f"a picture of the letter {name}", f"a {case} letter {name}")
    special = (f"a {colour} letter {name}", f"the letter {name} in {colour} on {ground}")
    key = f"letter {case} {name}"
    return Sample(scene.pixels(), key, general, special, float(rng.random() ** 2))


def symbol(rng: np.random.Generator) -> Sample:
    """A symbol or icon from a font."""
    name = pick(rng, tuple(SYMBOLS))
    scene, colour, _ = _write(rng, SYMBOLS[name], "DejaVuSans", float(rng.uniform(0.65, 1.05)))
    general = about(f"a {name}", f"the symbol {name}")
    return Sample(
        scene.pixels(), f"symbol {name}", general, (f"a {colour} {name}",), float(rng.random() ** 2)
    )


def word(rng: np.random.Generator) -> Sample:
    """A short word or a number of two digits in print."""
    text = pick(rng, _WORDS) if rng.random() < 0.6 else str(rng.integers(10, 100))
    shown = text.upper() if rng.random() < 0.5 else text
    font = pick(rng, TEXT_FONTS)
    scene, colour, _ = _write(rng, shown, font, float(rng.uniform(0.35, 0.55)))
    spelled = " ".join(text)
    kind = "number" if text.isdigit() else "word"
    general = (f"the {kind} {spelled}", f"a {kind} that reads {spelled}")
    special = (f"the {kind} {spelled} in {colour}", f"a {kind} in {colour}")
    return Sample(scene.pixels(), f"{kind} {text}", general, special, 0.3 * float(rng.random()))
