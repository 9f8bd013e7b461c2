"""Granularity: how much of the intensity disappears as bright structures of growing size are removed.

MeasureGranularity's spectrum by openings by reconstruction: the image, sampled down and freed of its background, is
eroded k times with the four-neighbourhood and grown back under itself. All k are reconstructed at once on the image's
component tree (Najman and Couprie 2006, doi:10.1109/TIP.2006.877518), whose nodes are the pixels, by ascending level,
and stand for their component among the pixels not darker. A component survives step k if a diamond of radius k fits
into it; the darkest pixel of a diamond is the node of the smallest such component. So an erosion of the pixels' ranks
marks the nodes that survive, and a pixel's value after step k is the level of its nearest ancestor that does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.sorting import sort_items, sort_keys
from morpho_assets.measure.config import GranularityConfig
from morpho_assets.measure.inputs import Site
from morpho_assets.measure.kernels import kernel, sums
from morpho_assets.measure.objects import Objects


def columns(compartment: str, channels: Sequence[str], config: GranularityConfig) -> list[str]:
    return [f"Granularity_{k + 1}_{channel}" for channel in channels for k in range(config.spectrum_length)]


def measure(site: Site, compartment: str, config: GranularityConfig) -> NDArray[np.float64]:
    return site.once("granularity", lambda: spectra(site, config))[compartment]


def spectra(site: Site, config: GranularityConfig) -> dict[str, NDArray[np.float64]]:
    """(n, C * spectrum_length) per compartment; NaN where subsampling leaves less than 2 x 2 pixels."""
    shape = site.image.shape[1:]
    sides = [side * config.subsampling for side in shape]
    length = len(site.channels) * config.spectrum_length
    if min(sides) <= 1:
        return {name: np.full((len(objects), length), np.nan) for name, objects in site.objects.items()}
    down, across = (stretched(side, part) for side, part in zip(shape, sides, strict=True))
    small = (pixels_along(sides[0]), pixels_along(sides[1]))
    samples = {name: object_samples(objects, down, across, small) for name, objects in site.objects.items()}
    blocks: dict[str, list[NDArray[np.float64]]] = {name: [] for name in site.objects}
    for channel, image in enumerate(site.image):
        opened = openings(foreground(image, sides, config), config.spectrum_length)
        for name, objects in site.objects.items():
            pixels = site.values(name)[channel]
            blocks[name].append(spectrum(sample_sums(*samples[name], *opened), pixels, objects))
    return {name: np.concatenate(parts, axis=1) for name, parts in blocks.items()}


def spectrum(sums: NDArray[np.float64], pixels: NDArray[np.float32], objects: Objects) -> NDArray[np.float64]:
    """(n, K) loss of mean intensity at each step, percent of the object's mean intensity before all steps.

    `sums` (n, K): intensity of the reconstructed image over each object. The first loss includes the background.
    """
    areas = objects.areas[:, None]
    start = object_sums(pixels, objects.starts)[:, None] / areas
    return -100 * np.diff(np.concatenate([start, sums / areas], axis=1)) / np.maximum(start, np.finfo(np.float64).eps)


def foreground(image: NDArray[np.float32], sides: Sequence[float], config: GranularityConfig) -> NDArray[np.float32]:
    """The image sampled down to `sides`, less its background: an opening by a disc on a still smaller image."""
    part = resample(image, *(np.arange(pixels_along(side)) / config.subsampling for side in sides))
    share = config.background_subsampling
    if share == 1:
        back = open_by_disc(part, config.background_radius)
    else:
        back = resample(part, *(np.arange(pixels_along(side * share)) / share for side in sides))
        back = open_by_disc(back, config.background_radius)
        back = resample(back, *(stretched(side, side * share) for side in sides))
    return np.maximum(part - back, np.float32(0))


def open_by_disc(image: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Minimum, then maximum, over a disc."""
    return -least_in_disc(-least_in_disc(image, radius), radius)


def pixels_along(side: float) -> int:
    """Pixels along a side of so many pixels, a broken one included: an image of 233 rows is halved to 116.5, so 117."""
    return math.ceil(side)


def stretched(side: float, part: float) -> NDArray[np.float64]:
    """Places in an axis of `part` pixels that is stretched to `side`, one for each pixel of the latter.

    CellProfiler stretches by the fractional sizes, not by the whole numbers of pixels that there are.
    """
    return np.arange(pixels_along(side)) * ((part - 1) / (side - 1))


