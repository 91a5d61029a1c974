"""The version of the engine, in one place; written into every artifact."""

from __future__ import annotations

__version__ = "0.1.0"
