"""Exact distance of each object pixel to the nearest pixel that is not of its object.

Two passes (Meijster, Roerdink and Hesselink 2000, doi:10.1007/0-306-47025-X_36): along columns, then the lower
envelope of parabolas along each horizontal run of one object, whose two ends are the nearest strangers in the row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.kernels import kernel
from morpho_assets.measure.objects import Objects


def squared_edge_distance(objects: Objects, frame_is_edge: bool) -> NDArray[np.int32]:
    """(N,) squared distance in pixels, in the order of the objects' pixels.

    `frame_is_edge`: whether the outside of the image counts as a stranger. Where it does not and an object fills the
    image, its distances are twice the image's longer side.
    """
    height, width = objects.shape
    gaps = column_gaps(objects.framed, frame_is_edge)
    return run_distances(objects.framed, gaps, objects.rows, objects.cols, height, width, frame_is_edge)


def within_frame(objects: Objects, framed_distance: NDArray[np.int32]) -> NDArray[np.int32]:
    """`squared_edge_distance` where the frame is no edge, from that where it is one: they differ only at the frame."""
    height, width = objects.shape
    top, left, bottom, right = objects.boxes.T
    at_frame = (top == 0) | (left == 0) | (bottom == height) | (right == width)
    pixels = np.repeat(at_frame, objects.areas)
    if not pixels.any():
        return framed_distance
    squared = framed_distance.copy()
    gaps = column_gaps(objects.framed, False)
    rows, cols = objects.rows[pixels], objects.cols[pixels]
    squared[pixels] = run_distances(objects.framed, gaps, rows, cols, height, width, False)
    return squared


@kernel
def column_gaps(framed, frame_is_edge):
    """(H + 2, W + 2) distance along the column to a pixel of another label; `far` where there is none."""
    height, width = framed.shape
    far = 2 * max(height, width)
    gaps = np.zeros((height, width), np.int32)
    edge = 0 if frame_is_edge else far
    gaps[0] = edge
    gaps[height - 1] = edge
    for row in range(1, height - 1):
        for col in range(width):
            same = framed[row, col] == framed[row - 1, col] or (row == 1 and not frame_is_edge)
            gaps[row, col] = min(gaps[row - 1, col] + 1, far) if same else 1
    for row in range(height - 2, 0, -1):
        for col in range(width):
            same = framed[row, col] == framed[row + 1, col] or (row == height - 2 and not frame_is_edge)
            below = min(gaps[row + 1, col] + 1, far) if same else 1
            gaps[row, col] = min(gaps[row, col], below)
    return gaps


@kernel
def run_distances(framed, gaps, rows, cols, height, width, frame_is_edge):
    squared = np.empty(len(rows), np.int32)
    far = 2 * max(framed.shape)
    sites = np.empty(width + 2, np.int64)
    limits = np.empty(width + 2, np.int64)
    place = 0
    while place < len(rows):
        row, first = rows[place] + 1, cols[place] + 1
        last = first
        while framed[row, last + 1] == framed[row, first]:
            last += 1
        heights = gaps[row]
        start = first - 1 if frame_is_edge or first > 1 else first
        stop = last + 1 if frame_is_edge or last < width else last
        size = 0
        for col in range(start, stop + 1):
            rise = np.int64(heights[col]) if first <= col <= last else 0
            begin = np.int64(start)
            while size > 0:
                site = sites[size - 1]
                other = np.int64(heights[site]) if first <= site <= last else 0
                # The first column from which the new parabola is below the last one.
                begin = (col * col - site * site + rise * rise - other * other) // (2 * (col - site)) + 1
                if begin > limits[size - 1]:
                    break
                size -= 1
                begin = np.int64(start)
            if begin <= stop:
                sites[size] = col
                limits[size] = begin
                size += 1
        segment = 0
        for col in range(first, last + 1):
            while segment + 1 < size and limits[segment + 1] <= col:
                segment += 1
            site = sites[segment]
            rise = np.int64(heights[site]) if first <= site <= last else 0
            squared[place] = min((col - site) * (col - site) + rise * rise, far * far)
            place += 1
    return squared
