"""Nuclei that each have a threshold of their own, chosen by shape: no size and no brightness is assumed.

The image is cut at many levels; every connected piece at every level is a candidate, nested in the piece below it.
From this tree the set of disjoint pieces that look most like ellipses is taken (a clump gives way to its parts where
these are rounder). Each chosen nucleus then gets its outline at a part of the way from background to its brightness.
Candidates scored in a threshold tree follow Arteta et al. 2012, doi:10.1007/978-3-642-33415-3_43; the score here is
roundness by moments, and nothing is trained.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from morpho_assets.imaging.segmentation.objects import Labels, areas, filled, relabelled

LEVELS = 24
LEAST_AREA = 20  # pixels: below, moments of a pixelated shape say nothing about it
SPLIT_GAIN = 0.005  # parts must be this much rounder than the whole, or noise splits nuclei
CUT_GAIN, CUT_GAIN_DOUBLED = 0.05, 0.1  # the same for a cut at a neck; less for each doubling of the median area
FAINT = 0.4  # of the median nucleus: what is dimmer is out of focus, or a fragment
SHARED = 2 / 3  # of a nucleus's threshold is that of the median nucleus: bright ones are drawn wide, dim ones narrow
OUTLINE, BLURRED_OUTLINE = 0.3, 0.5  # where outlines lie, of large nuclei and of those that are mostly blur …
LARGE, BLURRED = 22, 12  # … of these diameters, pixels; between them in between
WORKING_DIAMETER = 24  # pixels: larger nuclei are segmented on a reduced image, where noise and texture are smaller
SMOOTHING = 0.02  # standard deviation, in nuclear diameters
BACKGROUND = 1.5  # side of the opening that takes the background, in nuclear diameters
OUTSHONE = 4  # a nucleus's dim rim and halo never hold three times its own pixels
CLEAR_OF_NOISE = 5  # standard deviations of the background
SIGNAL = 2.5  # the same for there being nuclei at all: 1.1 to 1.3 in noise, 4.5 and more in fields with nuclei
NO_DIAMETER = 20.0  # pixels, where no nucleus is found
SIZING_BACKGROUND = 0.2  # the same before the diameter is known, in sides of the image

Plane = NDArray[np.float32]
Values = NDArray[np.float64]


def nuclei_by_own_thresholds(plane: Plane, boundary: float | None, *, fill_holes: bool) -> Labels:
    """Nuclei of (H, W) floats, numbered 1..n; the plane is not constant.

    `boundary` is the part of a nucleus's median brightness above background at which its outline lies. None takes it
    from the diameter: the dim rim of a large nucleus is nucleus, that of a small one is the blur of the optics.
    """
    diameter = nuclear_diameter(plane)
    if boundary is None:
        boundary = float(np.interp(diameter, [BLURRED, LARGE], [BLURRED_OUTLINE, OUTLINE]))
    reduction = max(0.5, WORKING_DIAMETER / diameter)
    if reduction > 0.85:
        return _nuclei(plane, diameter, boundary, fill_holes)
    small = resize(plane, [round(extent * reduction) for extent in plane.shape], order=1, anti_aliasing=True)
    nuclei = _nuclei(small.astype(np.float32), diameter * reduction, boundary, fill_holes)
    return resize(nuclei, plane.shape, order=0, anti_aliasing=False, preserve_range=True).astype(np.int32)


def _nuclei(plane: Plane, diameter: float, boundary: float, fill_holes: bool) -> Labels:
    light, middle = _light(ndimage.gaussian_filter(plane, SMOOTHING * diameter), plane, BACKGROUND * diameter)
    if middle <= 0:
        return np.zeros(plane.shape, dtype=np.int32)
    seeds = roundest_pieces(light, _levels(light, middle, LEVELS))
    nuclei = whole(outlined(light, seeds, 0.3 * middle, boundary), fill_holes=fill_holes)
    return _bright(split_by_shape(nuclei), light)


def _bright(nuclei: Labels, light: Plane) -> Labels:
    """Nuclei whose mean light is no less than `FAINT` of the median nucleus's."""
    count = int(nuclei.max(initial=0))
    if count == 0:
        return nuclei
    mean = np.bincount(nuclei.ravel(), light.ravel()) / np.bincount(nuclei.ravel())
    return relabelled(nuclei, mean >= FAINT * np.median(mean[1:]))


