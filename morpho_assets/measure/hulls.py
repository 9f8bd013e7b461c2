"""Convex hulls of objects, and what follows from them: Feret diameters, convex area, smallest enclosing circle.

A hull is found from the topmost and bottommost pixel of each column, by the monotone chain (Andrew 1979,
doi:10.1016/0020-0190(79)90072-3) in whole numbers, so that no vertex hangs on rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.kernels import kernel
from morpho_assets.measure.objects import Objects


def hull_statistics(objects: Objects) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 3) convex area, minimum and maximum Feret diameter; (n, 3) enclosing circle: row, column, radius. Pixels.

    The convex area counts the pixel centres inside or on the hull of all pixel edge midpoints (scikit-image's
    `convex_hull_image`); the rest takes pixels as points at their centres.
    """
    return hull_statistics_kernel(objects.rows, objects.cols, objects.starts, objects.boxes)


@kernel
def hull_statistics_kernel(rows, cols, starts, boxes):
    count = len(starts) - 1
    extents = np.empty((count, 3))
    circles = np.empty((count, 3))
    for i in range(count):
        left = boxes[i, 1]
        width = boxes[i, 3] - left
        top = np.full(width, boxes[i, 2], np.int64)
        bottom = np.full(width, -1, np.int64)
        for place in range(starts[i], starts[i + 1]):
            col = cols[place] - left
            top[col] = min(top[col], rows[place])
            bottom[col] = max(bottom[col], rows[place])
        upper = chain(top, bottom, 1)
        lower = chain(bottom, bottom, -1)
        y, x = hull_vertices(top, bottom, upper, lower)
        extents[i, 0] = convex_area(top, bottom)
        extents[i, 1], extents[i, 2] = feret_diameters(y, x)
        row, col, radius = enclosing_circle(y, x + left)
        circles[i, 0] = row
        circles[i, 1] = col
        circles[i, 2] = radius
    return extents, circles


@kernel
def chain(extreme, bottom, side):
    """Columns at which the upper (side 1) or lower (side -1) hull turns; columns with bottom < 0 hold no pixel."""
    turns = np.empty(len(extreme), np.int64)
    size = 0
    for x in range(len(extreme)):
        if bottom[x] < 0:
            continue
        while size >= 2:
            a, b = turns[size - 2], turns[size - 1]
            cross = (b - a) * (extreme[x] - extreme[a]) - (extreme[b] - extreme[a]) * (x - a)
            if cross * side > 0:
                break
            size -= 1
        turns[size] = x
        size += 1
    return turns[:size]


@kernel
def hull_vertices(top, bottom, upper, lower):
    """Vertices in turn: along the top from the left, then back along the bottom; no point twice."""
    y = np.empty(len(upper) + len(lower), np.int64)
    x = np.empty(len(upper) + len(lower), np.int64)
    size = 0
    for col in upper:
        y[size] = top[col]
        x[size] = col
        size += 1
    for k in range(len(lower) - 1, -1, -1):
        col = lower[k]
        at_end = k in (0, len(lower) - 1)
        if not (at_end and top[col] == bottom[col]):
            y[size] = bottom[col]
            x[size] = col
            size += 1
    return y[:size], x[:size]


