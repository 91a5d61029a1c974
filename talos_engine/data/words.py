"""Vocabularies of the text tasks: short words, since the embedded model reads bytes."""

from __future__ import annotations

from types import MappingProxyType

NAMES = (
    "ann", "bob", "cal", "dan", "eve", "fay", "gus", "hal", "ida", "joe",
    "kim", "leo", "max", "ned", "pam", "ray", "sue", "tom", "una", "vic",
)  # fmt: skip
THINGS = (
    "axe", "bag", "cup", "dish", "egg", "fan", "hat", "jar",
    "key", "lamp", "map", "nut", "pen", "rope", "toy", "vase",
)  # fmt: skip
KINDS = MappingProxyType({
    "animal": ("ant", "bee", "cow", "dog", "fox", "goat", "hen", "lion", "pig", "wolf"),
    "plant": ("fern", "ivy", "moss", "oak", "palm", "reed", "rose", "tulip", "vine", "weed"),
    "tool": ("drill", "file", "hammer", "knife", "nail", "rake", "saw", "screw", "spade", "vice"),
    "food": ("bread", "cake", "ham", "jam", "meat", "pie", "rice", "salt", "soup", "toast"),
    "dress": ("belt", "boot", "cap", "coat", "glove", "scarf", "shirt", "skirt", "sock", "tie"),
    "tone": ("black", "blue", "brown", "green", "grey", "pink", "red", "tan", "white", "yellow"),
})  # fmt: skip
"""Words by kind; no word is of two kinds."""
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six",
    "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
