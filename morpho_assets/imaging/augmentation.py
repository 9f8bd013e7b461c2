"""Test-time augmentation: segment the eight flips and quarter turns of an image, and let them vote.

For a segmenter that gives maps (probabilities, flows), the maps are averaged and turned into objects once.
For any other, objects are matched across the eight results at IoU >= 0.5, kept where a majority has them, and made
of the pixels that more than half of those agree on. Moshkov et al. 2020, doi:10.1038/s41598-020-61808-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median_low
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from morpho_assets.imaging.overlap import overlap
from morpho_assets.imaging.segmentation import Segmentation, Segmenter
from morpho_assets.imaging.segmentation.objects import Labels, areas, linked, relabelled

SYMMETRIES = tuple((turns, flip) for flip in (False, True) for turns in range(4))

MATCH_IOU = 0.5


@runtime_checkable
class MapSegmenter(Protocol):
    """A segmenter whose objects come from maps that can be averaged.

    `vectors` are the positions in `maps` of (row, column) components of directions, which turn with the image.
    """

    @property
    def vectors(self) -> tuple[tuple[int, int], ...]: ...

    def maps(self, image: NDArray[np.float32], channels: Sequence[str]) -> NDArray[np.float32]: ...

    def from_maps(
        self, maps: NDArray[np.float32], image: NDArray[np.float32], channels: Sequence[str]
    ) -> Segmentation: ...


@dataclass(frozen=True)
class Augmented:
    """Any segmenter, run on the eight symmetries of each image; eight times its cost."""

    segmenter: Segmenter

    def segment(self, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """(C, H, W) in [0, 1] -> nuclei and cells agreed on.

        `dropped` counts what linking them dropped, besides the median over the eight of what each had dropped before.
        """
        if isinstance(self.segmenter, MapSegmenter):
            return self.segmenter.from_maps(_mean_maps(self.segmenter, image, channels), image, channels)
        results, dropped = [], []
        for turns, flip in SYMMETRIES:
            found = self.segmenter.segment(np.ascontiguousarray(turned(image, turns, flip)), channels)
            results.append([restored(labels, turns, flip) for labels in (found.nuclei, found.cells)])
            dropped.append(found.dropped)
        nuclei, cells = (consensus(list(labels)) for labels in zip(*results, strict=True))
        reasons = sorted({reason for counts in dropped for reason in counts})
        usual = {reason: median_low(counts.get(reason, 0) for counts in dropped) for reason in reasons}
        return linked(nuclei, cells, {reason: count for reason, count in usual.items() if count})


def turned(image: NDArray, turns: int, flip: bool) -> NDArray:
    """`image` (…, H, W) mirrored left to right where `flip`, then turned by `turns` x 90 degrees."""
    return np.rot90(image[..., ::-1] if flip else image, turns, axes=(-2, -1))


def restored(image: NDArray, turns: int, flip: bool) -> NDArray:
    """The inverse of `turned`."""
    back = np.rot90(image, -turns, axes=(-2, -1))
    return back[..., ::-1] if flip else back


def _mean_maps(segmenter: MapSegmenter, image: NDArray[np.float32], channels: Sequence[str]) -> NDArray[np.float32]:
    total: NDArray[np.float32] | None = None
    for turns, flip in SYMMETRIES:
        maps = restored(segmenter.maps(np.ascontiguousarray(turned(image, turns, flip)), channels), turns, flip).copy()
        for row, column in segmenter.vectors:
            maps[row], maps[column] = _turned_back(maps[row], maps[column], turns, flip)
        total = maps if total is None else total + maps
    assert total is not None
    return total / np.float32(len(SYMMETRIES))


def _turned_back(row: NDArray, column: NDArray, turns: int, flip: bool) -> tuple[NDArray, NDArray]:
    """Components of a direction in the image as it was, from those in the turned one."""
    for _ in range(turns % 4):
        # rot90 takes the axis of columns to that of rows, upside down.
        row, column = column.copy(), -row
    return row, -column if flip else column


def consensus(votes: list[Labels]) -> Labels:
    """Objects (H, W) that more than half of the label images have, made of the pixels most of their owners share.

    Of all objects the one with most partners at IoU >= 0.5 (then the highest summed IoU) goes first and takes its
    partner in each image with it. Where two agreed objects overlap, the one with more votes has the pixel.
    """
    boxes = [ndimage.find_objects(labels) for labels in votes]
    agreed = [group for group in _groups(_partners(votes)) if 2 * len(group) > len(votes)]
    result, strength = np.zeros(votes[0].shape, np.int32), np.zeros(votes[0].shape, np.int32)
    for number, group in enumerate(agreed, start=1):
        box = _union([boxes[image][label - 1] for image, label in group])
        votes_here = np.sum([votes[image][box] == label for image, label in group], axis=0)
        stronger = (2 * votes_here > len(group)) & (votes_here > strength[box])
        result[box][stronger], strength[box][stronger] = number, votes_here[stronger]
    return relabelled(result, areas(result) > 0)


Member = tuple[int, int]  # (image, label)


def _partners(votes: list[Labels]) -> dict[Member, list[tuple[float, Member]]]:
    """For each object: the IoU and name of its match in each of the other images."""
    names = [np.flatnonzero(areas(labels)).tolist() for labels in votes]
    partners: dict[Member, list[tuple[float, Member]]] = {
        (image, label): [] for image, labels in enumerate(names) for label in labels
    }
    for one, other in combinations(range(len(votes)), 2):
        table = overlap(votes[one], votes[other])
        for pair in table.matches(MATCH_IOU):
            iou = float(table.iou[pair])
            first, second = (one, names[one][table.truth[pair]]), (other, names[other][table.predicted[pair]])
            partners[first].append((iou, second))
            partners[second].append((iou, first))
    return partners


def _groups(partners: dict[Member, list[tuple[float, Member]]]) -> list[list[Member]]:
    """Objects that are one and the same, each in one group; at most one per image."""

    def rank(member: Member) -> tuple[int, float, Member]:
        return -len(partners[member]), -sum(iou for iou, _ in partners[member]), member

    free = set(partners)
    groups = []
    for member in sorted(partners, key=rank):
        if member in free:
            group = [member, *(partner for _, partner in partners[member] if partner in free)]
            free.difference_update(group)
            groups.append(group)
    return groups


def _union(boxes: list[tuple[slice, slice]]) -> tuple[slice, slice]:
    rows, columns = zip(*boxes, strict=True)
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in (rows, columns))  # type: ignore[return-value]