@kernel
def convex_area(top, bottom):
    """Pixel centres in the hull of the pixels' edge midpoints, in doubled coordinates so that all are whole."""
    width = len(top)
    wide_top = np.full(2 * width + 1, 2 * np.max(bottom) + 2, np.int64)
    wide_bottom = np.full(2 * width + 1, -1, np.int64)
    for col in range(width):
        if bottom[col] < 0:
            continue
        middle = 2 * col + 1
        for x, reach in ((middle - 1, 0), (middle, 1), (middle + 1, 0)):
            wide_top[x] = min(wide_top[x], 2 * top[col] - reach + 1)
            wide_bottom[x] = max(wide_bottom[x], 2 * bottom[col] + reach + 1)
    upper = chain(wide_top, wide_bottom, 1)
    lower = chain(wide_bottom, wide_bottom, -1)
    area = 0
    above, below = 0, 0
    for col in range(width):
        x = 2 * col + 1
        while upper[above + 1] < x:
            above += 1
        while lower[below + 1] < x:
            below += 1
        a, b = upper[above], upper[above + 1]
        first = -((-(wide_top[a] * (b - a) + (wide_top[b] - wide_top[a]) * (x - a)) + (b - a)) // (2 * (b - a)))
        a, b = lower[below], lower[below + 1]
        last = (wide_bottom[a] * (b - a) + (wide_bottom[b] - wide_bottom[a]) * (x - a) - (b - a)) // (2 * (b - a))
        area += max(last - first + 1, 0)
    return area


@kernel
def feret_diameters(y, x):
    """Smallest distance of two parallel lines that hold all vertices, and the largest distance of two vertices."""
    size = len(y)
    largest = 0
    for a in range(size):
        for b in range(a):
            largest = max(largest, (y[a] - y[b]) ** 2 + (x[a] - x[b]) ** 2)
    if size < 3:
        return 0.0, np.sqrt(largest)
    smallest = np.inf
    for a in range(size):
        b = (a + 1) % size
        dy, dx = y[b] - y[a], x[b] - x[a]
        reach = 0
        for c in range(size):
            reach = max(reach, abs(dx * (y[c] - y[a]) - dy * (x[c] - x[a])))
        smallest = min(smallest, reach / np.sqrt(dx * dx + dy * dy))
    return smallest, np.sqrt(largest)


@kernel
def corner_angle(ay, ax, by, bx):
    """Angle between two vectors, radians."""
    return np.abs(np.arccos((ay * by + ax * bx) / np.sqrt((ay * ay + ax * ax) * (by * by + bx * bx))))


@kernel
def enclosing_circle(y, x):
    """Smallest circle around the vertices: centre row, centre column, radius (Chrystal 1885).

    From a chord, take the vertex that sees it under the smallest angle: if that is not acute the chord is the
    diameter, if the triangle is not obtuse its circumcircle is the answer, else drop the obtuse corner.
    Which corner is called first decides the last bit of the radius, and with it whether the corner itself lies
    inside; the roles are therefore CellProfiler's.
    """
    size = len(y)
    if size == 1:
        return float(y[0]), float(x[0]), 0.0
    s0, s1 = 0, 1
    while True:
        best, best0, best1, v = np.inf, 0.0, 0.0, -1
        uy, ux = float(y[s0] - y[s1]), float(x[s0] - x[s1])
        for k in range(size):
            if k in (s0, s1):
                continue
            angle1 = corner_angle(uy, ux, float(y[k] - y[s1]), float(x[k] - x[s1]))
            angle0 = corner_angle(-uy, -ux, float(y[k] - y[s0]), float(x[k] - x[s0]))
            angle = np.pi - angle1 - angle0
            if angle < best:
                best, best0, best1, v = angle, angle0, angle1, k
        if v < 0 or best >= np.pi / 2:
            return (y[s0] + y[s1]) / 2, (x[s0] + x[s1]) / 2, np.sqrt(uy * uy + ux * ux) / 2
        if best0 <= np.pi / 2 and best1 <= np.pi / 2:
            return circumcircle(y[s0], x[s0], y[s1], x[s1], y[v], x[v])
        if best0 > np.pi / 2:
            s0 = v
        else:
            s1 = v


@kernel
def circumcircle(ay, ax, by, bx, cy, cx):
    """Centre row, centre column and radius of the circle through three points."""
    a, b, c = float(ay * ay + ax * ax), float(by * by + bx * bx), float(cy * cy + cx * cx)
    double = 2.0 * (ax * (by - cy) + bx * (cy - ay) + cx * (ay - by))
    col = (a * (by - cy) + b * (cy - ay) + c * (ay - by)) / double
    row = (a * (cx - bx) + b * (ax - cx) + c * (bx - ax)) / double
    return row, col, np.sqrt((ay - row) * (ay - row) + (ax - col) * (ax - col))
