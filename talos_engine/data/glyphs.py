"""Letters, digits and signs rendered with the fonts that matplotlib ships.

Only masks of glyphs are made here; colouring and placing them is the business of ``drawing.Scene``.
matplotlib itself is not imported.
"""

from __future__ import annotations

import importlib.util
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from talos_engine.errors import DataError

TEXT_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip
"""Fonts that hold all letters and digits."""


@cache
def font_folder() -> Path:
    """Folder of matplotlib's TrueType fonts, found without importing matplotlib.

    Raises:
        DataError: matplotlib is not installed.
    """
    found = importlib.util.find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        raise DataError("the fonts for drawn letters are missing", "install matplotlib")
    return Path(found.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"


@cache
def _font(name: str, height: int) -> ImageFont.FreeTypeFont:
    path = str(font_folder() / f"{name}.ttf")
    return ImageFont.truetype(path, height, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=20_000)
def _upright_mask(text: str, font: str, height: int) -> Image.Image:
    face = _font(font, height)
    left, top, right, bottom = (int(edge) for edge in face.getbbox(text))
    mask = Image.new("L", (max(1, right - left) + 2, max(1, bottom - top) + 2))
    ImageDraw.Draw(mask).text((1 - left, 1 - top), text, fill=255, font=face)
    return mask


def glyph_mask(text: str, font: str, height: int, degrees: float = 0.0) -> Image.Image:
    """Greyscale mask of a short text, cut to its ink.

    Args:
        text: What to write.
        font: File name in matplotlib's font folder, without ``.ttf``.
        height: Font size in canvas pixels.
        degrees: Clockwise rotation.
    """
    mask = _upright_mask(text, font, height)
    if abs(degrees) < 0.5:
        return mask
    return mask.rotate(-degrees, Image.Resampling.BILINEAR, expand=True)
