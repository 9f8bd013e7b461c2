"""Which cells train and which validate: whole groups (wells, plates) stay on one side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Split:
    """Row numbers of the training and the validation cells; `unit` says what was kept whole.

    `unit` is "cell" where there was no second group to hold out: the validation loss is then that of cells of
    known wells, and says nothing about unseen ones.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    unit: Literal["group", "cell"]


def split_by_group(n: int, groups: ArrayLike | None, share: float, seed: int, labels: ArrayLike | None = None) -> Split:
    """Hold out whole groups until about `share` of the groups validate: at least one, never all.

    `groups` (n,) names the well or plate of each cell. Without groups, or with a single one, random cells are held out.
    With `labels` (n,) a group stays in training where without it one of its labels would have none left there, as far
    as that leaves one to hold out.
    """
    labels = np.arange(n) if groups is None else np.asarray(groups)
    names, members = np.unique(labels, return_inverse=True)
    by_group = groups is not None and len(names) > 1
    if not by_group:
        names, members = np.arange(n), np.arange(n)
    held = int(np.clip(round(share * len(names)), 1, len(names) - 1))
    order = np.random.default_rng(seed).permutation(len(names))
    if labels is not None and by_group:
        order = _sparing(order, members, np.unique(np.asarray(labels), return_inverse=True)[1])
    validating = np.isin(members, order[:held])
    return Split(np.flatnonzero(~validating), np.flatnonzero(validating), "group" if by_group else "cell")


def _sparing(order: NDArray[np.int64], members: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The groups in order, those last that a label cannot spare."""
    pairs = np.unique(np.stack([members, labels]), axis=1)
    left = np.bincount(pairs[1])
    spared, needed = [], []
    for group in order:
        own = pairs[1, pairs[0] == group]
        if (left[own] > 1).all():
            left[own] -= 1
            spared.append(group)
        else:
            needed.append(group)
    return np.array(spared + needed, np.int64)


def sample_by_group(groups: ArrayLike, n: int, seed: int) -> NDArray[np.int64]:
    """At most `n` sorted row numbers, evenly from the groups as far as their sizes allow."""
    labels = np.asarray(groups)
    order = np.random.default_rng(seed).permutation(len(labels))
    _, members = np.unique(labels[order], return_inverse=True)
    turn = np.empty(len(labels), dtype=np.int64)  # 0 for the first cell of each group, 1 for the second, ...
    by_member = np.argsort(members, kind="stable")
    starts = np.searchsorted(members[by_member], np.arange(members.max() + 1 if len(members) else 0))
    turn[by_member] = np.arange(len(labels)) - np.repeat(starts, np.diff([*starts, len(labels)]))
    return np.sort(order[np.argsort(turn, kind="stable")[:n]])
