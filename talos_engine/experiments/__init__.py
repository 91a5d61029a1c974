"""Experiments: recipes of many commands, run once each, resumed, and summed up in tables.

Here a recipe is read, its matrix expanded into steps, each step given a content address, and what
is not yet made is made in order. Commands themselves are run by a launcher that the caller brings,
so that this room knows no terminal; what the numbers in metrics files mean is told in ``results``.
"""

from __future__ import annotations
