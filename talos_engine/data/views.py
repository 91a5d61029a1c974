"""Systematic views: one fixed change of appearance that all images of a task share.

Pre-training of ``tiny-clip`` never sees them, so a zero-shot model is only partly right and
fine-tuning has something regular to learn; noise alone would only destroy what there is to learn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]


def tilt(images: Images, degrees: float) -> Images:
    """Images turned counter-clockwise about their centre, their borders mirrored outwards.

    Args:
        images: Shape (n, size, size, 3).
        degrees: Angle.
    """
    size = images.shape[1]
    half = size // 2
    wide = np.pad(images, ((0, 0), (half, half), (half, half), (0, 0)), mode="reflect")
    turned = [
        np.asarray(
            Image.fromarray(image)
            .rotate(degrees, Image.Resampling.BILINEAR)
            .crop((half, half, half + size, half + size))
        )
        for image in wide
    ]
    return np.stack(turned)


def sketch(images: Images) -> Images:
    """Pencil sketches: dark where the image changes, white where it does not.

    Args:
        images: Shape (n, height, width, 3).
    """
    padded = np.pad(images.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    change = np.sqrt(across**2 + down**2).max(axis=-1, keepdims=True)
    lines = (255 - np.clip(1.2 * change, 0, 255)).astype(np.uint8)
    return np.repeat(lines, 3, axis=-1)


def emboss(images: Images) -> Images:
    """Reliefs lit from one corner: only changes of each channel remain, with their sign.

    Args:
        images: Shape (n, height, width, 3).
    """
    padded = np.pad(images.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    slope = padded[:, 2:, 2:] - padded[:, :-2, :-2]
    relief: Images = np.clip(128 + 0.8 * slope, 0, 255).astype(np.uint8)
    return relief
