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
def paint(canvas, labels, numbers):
    """Every pixel of `canvas` gets the number of its label where that is higher than its own."""
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            number = numbers[labels[row, column]]
            if number > canvas[row, column]:
                canvas[row, column] = number


@kernel
def last_pixels(labels, found):
    """found[label]: its last pixel, as a place in the flat image."""
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            if label > 0:
                found[label] = row * width + column


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
    for index in range(count):
        area = max(result[0, index], 1.0)
        result[1, index] /= area
        result[2, index] /= area
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            if label > 0:
                down, right = row - result[1, label - 1], column - result[2, label - 1]
                result[3, label - 1] += down * down
                result[4, label - 1] += right * right
                result[5, label - 1] += down * right
    return result
