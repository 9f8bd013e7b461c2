from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morpho_assets.learn.splits import sample_by_group, split_by_group

WELLS = st.lists(st.sampled_from(["A01", "A02", "B01", "B02", "C01"]), min_size=2, max_size=60)


@given(WELLS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_no_group_is_on_both_sides_and_no_cell_is_lost(wells, share, seed):
    split = split_by_group(len(wells), wells, share, seed)
    labels = np.array(wells)
    assert sorted([*split.train, *split.validation]) == list(range(len(wells)))
    assert len(split.train)
    assert len(split.validation)
    if split.unit == "group":
        assert not set(labels[split.train]) & set(labels[split.validation])
    else:
        assert len(set(wells)) == 1


@pytest.mark.parametrize("groups", [None, ["P1"] * 10], ids=["none", "one"])
def test_without_a_second_group_cells_are_held_out_and_it_says_so(groups):
    split = split_by_group(10, groups, 0.2, seed=0)
    assert (split.unit, len(split.validation)) == ("cell", 2)


def test_share_of_groups_by_hand():
    split = split_by_group(20, np.repeat(np.arange(10), 2), 0.3, seed=1)
    assert (len(split.validation), len(split.train)) == (6, 14)


def test_sampling_takes_evenly_and_gives_small_groups_whole():
    groups = np.repeat(["crowded", "even", "sparse"], [100, 50, 3])
    rows = sample_by_group(groups, 23, seed=0)
    assert dict(zip(*np.unique(groups[rows], return_counts=True), strict=True)) == {
        "crowded": 10,
        "even": 10,
        "sparse": 3,
    }
    assert (np.diff(rows) > 0).all()


def test_sampling_is_repeatable_and_depends_on_the_seed():
    groups = np.repeat([0, 1], 50)
    np.testing.assert_array_equal(sample_by_group(groups, 10, 3), sample_by_group(groups, 10, 3))
    assert set(sample_by_group(groups, 10, 3)) != set(sample_by_group(groups, 10, 4))


@pytest.mark.parametrize("n", [0, 1, 5])
def test_asking_for_more_than_there_are_gives_all(n):
    np.testing.assert_array_equal(sample_by_group(np.zeros(n), 9, 0), np.arange(n))
