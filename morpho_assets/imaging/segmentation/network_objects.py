"""Objects from a network's maps: every pixel inside votes for the middle of its object.

A pixel's offset leads near the middle of its object, the offset there leads nearer. Peaks of these votes are nuclei,
and each pixel goes to the peak nearest its vote; cells are the same with the nuclei in place of peaks. Nothing is
repeated until it converges: votes are counts on a grid of whole pixels, and of equal counts the first in reading order
is the peak. (Votes for centres: Cheng et al. 2020, doi:10.1109/CVPR42600.2020.01249.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from morpho_assets.imaging.segmentation.objects import Labels, areas, filled, relabelled
from morpho_assets.imaging.segmentation.own_thresholds import whole
from morpho_assets.imaging.segmentation.vote_kernels import add_by_label, count_votes, lead, take_owners

Maps = NDArray[np.float32]
Places = NDArray[np.int32]

RULES = "2"  # raised when the same maps make other objects: masks by anybody's weights are then made anew
NEAR = 4  # pixels at the network's scale: of two peaks no further apart along either axis only the higher one counts
LEAST_VOTES = 15.0  # around a peak, pixels at the network's scale: fewer are a speck or stray votes
SURE = 1.0  # least mean logit of a nucleus: below are specks, ghosts and the dust of noise
TIGHT = 0.5  # logit added to the threshold where nuclei are seen in double size: people draw small ones tighter
STRAY = 8.0  # pixels at the network's scale: a vote further than this from every peak is nobody's


def nuclei_of(maps: Maps, step: int, threshold: float = 0.0, *, fill_holes: bool = True) -> Labels:
    """(3, H, W) logit, row and column offset in pixels -> nuclei, int32 (H, W), 1..n.

    The maps were made at 2**step of their size, where votes are counted.
    """
    inside = maps[0] > threshold + (TIGHT if step > 0 else 0)
    grid = _grid_shape(inside.shape, step)
    ends = _ends(maps, inside, step, grid)
    votes = np.zeros(grid, np.int64)
    count_votes(ends.reshape(-1), votes.reshape(-1))
    peaks = _peaks(votes, LEAST_VOTES / 4.0**step)
    if not peaks.any():
        return np.zeros(inside.shape, np.int32)
    distance, nearest = ndimage.distance_transform_edt(~peaks, return_indices=True)
    number = np.zeros(grid, np.int32)
    number[peaks] = np.arange(1, np.count_nonzero(peaks) + 1)
    owner = np.where(distance <= STRAY, number[tuple(nearest)], 0)
    return whole(_sure(_owned(ends, owner), maps[0]), fill_holes=fill_holes)


def _sure(labels: Labels, logit: NDArray[np.float32]) -> Labels:
    """Objects whose mean logit is at least `SURE`."""
    area = areas(labels)
    total = np.zeros(area.size)
    add_by_label(labels.reshape(-1), logit.reshape(-1), total)
    return relabelled(labels, total / np.maximum(area, 1) >= SURE)


def cells_of(maps: Maps, nuclei: Labels, step: int, threshold: float = 0.0, *, fill_holes: bool = True) -> Labels:
    """(3, H, W) maps, made at 2**step of their size, and nuclei (H, W) -> a cell for each, under its number.

    Every pixel goes to the nucleus nearest to where it leads; pieces that no nucleus lies in are nobody's.
    """
    if not nuclei.any():
        return np.zeros_like(nuclei)
    inside = (maps[0] > threshold) | (nuclei > 0)
    seeds = labels_rescaled(nuclei, step)
    _, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    cells = _owned(_ends(maps, inside, step, seeds.shape), seeds[tuple(nearest)])
    return _own_pieces(np.where(nuclei > 0, nuclei, cells), nuclei, fill_holes=fill_holes)


def labels_rescaled(labels: Labels, step: int) -> Labels:
    """Labels at 2**step of their size: the middle pixel of each block, or each pixel repeated."""
    if step >= 0:
        return np.repeat(np.repeat(labels, 2**step, axis=0), 2**step, axis=1)
    side = 2**-step
    padded = np.pad(labels, [(0, -extent % side) for extent in labels.shape], mode="edge")
    return np.ascontiguousarray(padded[side // 2 :: side, side // 2 :: side])


def _own_pieces(cells: Labels, nuclei: Labels, *, fill_holes: bool) -> Labels:
    """Of each cell the pieces that its nucleus has a pixel in, without holes where asked."""
    from skimage.measure import label

    pieces = label(cells, connectivity=1)
    owned = np.zeros(int(pieces.max(initial=0)) + 1, dtype=bool)
    owned[pieces[nuclei > 0]] = True
    kept = np.where(owned[pieces], cells, 0).astype(np.int32)
    return filled(kept) if fill_holes else kept


def _grid_shape(shape: tuple[int, ...], step: int) -> tuple[int, int]:
    height, width = (-(-extent * 2 ** max(step, 0) // 2 ** max(-step, 0)) for extent in shape)
    return height, width


def _ends(maps: Maps, inside: NDArray[np.bool_], step: int, grid: tuple[int, ...]) -> Places:
    """Where the offsets lead from each pixel in two steps: (H, W) flat places on a grid at 2**step."""
    ends = np.empty(inside.shape, np.int32)
    lead(inside, maps, 2.0**step, grid[0], grid[1], ends)  # a power of two: nothing is rounded
    return ends


def _peaks(votes: NDArray[np.int64], least: float) -> NDArray[np.bool_]:
    """Pixels with more votes around them than any other near, and at least `least`; a vote beside counts less."""
    around = votes
    for axis in (0, 1):
        around = ndimage.convolve1d(around, [1, 2, 3, 2, 1], axis=axis, mode="constant")
    # What comes first in reading order has the higher rank of two equal ones.
    rank = around * votes.size + np.arange(votes.size)[::-1].reshape(votes.shape)
    highest = ndimage.maximum_filter(rank, 2 * NEAR + 1, mode="constant")
    return (rank == highest) & (around >= 9 * least)  # 9: the weight of the pixel itself


def _owned(ends: Places, owners: Labels) -> Labels:
    labels = np.empty(ends.shape, np.int32)
    take_owners(ends.reshape(-1), owners.reshape(-1), labels.reshape(-1))
    return labels