def nuclear_diameter(plane: Plane) -> float:
    """Diameter, pixels, of the nucleus that half of the image's nuclear area is smaller than; `NO_DIAMETER` if none is.

    A wide opening flattens the image first: glare and out-of-focus light are smooth blobs, rounder than any nucleus.
    """
    light, _, middle = flattened(plane)
    return diameter_of(light, middle)


def flattened(plane: Plane) -> tuple[Plane, Plane, float]:
    """Light of `plane` above its background, smoothed and as it is, and the threshold of nuclei: 0 without any.

    No size is assumed.
    """
    smooth = ndimage.gaussian_filter(plane, 1.0)
    light, middle = _light(smooth, plane, SIZING_BACKGROUND * min(plane.shape))
    return light, light + (plane - smooth), middle


def diameter_of(light: Plane, middle: float) -> float:
    """`nuclear_diameter` of what `flattened` gives."""
    if middle <= 0:
        return NO_DIAMETER
    pieces = roundest_pieces(light, _levels(light, middle, LEVELS // 2))
    area, round_ = roundness(pieces, int(pieces.max(initial=0)))
    area = np.sort(area[round_ > 0.9])
    if area.size == 0:
        return NO_DIAMETER
    return float(2 * np.sqrt(area[np.searchsorted(area.cumsum(), area.sum() / 2)] / np.pi))


def _light(smooth: Plane, plane: Plane, window: float) -> tuple[Plane, float]:
    """`smooth` without its background (an opening of `plane` over `window` pixels), and the threshold of nuclei.

    The threshold is 0 where there are none: what is above it is then the upper half of the noise.
    """
    light = smooth - _background(plane, window)
    light -= np.median(light[light <= _middle(light)])
    middle = _middle(light)
    return light, middle if _clearance(light, middle, middle) > SIGNAL else 0.0


def _middle(light: Plane) -> float:
    """Otsu's threshold, also where a few nuclei outshine all others (mitosis, pyknosis).

    Otsu's classes are then those few and the rest. Of the square root the few weigh less: where that threshold finds
    `OUTSHONE` times the pixels, and stands clear of the noise of the rest, it is the one between background and
    nuclei. Elsewhere nothing changes.
    """
    plain = _otsu(light)
    root = float(np.float32(_otsu(np.sqrt(np.maximum(light, 0)))) ** 2)
    outshone = np.count_nonzero(light > root) > OUTSHONE * np.count_nonzero(light > plain)
    return root if outshone and _clearance(light, plain, root) > CLEAR_OF_NOISE else plain


def _otsu(plane: Plane) -> float:
    """scikit-image's `threshold_otsu`, whose histogram takes most of its time."""
    from skimage.filters import threshold_otsu

    from morpho_assets.imaging.segmentation.plane_kernels import binned

    extremes = np.array([plane.min(), plane.max()], plane.dtype)
    if extremes[0] == extremes[1]:
        return float(extremes[0])
    edges, counts = np.histogram_bin_edges(extremes, 256), np.zeros(256, np.int64)
    binned(plane.reshape(-1), edges, counts)
    return float(threshold_otsu(hist=(counts, (edges[:-1] + edges[1:]) / 2)))


def _clearance(light: Plane, background: float, level: float) -> float:
    """How far `level` lies above what is not above `background`, in (robust) standard deviations of that."""
    rest = light[light <= background]
    middle = float(np.median(rest))
    noise = 1.4826 * float(np.median(np.abs(rest - middle))) or float(rest.std())
    return (level - middle) / noise if noise else np.inf


def _background(plane: Plane, window: float) -> Plane:
    """A smoothed opening of `plane` over `window` pixels, computed at a twentieth of that window."""
    from morpho_assets.imaging.segmentation.plane_kernels import interpolated

    step = max(1, int(window / 20))
    small = ndimage.uniform_filter(plane, step)[step // 2 :: step, step // 2 :: step]
    side = int(window / step) | 1
    small = ndimage.gaussian_filter(ndimage.grey_opening(small, (side, side)), side / 3)
    rows, columns = (
        ((np.arange(extent) - step // 2) / step).clip(0, size - 1)
        for extent, size in zip(plane.shape, small.shape, strict=True)
    )
    result = np.empty(plane.shape, np.float32)
    interpolated(small, rows, columns, result)
    return result


def _levels(light: Plane, middle: float, count: int) -> Values:
    return np.geomspace(0.6 * middle, max(float(np.percentile(light, 99.9)), middle), count)[:-1]


def roundness(labels: Labels, count: int) -> tuple[Values, Values]:
    """Area and roundness of objects 1..count (index 0 is object 1).

    Roundness is the area over that of the ellipse with the same second moments: 1 for any ellipse, less for
    everything concave. A pixel counts as a unit square.
    """
    from morpho_assets.imaging.segmentation.label_kernels import moments

    return _roundness(moments(labels, count))


def _roundness(moments: Values) -> tuple[Values, Values]:
    area, _, _, row_square, column_square, mixed = moments
    safe = np.maximum(area, 1)
    row_var, column_var, covariance = row_square / safe + 1 / 12, column_square / safe + 1 / 12, mixed / safe
    ellipse = 4 * np.pi * np.sqrt(np.maximum(row_var * column_var - covariance**2, 1 / 144))
    return area, np.minimum(area / ellipse, 1)


def roundest_pieces(light: Plane, levels: Values) -> Labels:
    """The disjoint pieces of the level tree of `light` with the highest area-weighted roundness, numbered 1..n."""
    from morpho_assets.imaging.segmentation.label_kernels import paint

    layers, places, parents, area, score = _level_tree(light, levels)
    best: list[Values] = [np.empty(0)] * len(layers)
    stop: list[NDArray[np.bool_]] = [np.empty(0, dtype=bool)] * len(layers)
    for level in reversed(range(len(layers))):
        own = score[level]
        parts = np.full(own.size, -1.0)
        if level + 1 < len(layers):
            parent, weight = parents[level + 1], area[level + 1]
            weights = np.bincount(parent, weight, minlength=own.size)
            sums = np.bincount(parent, best[level + 1] * weight, minlength=own.size)
            several = np.bincount(parent, minlength=own.size) > 1
            parts = np.where(weights > 0, sums / np.maximum(weights, 1) - np.where(several, SPLIT_GAIN, 0), -1)
        stop[level] = own >= parts
        best[level] = np.maximum(own, parts)
    chosen = np.zeros(light.shape, dtype=np.int32)
    count, alive = 0, np.ones(score[0].size if score else 0, dtype=bool)
    for level, layer in enumerate(layers):
        taken = alive & stop[level]
        number = np.concatenate([[0], np.where(taken, count + np.cumsum(taken), 0)]).astype(np.int32)
        paint(chosen.reshape(-1), layer, places[level], number)
        count += int(taken.sum())
        if level + 1 < len(layers):
            alive = (alive & ~stop[level])[parents[level + 1]]
    return chosen


def _level_tree(
    light: Plane, levels: Values
) -> tuple[list[Labels], list[NDArray[np.int32]], list[NDArray[np.intp]], list[Values], list[Values]]:
    """Per level: its pieces (labels of the flat image) and the places of their pixels, each one's parent in the level
    below (0-based), area and roundness. A level is looked for within the pieces of the one below it."""
    from morpho_assets.imaging.segmentation.label_kernels import moments_at, pieces_above

    flat, width = light.reshape(-1), light.shape[1]
    layers: list[Labels] = []
    places, parents, area, score = [], [], [], []
    within = np.arange(flat.size, dtype=np.int32)
    for level in levels:
        pieces = np.zeros(flat.size, dtype=np.int32)
        within = pieces_above(flat, level, within, width, LEAST_AREA, pieces)
        if within.size == 0:
            break
        found, last = moments_at(pieces, within, width, int(pieces[within].max()))
        size, round_ = _roundness(found)
        parents.append(layers[-1][last] - 1 if layers else np.full(last.size, -1))
        layers.append(pieces)
        places.append(within)
        area.append(size)
        score.append(round_)
    return layers, places, parents, area, score


def outlined(light: Plane, seeds: Labels, floor: float, boundary: float) -> Labels:
    """Each seed grown or trimmed to where `light` passes `boundary` of its level, within its own watershed.

    Twice, because a seed taken at a high level is brighter than the nucleus that it stands for.
    """
    from morpho_assets.imaging.segmentation.flooding import flooded

    count = int(seeds.max(initial=0))
    if count == 0:
        return seeds
    ground = flooded(-light, seeds, (light > floor) | (seeds > 0))
    nuclei = seeds
    for _ in range(2):
        inside = nuclei > 0  # the median sorts all that it is given
        level = np.maximum(ndimage.median(light[inside], nuclei[inside], np.arange(1, count + 1)), floor)
        cut = np.concatenate([[np.inf], boundary * level ** (1 - SHARED) * np.median(level) ** SHARED])
        nuclei = np.where(light > cut[ground], ground, 0).astype(np.int32)
    return nuclei


def whole(labels: Labels, *, fill_holes: bool) -> Labels:
    """Each object reduced to its largest piece, holes filled, tiny ones gone, numbered 1..n."""
    pieces, count = _pieces(labels)
    owner = np.zeros(count + 1, dtype=np.int64)
    owner[pieces] = labels
    area = areas(pieces)
    order = np.lexsort((-area, owner))
    _, first = np.unique(owner[order], return_index=True)
    largest = np.zeros(count + 1, dtype=bool)
    largest[order[first]] = True
    kept = np.where(largest[pieces], labels, 0).astype(np.int32)
    kept = filled(kept) if fill_holes else kept
    return relabelled(kept, areas(kept) >= LEAST_AREA)


def _pieces(labels: Labels) -> tuple[Labels, int]:
    from skimage.measure import label

    pieces, count = label(labels, return_num=True, connectivity=1)
    return pieces, count


def split_by_shape(labels: Labels) -> Labels:
    """Objects no smaller than the median that rounder parts make up, cut at their necks (watershed of edge distance).

    The larger an object for its image, the more likely it is several: each doubling of the median area stands for
    `CUT_GAIN_DOUBLED` of roundness.
    """
    count = int(labels.max(initial=0))
    if count == 0:
        return labels
    area, round_ = roundness(labels, count)
    doublings = np.log2(area / np.median(area))
    result, boxes = labels.copy(), ndimage.find_objects(labels)
    for index in np.flatnonzero(doublings >= 0):
        wanted = round_[index] + CUT_GAIN - CUT_GAIN_DOUBLED * doublings[index]
        parts = _parts(labels[boxes[index]] == index + 1, area[index], wanted)
        result[boxes[index]] = np.where(parts > 1, count + parts - 1, result[boxes[index]])
        count += max(int(parts.max(initial=0)) - 1, 0)
    return relabelled(result, areas(result) >= LEAST_AREA)


def _parts(shape: NDArray[np.bool_], area: float, wanted: float) -> Labels:
    """Parts 1..n of one object where their mean roundness exceeds `wanted`, else the object as 1."""
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    padded = np.pad(shape, 1)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(padded), np.sqrt(area) / 20)
    peaks = peak_local_max(depth, min_distance=2, labels=padded.astype(np.int32), exclude_border=False)
    if len(peaks) > 1:
        seeds = np.zeros(padded.shape, dtype=np.int32)
        seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        parts = watershed(-depth, seeds, mask=padded)
        part_area, part_round = roundness(parts, len(peaks))
        if part_area @ part_round / part_area.sum() > wanted:
            return parts[1:-1, 1:-1].astype(np.int32)
    return shape.astype(np.int32)