def openings(image: NDArray[np.float32], steps: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The image after 1, 2, … steps: a row number per pixel of the image framed by one pixel, and (rows, steps) values.

    Row 0 is all zero; many pixels share a row.
    """
    framed = np.zeros((image.shape[0] + 2, image.shape[1] + 2), np.float32)
    framed[1:-1, 1:-1] = image
    bright = np.flatnonzero(framed).astype(np.int32)
    items = sort_items(sort_keys(framed.ravel()[bright]))
    places = bright[items & np.uint64(0xFFFFFFFF)]
    ranks = np.zeros(framed.shape, np.int32)
    ranks.ravel()[places] = np.arange(1, len(places) + 1, dtype=np.int32)
    parents = component_parents(ranks.ravel(), places, framed.shape[1])
    survived = surviving_steps(ranks, len(places), steps)
    return reconstruct(framed.ravel(), places, parents, survived, steps)


@kernel
def resample(image, down, across):
    """Bilinear values at the places down x across of an (h, w) float32 image; 0 outside it.

    Computed in double, kept in single precision: that is CellProfiler's, and plateaus show every rounding.
    """
    bottom, right = image.shape[0] - 1, image.shape[1] - 1
    result = np.zeros((len(down), len(across)), np.float32)
    for i in range(len(down)):
        if down[i] < 0 or down[i] > bottom:
            continue
        row = int(down[i])
        below, lower = min(row + 1, bottom), down[i] - row
        for j in range(len(across)):
            if across[j] < 0 or across[j] > right:
                continue
            col = int(across[j])
            beside, later = min(col + 1, right), across[j] - col
            upper_value = image[row, col] * (1 - later) + image[row, beside] * later
            lower_value = image[below, col] * (1 - later) + image[below, beside] * later
            result[i, j] = upper_value * (1 - lower) + lower_value * lower
    return result


@kernel
def least_in_disc(image, radius):
    """Minimum over the disc of `radius` pixels around each pixel of an (h, w) image, inside the image.

    The disc is a stack of horizontal stretches; the minima over a stretch come from those over the next shorter one.
    """
    height, width = image.shape
    wide = np.full((height, width + 2 * radius + 2), np.inf, np.float32)
    wide[:, radius + 1 : radius + 1 + width] = image
    other = wide.copy()
    result = np.full((height, width), np.inf, np.float32)
    for reach in range(radius + 1):
        if reach == 1:
            for row in range(height):
                for col in range(1, wide.shape[1] - 1):
                    beside = min(wide[row, col - 1], wide[row, col + 1])
                    other[row, col] = min(beside, wide[row, col])
            wide, other = other, wide
        elif reach > 1:
            for row in range(height):
                for col in range(1, wide.shape[1] - 1):
                    other[row, col] = min(wide[row, col - 1], wide[row, col + 1])
            wide, other = other, wide
        for dy in range(-radius, radius + 1):
            if reach * reach + dy * dy <= radius * radius < (reach + 1) * (reach + 1) + dy * dy:
                for row in range(max(0, -dy), min(height, height - dy)):
                    for col in range(width):
                        result[row, col] = min(result[row, col], wide[row + dy, col + radius + 1])
    return result


@kernel
def component_parents(ranks, places, width):
    """(nodes + 1,) parent of each node of the component tree; 0 for roots. Nodes are ranks 1, 2, … by ascending level.

    ranks: per place of the framed image, 0 for dark ones; places: per node. Nodes enter from the brightest down; each
    becomes the parent of the components that it joins.
    """
    # Unsigned places throughout: an index that could be negative costs a test at every step of the way to the top.
    parents = np.zeros(len(places) + 1, np.uint32)
    tops = np.arange(len(places) + 1).astype(np.uint32)
    one, down = np.uint32(1), np.uint32(width)
    for number in range(len(places), 0, -1):
        node = np.uint32(number)
        place = np.uint32(places[node - one])
        for beside in (ranks[place - down], ranks[place - one], ranks[place + one], ranks[place + down]):
            if beside > number:
                top = np.uint32(beside)
                above = tops[top]
                while above != top:
                    tops[top] = tops[above]
                    top = tops[above]
                    above = tops[top]
                if top != node:
                    parents[top] = node
                    tops[top] = node
    return parents


@kernel
def surviving_steps(ranks, nodes, steps):
    """(nodes + 1,) number of steps that each node's own diamonds survive, from the framed image of ranks.

    The frame is outside, where a diamond may reach. Worked band by band with enough rows around to stay in cache.
    """
    height, width = ranks.shape
    survived = np.zeros(nodes + 1, np.uint8)
    outside = np.int32(2**31 - 1)
    band = 64
    for top in range(1, height - 1, band):
        bottom = min(top + band, height - 1)
        start, stop = max(top - steps, 0), min(bottom + steps, height)
        now = ranks[start:stop].copy()
        now[:, 0] = outside
        now[:, width - 1] = outside
        if start == 0:
            now[0] = outside
        if stop == height:
            now[-1] = outside
        after = now.copy()
        for step in range(steps):
            for row in range(1, len(now) - 1):
                least_of_five(now[row - 1], now[row], now[row + 1], after[row])
            now, after = after, now
            survives = np.uint8(step + 1)
            for row in range(top - start, bottom - start):
                for node in now[row, 1 : width - 1]:
                    if survived[np.uint32(node)] < survives:
                        survived[np.uint32(node)] = survives
    return survived


@kernel
def least_of_five(above, row, below, result):
    """Minimum of each pixel of a row, but for the first and the last, and its four neighbours."""
    last = len(row) - 1
    up, left, middle, right, down = above[1:last], row[: last - 1], row[1:last], row[2:], below[1:last]
    inner = result[1:last]
    for col in range(len(inner)):
        inner[col] = min(min(min(up[col], down[col]), middle[col]), min(left[col], right[col]))


@kernel
def reconstruct(levels, places, parents, survived, steps):
    """Rows and values as in `openings`. A node that survives no step shares the row of its parent."""
    nodes = len(places)
    for number in range(nodes, 0, -1):
        node = np.uint32(number)
        if survived[parents[node]] < survived[node]:
            survived[parents[node]] = survived[node]
    node_rows = np.zeros(nodes + 1, np.uint32)
    values = np.zeros((1 + np.count_nonzero(survived[1:]), steps), np.float32)
    rows = np.zeros(len(levels), np.int32)
    count = np.uint32(1)
    for number in range(1, nodes + 1):
        node = np.uint32(number)
        place, row = np.uint32(places[node - np.uint32(1)]), node_rows[parents[node]]
        if survived[node] > 0:
            before, after, level = values[row], values[count], levels[place]
            for step in range(steps):
                after[step] = level if step < survived[node] else before[step]
            row = count
            count = np.uint32(count + np.uint32(1))
        node_rows[node] = row
        rows[place] = row
    return rows, values


@kernel
def object_samples_kernel(rows, cols, starts, boxes, down, across, height, width):
    """See `object_samples`; weights are summed in a patch of small pixels, then listed."""
    count = len(starts) - 1
    ends = np.zeros(count + 1, np.int64)
    room = 0
    for i in range(count):
        tall = int(down[boxes[i, 2] - 1]) - int(down[boxes[i, 0]]) + 2
        broad = int(across[boxes[i, 3] - 1]) - int(across[boxes[i, 1]]) + 2
        room += min(tall * broad, 4 * (starts[i + 1] - starts[i]))
    places = np.empty(room, np.int32)
    weights = np.empty(room)
    size = 0
    for i in range(count):
        top, left = int(down[boxes[i, 0]]), int(across[boxes[i, 1]])
        tall = int(down[boxes[i, 2] - 1]) - top + 2
        broad = int(across[boxes[i, 3] - 1]) - left + 2
        patch = np.zeros((tall, broad))
        for place in range(starts[i], starts[i + 1]):
            y, x = down[rows[place]], across[cols[place]]
            if y > height - 1 or x > width - 1:
                continue
            row, col = int(y), int(x)
            lower, later = y - row, x - col
            patch[row - top, col - left] += (1 - lower) * (1 - later)
            patch[row - top, col - left + 1] += (1 - lower) * later
            patch[row - top + 1, col - left] += lower * (1 - later)
            patch[row - top + 1, col - left + 1] += lower * later
        for row in range(tall):
            for col in range(broad):
                if patch[row, col] > 0:
                    places[size] = (top + row + 1) * (width + 2) + left + col + 1
                    weights[size] = patch[row, col]
                    size += 1
        ends[i + 1] = size
    return ends, places[:size].copy(), weights[:size].copy()


def object_samples(
    objects: Objects, down: NDArray[np.float64], across: NDArray[np.float64], small: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Sum over an object of the stretched small image as a weighted sum of small pixels.

    down (H,) and across (W,): places of the full image's rows and columns in the small one. Returns (n + 1,) stretches
    per object, and per entry its place in the framed small image and its weight. Places past the end weigh nothing.
    """
    return object_samples_kernel(objects.rows, objects.cols, objects.starts, objects.boxes, down, across, *small)


@sums
def sample_sums(ends, places, weights, rows, values):
    """(n, steps) weighted sums of the values of the places' rows."""
    result = np.zeros((len(ends) - 1, values.shape[1]))
    for i in range(len(ends) - 1):
        for k in range(ends[i], ends[i + 1]):
            row = rows[places[k]]
            for step in range(values.shape[1]):
                result[i, step] += weights[k] * values[row, step]
    return result


@sums
def object_sums(pixels, starts):
    """(n,) sum of each stretch."""
    result = np.zeros(len(starts) - 1)
    for i in range(len(starts) - 1):
        for value in pixels[starts[i] : starts[i + 1]]:
            result[i] += value
    return result
