"""What all drawings of a report share: stand-ins for the page's colours, and how lines differ."""

from __future__ import annotations

INK = "#010203"  # stands for the page's text colour
GRID = "#040506"  # for its rules
COLOURS = tuple(f"#0a0b0{digit}" for digit in range(6))  # for its six line colours
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
LONGEST_LABEL = 28


def short(label: str) -> str:
    """A label that fits."""
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def scale(unit: str) -> float:
    """What numbers of a unit are multiplied with to be shown."""
    return 100.0 if unit == "%" else 1.0
