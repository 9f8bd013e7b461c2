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


def split_by_group(n: int, groups: ArrayLike | None, share: float, seed: int) -> Split:
    """Hold out whole groups until about `share` of the groups validate: at least one, never all.

    `groups` (n,) names the well or plate of each cell. Without groups, or with a single one, random cells are held out.
    """
    labels = np.arange(n) if groups is None else np.asarray(groups)
    names, members = np.unique(labels, return_inverse=True)
    by_group = groups is not None and len(names) > 1
    if not by_group:
        names, members = np.arange(n), np.arange(n)
    held = int(np.clip(round(share * len(names)), 1, len(names) - 1))
    validating = np.isin(members, np.random.default_rng(seed).permutation(len(names))[:held])
    return Split(np.flatnonzero(~validating), np.flatnonzero(validating), "group" if by_group else "cell")


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
