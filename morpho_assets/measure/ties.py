"""Which of several equal maxima an object is given.

"centroid" is the one nearest the object's centroid, then the first in raster order, and "first" the first in raster
order: both depend on nothing but the object. "cellprofiler" is CellProfiler's choice before numpy 1.25: it sorts the
whole image with numpy's quicksort and takes the last of the equals, so that pixels far away decide. That sort (Musser's
introsort, doi:10.1002/(SICI)1097-024X(199708)27:8<983::AID-SPE117>3.0.CO;2-#, with a median of three, Hoare's partition
and insertion up to 16) is replayed here, only as far as it moves equal maxima.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.config import Ties
from morpho_assets.measure.kernels import kernel
from morpho_assets.measure.objects import Objects


def places_of_maxima(keys: NDArray[np.int32], objects: Objects, ties: Ties, with_background: bool) -> NDArray[np.int64]:
    """(n,) place of each object's largest key, in the order of the objects' pixels.

    keys (N,) int32, positive where `with_background`: then CellProfiler sorts the whole image, with 0 for background,
    otherwise the objects' pixels alone.
    """
    places, tied = first_maxima(keys, objects.starts)
    if ties == "first" or not tied.any():
        return places
    if ties == "centroid":
        take_central(keys, objects.rows, objects.cols, objects.starts, tied, places)
        return places
    items = sort_around(
        raster_items(keys, objects.framed, objects.starts, with_background), np.unique(keys[places[tied]])
    )
    take_last(items, keys, objects.owners, tied, places)
    return places


@kernel
def raster_items(keys, framed, starts, with_background):
    """(M,) int64 items to sort, in raster order: the key above 32 bits of 1 + place, 0 for background."""
    fill = starts[:-1].copy()
    items = np.empty((framed.shape[0] - 2) * (framed.shape[1] - 2) if with_background else len(keys), np.int64)
    size = 0
    for row in range(1, framed.shape[0] - 1):
        for col in range(1, framed.shape[1] - 1):
            label = framed[row, col]
            if label > 0:
                place = fill[label - 1]
                fill[label - 1] += 1
                items[size] = (np.int64(keys[place]) << 32) | (place + 1)
                size += 1
            elif with_background:
                items[size] = 0
                size += 1
    return items


@kernel
def first_maxima(keys, starts):
    """(n,) place of the first largest key of each stretch, and whether another equals it."""
    count = len(starts) - 1
    places = np.empty(count, np.int64)
    tied = np.zeros(count, np.bool_)
    for i in range(count):
        top = starts[i]
        for place in range(starts[i] + 1, starts[i + 1]):
            if keys[place] > keys[top]:
                top = place
                tied[i] = False
            elif keys[place] == keys[top]:
                tied[i] = True
        places[i] = top
    return places, tied


@kernel
def take_central(keys, rows, cols, starts, tied, places):
    """Set the place of every tied object to that of its maxima nearest its centroid, the first of equally near ones.

    Distances are compared times the object's area, counted from its first pixel: whole numbers, which no rounding and
    no move of the object changes.
    """
    for i in range(len(tied)):
        if not tied[i]:
            continue
        first, last = starts[i], starts[i + 1]
        area = last - first
        down = across = 0
        for place in range(first, last):
            down += rows[place] - rows[first]
            across += cols[place] - cols[first]
        top = keys[places[i]]
        least = np.inf
        for place in range(places[i], last):
            if keys[place] == top:
                y = float(area * (rows[place] - rows[first]) - down)
                x = float(area * (cols[place] - cols[first]) - across)
                if y * y + x * x < least:
                    least = y * y + x * x
                    places[i] = place


@kernel
def take_last(items, keys, owners, tied, places):
    """Set the place of every tied object to the last of its maxima among the sorted items."""
    for item in items:
        place = (item & 0xFFFFFFFF) - 1
        if place >= 0 and tied[owners[place]] and keys[place] == keys[places[owners[place]]]:
            places[owners[place]] = place


@kernel
def sort_around(items, wanted):
    """Sort the items (M,) in place by their keys, right where the `wanted` (ascending) keys end up; returns them.

    A part that can hold no wanted key stays unsorted.
    """
    depth = 2 * int(np.log2(max(len(items), 1)))
    stack = [(np.int64(0), np.int64(len(items) - 1), np.min(items) >> 32, np.max(items) >> 32, depth)]
    while len(stack) > 0:
        low, high, least, most, depth = stack.pop()
        if depth < 0:
            heap_sort(items[low : high + 1])
            continue
        while high - low > 15:
            middle = partition(items, low, high)
            pivot = items[middle] >> 32
            depth -= 1
            # The longer part is put off: only there the depth is looked at.
            if middle - low < high - middle:
                if holds(wanted, pivot, most):
                    stack.append((middle + 1, high, pivot, most, depth))
                high, most = middle - 1, pivot
            else:
                if holds(wanted, least, pivot):
                    stack.append((low, middle - 1, least, pivot, depth))
                low, least = middle + 1, pivot
            if not holds(wanted, least, most):
                high = low
        for k in range(low + 1, high + 1):
            moving, spot = items[k], k
            while spot > low and moving >> 32 < items[spot - 1] >> 32:
                items[spot] = items[spot - 1]
                spot -= 1
            items[spot] = moving
    return items


@kernel
def holds(wanted, least, most):
    """Whether a wanted key lies between the bounds, both included."""
    return np.searchsorted(wanted, least) < np.searchsorted(wanted, most, side="right")


@kernel
def partition(items, low, high):
    """Hoare's partition of items[low : high + 1] around the median of the first, middle and last key."""
    middle = low + (high - low) // 2
    if items[middle] >> 32 < items[low] >> 32:
        items[middle], items[low] = items[low], items[middle]
    if items[high] >> 32 < items[middle] >> 32:
        items[high], items[middle] = items[middle], items[high]
    if items[middle] >> 32 < items[low] >> 32:
        items[middle], items[low] = items[low], items[middle]
    pivot = items[middle] >> 32
    items[middle], items[high - 1] = items[high - 1], items[middle]
    up, down = low, high - 1
    while True:
        up += 1
        while items[up] >> 32 < pivot:
            up += 1
        down -= 1
        while pivot < items[down] >> 32:
            down -= 1
        if up >= down:
            break
        items[up], items[down] = items[down], items[up]
    items[up], items[high - 1] = items[high - 1], items[up]
    return up


@kernel
def heap_sort(items):
    """Sort the items by key, in place, from a heap."""
    size = len(items)
    for top in range(size // 2, 0, -1):
        sift(items, items[top - 1], top, size)
    while size > 1:
        moving = items[size - 1]
        items[size - 1] = items[0]
        size -= 1
        sift(items, moving, 1, size)


@kernel
def sift(items, moving, spot, size):
    """Let `moving` sink from the 1-based `spot` of a heap of `size`."""
    child = 2 * spot
    while child <= size:
        if child < size and items[child - 1] >> 32 < items[child] >> 32:
            child += 1
        if moving >> 32 >= items[child - 1] >> 32:
            break
        items[spot - 1] = items[child - 1]
        spot = child
        child *= 2
    items[spot - 1] = moving
