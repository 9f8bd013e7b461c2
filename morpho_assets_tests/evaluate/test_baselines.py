from __future__ import annotations

import polars as pl

from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen


def test_treatments_move_with_what_they_determine_and_the_rest_stays() -> None:
    frame = screen().with_columns(Metadata_Count_Cells=pl.lit(3))
    found = shuffled(frame, seed=1)
    assert found["Metadata_Perturbation"].to_list() != frame["Metadata_Perturbation"].to_list()
    stay = [*feature_columns(frame), "Metadata_Plate", "Metadata_Row", "Metadata_Col", "Metadata_control_type"]
    assert found.select(stay).equals(frame.select(stay))
    kinds = frame.select("Metadata_Perturbation", "Metadata_moa").unique().sort("Metadata_Perturbation")
    assert found.select("Metadata_Perturbation", "Metadata_moa").unique().sort("Metadata_Perturbation").equals(kinds)
    for name in ("P0", "P3"):
        there = [f.filter(Metadata_Plate=name)["Metadata_Perturbation"].sort() for f in (frame, found)]
        assert there[0].equals(there[1])
    assert found.columns == frame.columns
    assert shuffled(frame, seed=1).equals(found)


def test_a_label_that_some_wells_lack_moves_with_its_treatment() -> None:
    frame = screen()
    here = (pl.col("Metadata_Plate") == "P1") & (pl.col("Metadata_Perturbation") == "t03")
    found = shuffled(frame.with_columns(Metadata_moa=pl.when(here).then(None).otherwise("Metadata_moa")), seed=1)
    kinds = found.drop_nulls("Metadata_moa").group_by("Metadata_Perturbation").agg(pl.col("Metadata_moa").n_unique())
    assert kinds["Metadata_moa"].unique().to_list() == [1]
