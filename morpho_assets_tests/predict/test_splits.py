"""Splits: no unit stands on both sides, and what cannot be asked is said."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.predict.splits import SplitConfig, nested, split_rows, units_of

BY = ("random", "image", "well", "plate", "compound", "scaffold", "batch")


def table_of(rng, n=240, plates=4, wells=6, sites=3):
    plate, well, site = rng.integers(plates, size=n), rng.integers(wells, size=n), rng.integers(sites, size=n)
    return pl.DataFrame({
        "Metadata_Plate": [f"P{each}" for each in plate],
        "Metadata_Well": [f"A0{each + 1}" for each in well],
        "Metadata_Site": site.astype(np.int32),
        "Metadata_Perturbation": [f"drug {each}" for each in well],
        "Metadata_scaffold": [f"ring {each % 3}" for each in well],
        "Metadata_Batch": [f"B{each % 2}" for each in plate],
    })  # fmt: skip


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("folds", [3, "each"])
def test_no_unit_stands_on_both_sides_and_every_row_is_tested_once(by, folds):
    rng = np.random.default_rng(1)
    table = table_of(rng)
    classes = rng.choice(["a", "b", "c"], table.height)
    config = SplitConfig(by=by, folds=3 if by == "random" else folds)
    splits = split_rows(table, classes, config)
    units = units_of(table, config)
    for fold in splits:
        assert not set(units[fold.train]) & set(units[fold.test])
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in splits])), np.arange(table.height))
    assert splits.by == by
    assert splits.note == ""


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(BY[1:]), st.integers(2, 7))
def test_whole_units_whatever_the_layout(seed, by, folds):
    rng = np.random.default_rng(seed)
    table = table_of(rng, n=int(rng.integers(30, 90)))
    classes = rng.choice(["a", "b"], table.height)
    splits = split_rows(table, classes, SplitConfig(by=by, folds=folds, seed=seed))
    for fold, inner in nested(splits, classes, 3):
        assert not set(splits.units[fold.train]) & set(splits.units[fold.test])
        for each in inner:
            assert set(each.train) | set(each.test) <= set(fold.train)
            assert not set(splits.units[each.train]) & set(splits.units[each.test])


def test_a_random_share_keeps_the_classes_shares():
    classes = np.repeat(["a", "b"], [800, 200])
    table = pl.DataFrame({"Metadata_Plate": ["P"] * 1000})
    [fold] = split_rows(table, classes, SplitConfig(by="random", share=0.15))
    assert len(fold.test) == 150
    assert (classes[fold.test] == "b").sum() == 30


def test_a_share_of_wells_is_held_out_once():
    rng = np.random.default_rng(0)
    table = table_of(rng, n=600, plates=2, wells=8)
    splits = split_rows(table, rng.choice(["a", "b"], 600), SplitConfig(by="well", share=0.25))
    assert len(splits.folds) == 1
    assert 0.15 < len(splits.folds[0].test) / 600 < 0.35


def test_a_class_of_one_unit_stands_apart_and_is_in_no_fold():
    table = pl.DataFrame({"Metadata_Plate": ["P1", "P1", "P2", "P2", "P1"], "Metadata_Well": ["A01"] * 5})
    splits = split_rows(table, ["a", "b", "a", "b", "rare"], SplitConfig(by="plate"))
    assert splits.apart == ("rare",)
    assert 4 not in np.concatenate([np.concatenate([fold.train, fold.test]) for fold in splits])


def one_well_each(sites=3):
    wells = [f"A{number:02d}" for number in range(1, 5) for _ in range(sites)]
    return pl.DataFrame({
        "Metadata_Plate": ["P"] * len(wells), "Metadata_Well": wells,
        "Metadata_Site": np.tile(np.arange(sites, dtype=np.int32), 4),
    }), [f"drug {well}" for well in wells]  # fmt: skip


def test_one_well_per_treatment_cannot_be_split_by_well():
    table, classes = one_well_each()
    with pytest.raises(InputError, match=r"0 of 4 classes in at least 2 units of well.*within well"):
        split_rows(table, classes, SplitConfig(by="well"))


def test_falling_back_is_asked_for_and_names_the_result():
    table, classes = one_well_each()
    splits = split_rows(table, classes, SplitConfig(by="well", fall_back=True, folds=3))
    assert splits.by == "image"
    assert splits.note.startswith("within well: a split by well is impossible")
    table, classes = one_well_each(sites=1)
    with pytest.raises(InputError, match="by: random"):
        split_rows(table, classes, SplitConfig(by="well", fall_back=True))


def test_wells_without_images_fall_back_to_themselves():
    table = pl.DataFrame({"Metadata_Plate": ["P1", "P1", "P2", "P2"], "Metadata_Well": ["A01", "A02", "A01", "A02"],
                          "Metadata_Perturbation": ["a", "b", "a", "b"]})  # fmt: skip
    config = SplitConfig(by="well", column="Metadata_Perturbation", fall_back=True, folds=2)
    splits = split_rows(table, ["a", "b", "a", "b"], config)
    assert splits.by == "random"
    assert splits.note.startswith("within Perturbation: ")


def test_a_column_that_is_not_there_is_named():
    table, classes = one_well_each()
    with pytest.raises(InputError, match="no column Metadata_scaffold"):
        split_rows(table, classes, SplitConfig(by="scaffold"))
    with pytest.raises(InputError, match="no column Metadata_mine"):
        split_rows(table, classes, SplitConfig(by="well", column="Metadata_mine"))


def test_an_empty_table_has_nothing_to_split():
    with pytest.raises(InputError, match="0 of 0 classes"):
        split_rows(pl.DataFrame({"Metadata_Plate": []}, schema={"Metadata_Plate": pl.String}), [],
                   SplitConfig(by="plate"))  # fmt: skip
