"""Passes over label images (H, W) of int32, compiled and cached on disk; label 0 is background."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

kernel: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")


@kernel
def count_pixels(labels, counts):
    """Add 1 to counts[label] for every pixel (N,)."""
    for label in labels:
        if label < 0:
            raise ValueError("a label below 0")
        counts[label] += 1


@kernel
def renumber(labels, numbers, result):
    """result = numbers[labels], all of N pixels."""
    for place in range(len(labels)):
        result[place] = numbers[labels[place]]


@kernel
def hollow(nuclei, cells, result):
    """result = cells, and 0 where a nucleus's pixel lies off the frame with all eight neighbours of its own nucleus."""
    height, width = nuclei.shape
    for row in range(height):
        for column in range(width):
            number = nuclei[row, column]
            inside = number > 0 and 0 < row < height - 1 and 0 < column < width - 1
            if inside:
                for other in nuclei[row - 1 : row + 2, column - 1 : column + 2].flat:
                    if other != number:
                        inside = False
                        break
            result[row, column] = 0 if inside else cells[row, column]


@kernel
def touching_labels(labels, holes, low, high):
    """Smallest and largest label that each hole (numbered from 1 where `labels` is 0) shares a side with, put into
    `low` and `high`, which are indexed by hole."""
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            hole = holes[row, column]
            if hole == 0:
                continue
            for down, across in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                if 0 <= row + down < height and 0 <= column + across < width:
                    label = labels[row + down, column + across]
                    if label > 0:
                        low[hole] = min(low[hole], label)
                        high[hole] = max(high[hole], label)


@kernel
def paint(canvas, labels, places, numbers):
    """Of the pixels at `places`, each gets the number of its label where that is higher than its own; all flat."""
    for place in places:
        number = numbers[labels[place]]
        if number > canvas[place]:
            canvas[place] = number


@kernel
def _root(parents, number):
    while parents[number] != number:
        number = parents[number]
    return number


@kernel
def _joined(parents, one, other):
    """The lower of the roots of two numbers, which become one."""
    one, other = _root(parents, one), _root(parents, other)
    low, high = min(one, other), max(one, other)
    parents[high] = low
    return low


@kernel
def pieces_above(light, level, among, width, least, labels):
    """Pieces, joined at sides and corners, of the pixels `among` (ascending places in the flat image, `width` pixels a
    row) where `light` is above the level. `labels` (all 0) gets those of `least` pixels and more, numbered by their
    first pixels. Returns the places of these."""
    parents = np.zeros(len(among) + 1, np.int32)
    lit = np.empty(len(among), np.int32)
    count = found = 0
    for place in among:
        if not light[place] > level:
            continue
        column = place % width
        number = 0
        for down, across in ((0, -1), (-1, -1), (-1, 0), (-1, 1)):
            other = place + down * width + across
            if other < 0 or column + across < 0 or column + across >= width:
                continue
            beside = labels[other]
            if beside > 0 and beside != number:
                number = beside if number == 0 else _joined(parents, number, beside)
        if number == 0:
            count += 1
            number = count
            parents[number] = number
        labels[place] = number
        lit[found] = place
        found += 1
    area = np.zeros(count + 1, np.int64)
    for number in range(1, count + 1):
        parents[number] = parents[parents[number]]  # a parent is the lower number, and has its root already
    for at in range(found):
        area[parents[labels[lit[at]]]] += 1
    numbers = np.zeros(count + 1, np.int32)
    kept = 0
    for number in range(1, count + 1):
        if parents[number] == number and area[number] >= least:
            kept += 1
            numbers[number] = kept
    left = 0
    for at in range(found):
        place = lit[at]
        labels[place] = numbers[parents[labels[place]]]
        if labels[place] > 0:
            lit[left] = place
            left += 1
    return lit[:left].copy()


@kernel
def moments_at(labels, places, width, count):
    """`moments` of the objects 1..count whose pixels are at `places` of the flat `labels`, and (count,) the last pixel
    of each."""
    result, last = np.zeros((6, count)), np.zeros(count, np.int64)
    for place in places:
        index = labels[place] - 1
        result[0, index] += 1
        result[1, index] += place // width
        result[2, index] += place % width
        last[index] = place
    _centred(result)
    for place in places:
        _spread(result, labels[place] - 1, place // width, place % width)
    return result, last


@kernel
def _centred(result):
    for index in range(result.shape[1]):
        area = max(result[0, index], 1.0)
        result[1, index] /= area
        result[2, index] /= area


@kernel
def _spread(result, index, row, column):
    down, right = row - result[1, index], column - result[2, index]
    result[3, index] += down * down
    result[4, index] += right * right
    result[5, index] += down * right


@kernel
def moments(labels, count):
    """(6, count) of objects 1..count: area, centre (row, column), and the sums of squared and mixed distances from it.

    Of an object without a pixel all are 0.
    """
    result = np.zeros((6, count))
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            if label > 0:
                result[0, label - 1] += 1
                result[1, label - 1] += row
                result[2, label - 1] += column
    _centred(result)
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            if label > 0:
                _spread(result, label - 1, row, column)
    return result
