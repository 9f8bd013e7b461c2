"""Zernike moments of objects in their smallest enclosing circles (Boland et al. 1998, CellProfiler's convention).

V_nm = sum over pixels of R_nm(r) (y + ix)^m, where y and x run from -1 to 1 across the circle. Because V is a
polynomial in y and x, shape moments come from power sums along horizontal runs of pixels, not from the pixels.
"""

from __future__ import annotations

from math import comb, factorial

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure.kernels import kernel
from morpho_assets.measure.objects import Objects


def zernike_orders(degree: int) -> list[tuple[int, int]]:
    """(n, m) with 0 <= m <= n <= degree and n - m even, in CellProfiler's order."""
    return [(n, m) for n in range(degree + 1) for m in range(n % 2, n + 1, 2)]


def shape_zernikes(objects: Objects, circles: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """(n, orders) magnitude of V_nm over the circle's area; NaN for an object of one pixel.

    `circles` (n, 3): row, column, radius of the enclosing circles.
    """
    powers = power_sums(objects.rows, objects.cols, objects.starts, objects.boxes, circles, degree)
    real, imaginary = zernike_expansion(degree)
    moments = np.hypot(powers @ real, powers @ imaginary)
    with np.errstate(divide="ignore", invalid="ignore"):
        return moments / (np.pi * circles[:, 2] ** 2)[:, None]


def zernike_expansion(degree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Real and imaginary part of each V_nm as sums of y^a x^b: two ((degree + 1)^2, orders) matrices, row a, b."""
    orders = zernike_orders(degree)
    parts = np.zeros((2, degree + 1, degree + 1, len(orders)))
    for k, (n, m) in enumerate(orders):
        for s, weight in enumerate(radial_coefficients(n, m)):
            # r^(n - 2s) (y + ix)^m / r^m: (y^2 + x^2)^half times the binomial of (y + ix)^m.
            half = (n - m) // 2 - s
            for i in range(half + 1):
                for j in range(m + 1):
                    sign = (1, 1, -1, -1)[j % 4]
                    parts[j % 2, 2 * (half - i) + m - j, 2 * i + j, k] += weight * comb(half, i) * comb(m, j) * sign
    real, imaginary = parts.reshape(2, -1, len(orders))
    return real, imaginary


def radial_coefficients(n: int, m: int) -> list[int]:
    """Coefficients of r^n, r^(n-2), …, r^m in the radial polynomial R_nm."""
    return [
        (-1) ** s * factorial(n - s) // (factorial(s) * factorial((n + m) // 2 - s) * factorial((n - m) // 2 - s))
        for s in range((n - m) // 2 + 1)
    ]


@kernel
def outside_circle(row, col, circle):
    """Whether a pixel centre is outside the circle, in the rounding of CellProfiler, which leaves such pixels out."""
    y = (row - circle[0]) / circle[2]
    x = (col - circle[1]) / circle[2]
    return x * x + y * y > 1


@kernel
def power_sums(rows, cols, starts, boxes, circles, degree):
    """(n, (degree + 1)^2) sums of y^a x^b over each object's pixels for a + b <= degree, zero above."""
    count, side = len(starts) - 1, degree + 1
    totals = np.zeros((count, side, side))
    for i in range(count):
        circle = circles[i]
        left, width = boxes[i, 1], boxes[i, 3] - boxes[i, 1]
        # ahead[k, b] is the sum of x^b over the first k columns of the box.
        ahead = np.zeros((width + 1, side))
        for k in range(width):
            x, power = (left + k - circle[1]) / circle[2], 1.0
            for b in range(side):
                ahead[k + 1, b] = ahead[k, b] + power
                power *= x
        place = starts[i]
        while place < starts[i + 1]:
            row, first = rows[place], cols[place]
            place += 1
            while place < starts[i + 1] and rows[place] == row and cols[place] == cols[place - 1] + 1:
                place += 1
            last = cols[place - 1]
            while first <= last and outside_circle(row, first, circle):
                first += 1
            while last > first and outside_circle(row, last, circle):
                last -= 1
            y, power = (row - circle[0]) / circle[2], 1.0
            for a in range(side):
                for b in range(side - a):
                    totals[i, a, b] += power * (ahead[last - left + 1, b] - ahead[first - left, b])
                power *= y
    return totals.reshape(count, side * side)


def intensity_zernikes(
    objects: Objects, circles: NDArray[np.float64], pixels: NDArray[np.float32], degree: int
) -> NDArray[np.float64]:
    """(n, 2 orders) magnitude per pixel and phase, radians, of V_nm weighted by the intensities (N,).

    The phase is CellProfiler's atan2(real, imaginary).
    """
    powers = weighted_power_sums(objects.rows, objects.cols, objects.starts, circles, pixels, degree)
    real, imaginary = zernike_expansion(degree)
    re, im = powers @ real, powers @ imaginary
    return np.concatenate([np.hypot(re, im) / objects.areas[:, None], np.arctan2(re, im)], axis=1)


@kernel
def weighted_power_sums(rows, cols, starts, circles, pixels, degree):
    """(n, (degree + 1)^2) sums of intensity y^a x^b over each object's pixels for a + b <= degree, zero above."""
    count, side = len(starts) - 1, degree + 1
    totals = np.zeros((count, side, side))
    for i in range(count):
        circle = circles[i]
        for place in range(starts[i], starts[i + 1]):
            if outside_circle(rows[place], cols[place], circle):
                continue
            down = np.float64(pixels[place])
            y, x = (rows[place] - circle[0]) / circle[2], (cols[place] - circle[1]) / circle[2]
            for a in range(side):
                across = down
                for b in range(side - a):
                    totals[i, a, b] += across
                    across *= x
                down *= y
    return totals.reshape(count, side * side)
