"""Fields of view and cells: stains in their colours, outlines, illumination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.report.figures.canvas import WIDTH, drawing, limits, nothing, panel_size, panels_of
from morpho_assets.report.pictures import chart_bytes, photo_bytes

# The colours in which the field prints its stains; a channel of another name takes the next free one.
STAIN_COLOURS = {
    "DNA": (0.25, 0.45, 1.0),
    "ER": (0.1, 0.85, 0.35),
    "RNA": (0.95, 0.85, 0.2),
    "AGP": (1.0, 0.45, 0.1),
    "Mito": (0.95, 0.15, 0.4),
}
OTHER_STAINS = ((0.2, 0.85, 0.9), (0.85, 0.4, 0.95), (0.8, 0.8, 0.8))
DARKEST, BRIGHTEST = 15.0, 99.8  # percentiles of a channel shown as black and as full colour
GAMMA, SATURATION = 0.85, 1.6
LARGEST_SIDE = 900  # pixels of a shown field


def mask_overlay(
    image: NDArray[np.floating], channels: Sequence[str], nuclei: NDArray[np.integer], cells: NDArray[np.integer]
) -> bytes:
    """The stains of a site (C, H, W) in their usual colours, cells outlined in white and nuclei in cyan.

    `nuclei` and `cells` are label images (H, W). The bar is 100 pixels of the image long.
    """
    shape = shown_shape(image, LARGEST_SIDE)
    picture = _resized(composite(image, channels), shape)
    for labels, colour in ((cells, (1.0, 1.0, 1.0)), (nuclei, (0.25, 0.95, 1.0))):
        picture[outlines(nearest(labels, shape))] = colour
    _scale_bar(picture, 100 * shape[1] / image.shape[2])
    return photo_bytes(picture)


def composite(image: NDArray[np.floating], channels: Sequence[str]) -> NDArray[np.float32]:
    """Stains (C, H, W) as one colour picture (H, W, 3) in [0, 1]: each stretched, then screened together.

    Saturation is raised afterwards: stains of one cell overlap, and what tells them apart would drown in white.
    """
    dark = np.ones((*image.shape[1:], 3), dtype=np.float32)
    for plane, colour in zip(image, _stain_colours(channels), strict=True):
        dark *= 1 - 0.8 * _stretched(plane)[..., None] * np.asarray(colour, dtype=np.float32)
    screened = 1 - dark
    grey = screened.mean(axis=2, keepdims=True)
    return np.clip(grey + SATURATION * (screened - grey), 0, 1)


def illumination_panel(functions: Mapping[str, NDArray[np.floating]]) -> bytes:
    """The illumination function (H, W) of every channel on one colour scale; 1 is the light that is left unchanged."""
    planes = {
        name: nearest(np.asarray(plane, dtype=float), shown_shape(plane[None], LARGEST_SIDE // 3))
        for name, plane in functions.items()
    }
    with drawing(*panel_size(len(planes), 1.0)) as figure:
        if not planes:
            return nothing(figure, "no illumination functions")
        everything = np.concatenate([plane.ravel() for plane in planes.values()])
        low, high = limits(everything)
        all_axes = panels_of(figure, len(planes))
        for axes, (name, plane) in zip(all_axes, planes.items(), strict=True):
            shown = axes.imshow(plane, cmap="viridis", vmin=low, vmax=high)
            finite = plane[np.isfinite(plane)]
            span = f"{finite.min():.2f} to {finite.max():.2f}" if finite.size else "no value"
            axes.set_title(f"{name}  {span}", pad=3, fontsize=8)
        bar = figure.colorbar(shown, ax=all_axes, fraction=0.025, pad=0.02, aspect=30)
        bar.outline.set_visible(False)
        bar.set_label("relative illumination (×)")
        return chart_bytes(figure)


def cell_strips(strips: Sequence[Sequence[NDArray[np.floating]]]) -> bytes:
    """Rows of cells, each a colour picture (s, s, 3) in [0, 1] of one size, with white gaps between."""
    rows = [[np.asarray(cell, dtype=np.float32) for cell in strip] for strip in strips if len(strip)]
    if not rows:
        with drawing(WIDTH, 1.4) as figure:
            return nothing(figure, "no cells")
    side, longest = rows[0][0].shape[0], max(map(len, rows))
    picture = np.ones((len(rows) * (side + 3) - 3, longest * (side + 3) - 3, 3), dtype=np.float32)
    for down, strip in enumerate(rows):
        for across, cell in enumerate(strip):
            top, left = down * (side + 3), across * (side + 3)
            picture[top : top + side, left : left + side] = cell
    larger = max(1, round(1200 / picture.shape[1]))
    return photo_bytes(picture.repeat(larger, axis=0).repeat(larger, axis=1))


def _stain_colours(channels: Sequence[str]) -> list[tuple[float, float, float]]:
    others = iter(OTHER_STAINS * len(channels))
    return [STAIN_COLOURS[name] if name in STAIN_COLOURS else next(others) for name in channels]


def _stretched(plane: NDArray[np.floating]) -> NDArray[np.float32]:
    """A channel between its dark and bright percentile as 0 to 1; a flat one is 0."""
    pixels = np.nan_to_num(np.asarray(plane, dtype=np.float32))
    low, high = np.percentile(pixels, (DARKEST, BRIGHTEST)) if pixels.size else (0.0, 1.0)
    return np.clip((pixels - low) / (high - low), 0, 1) ** GAMMA if high > low else np.zeros_like(pixels)


def shown_shape(image: NDArray[np.floating], largest: int) -> tuple[int, int]:
    """Height and width of a field (C, H, W) that is shown at most `largest` pixels long."""
    height, width = image.shape[1:]
    scale = min(1.0, largest / max(height, width, 1))
    return max(1, round(scale * height)), max(1, round(scale * width))


def _resized(pixels: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) or (H, W, 3) in [0, 1] averaged down to `shape`."""
    from PIL import Image

    if pixels.ndim == 3:
        return np.stack([_resized(plane, shape) for plane in np.moveaxis(pixels, 2, 0)], axis=2)
    shrunk = Image.fromarray(pixels).resize(shape[::-1], Image.Resampling.BOX)
    return np.array(shrunk)


def nearest(plane: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    rows, columns = (np.arange(shown) * whole // shown for shown, whole in zip(shape, plane.shape, strict=True))
    return plane[np.ix_(rows, columns)]


def outlines(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels that touch another label above or to the left."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return edge


def _scale_bar(picture: NDArray[np.float32], length: float) -> None:
    height, width = picture.shape[:2]
    if height > 40 and length < width / 2:
        margin = max(8, height // 40)
        picture[-margin - 4 : -margin, width - margin - round(length) : width - margin] = 1
