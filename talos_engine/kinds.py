"""Kinds of examples: what tasks have and models take."""

from __future__ import annotations

IMAGES, TEXTS = "images", "texts"
