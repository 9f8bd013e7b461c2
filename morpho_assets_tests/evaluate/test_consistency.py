from __future__ import annotations

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.consistency import ConsistencyConfig, consistency
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value

MOA = ConsistencyConfig(label="Metadata_moa")


def test_mechanisms_find_each_other_by_a_second_kind_of_profile() -> None:
    frame = screen(2, treatments=24, plates=4)
    found = consistency(frame, feature_columns(frame), MOA)
    assert found.details["treatments"]["Metadata_moa"].to_list() == ["m0", "m1", "m2", "m3"]
    assert value(found.metrics, "mAP") > 0.9 > value(found.metrics, "mAP", "chance")
    assert found.metrics["evaluator"].unique().to_list() == ["consistency"]


def test_what_is_not_active_is_not_asked() -> None:
    frame = screen(0)
    nothing = consistency(frame, feature_columns(frame), MOA)
    assert nothing.metrics.select("metric", "value", "n").rows() == [
        ("mAP", None, 0), ("normalised_AP", None, 0), ("fraction_retrieved", None, 0),
    ]  # fmt: skip
    everything = consistency(frame, feature_columns(frame), ConsistencyConfig(label="Metadata_moa", activity=None))
    assert value(everything.metrics, "fraction_retrieved") < 0.5


def test_a_label_that_one_plate_lacks_is_that_of_the_others_and_one_that_differs_is_named() -> None:
    frame = screen(2, treatments=24)
    columns = feature_columns(frame)
    here = (pl.col("Metadata_Plate") == "P1") & (pl.col("Metadata_Perturbation") == "t03")
    gap = frame.with_columns(Metadata_moa=pl.when(here).then(None).otherwise("Metadata_moa"))
    assert consistency(gap, columns, MOA).metrics.equals(consistency(frame, columns, MOA).metrics)
    conflict = frame.with_columns(Metadata_moa=pl.when(here).then(pl.lit("other")).otherwise("Metadata_moa"))
    with pytest.raises(InputError, match="treatment t03: found several values of Metadata_moa: 'm3', 'other'"):
        consistency(conflict, columns, MOA)


def test_profiles_without_a_treatment_are_left_out() -> None:
    frame = screen(2, treatments=24)
    unnamed = frame.with_columns(pl.col("Metadata_Perturbation").replace("t03", None))
    config = ConsistencyConfig(label="Metadata_moa", activity=None)
    found = consistency(unnamed, feature_columns(frame), config).details["treatments"]
    assert found["n_profiles"].sum() == 23


def test_where_activity_cannot_be_asked() -> None:
    frame = screen(plates=1)
    assert consistency(frame, feature_columns(frame), MOA).metrics["n"].to_list() == [0, 0, 0]
