"""From pixels to WebP bytes that are small enough to live in an event log or inside a page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

LARGEST_BYTES = 150_000
QUALITIES = (90, 80, 65)
DOTS_PER_INCH = 220  # twice what a page shows, for sharp screens

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
STYLE: Any = {  # matplotlib types its keys as a literal of three hundred names
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
}


def chart_bytes(figure: Figure) -> bytes:
    """A drawn matplotlib figure as WebP, under 150 kB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return _smallest(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]), lossless=True)


def photo_bytes(pixels: NDArray[np.floating]) -> bytes:
    """A picture (H, W, 3) with values in [0, 1] as WebP, under 150 kB."""
    from PIL import Image

    return _smallest(Image.fromarray((np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)), lossless=False)


def _smallest(image: Image, lossless: bool) -> bytes:
    """The best quality that fits; what fits at none is made smaller."""
    from PIL.Image import Resampling

    if lossless and len(data := _webp(image, lossless=True)) < LARGEST_BYTES:
        return data
    while True:
        for quality in QUALITIES:
            if len(data := _webp(image, quality=quality)) < LARGEST_BYTES:
                return data
        width, height = (max(1, round(0.8 * side)) for side in image.size)
        image = image.resize((width, height), Resampling.LANCZOS)


def _webp(image: Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()
