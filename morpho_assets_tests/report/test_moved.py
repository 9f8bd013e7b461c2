"""Features in words."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from morpho_assets.lake.lake import Lake
from morpho_assets.report.moved import moved, words
from morpho_assets_tests.factories import commit_tables, plate


@pytest.mark.parametrize(
    ("feature", "value", "said"),
    [
        ("Nuclei_AreaShape_Area", -1.42, "nuclei 1.4 SD smaller"),
        ("Cells_Intensity_MeanIntensity_ER", 2.0, "cells 2.0 SD brighter in ER"),
        ("Nuclei_Texture_AngularSecondMoment_DNA_3_00_256", 1.0, "nuclei 1.0 SD more even DNA texture"),
        ("Cells_RadialDistribution_FracAtD_Mito_4of4", 3.0, "cells 3.0 SD more of the Mito at the edge"),
        ("Cells_Correlation_Correlation_AGP_ER", -1.0, "cells 1.0 SD AGP and ER less in the same places"),
        ("Cytoplasm_Granularity_2_RNA", 1.0, "cytoplasm 1.0 SD more RNA grains of size 2"),
    ],
)
def test_words(feature: str, value: float, said: str) -> None:
    told = words(feature)
    assert told is not None
    assert told.said(value) == said


@pytest.mark.parametrize(
    "feature",
    ["Nuclei_AreaShape_Orientation", "Nuclei_Granularity_16_DNA", "Cells_Texture_Contrast_DNA_10_00_256",
     "Nuclei_Location_Center_X", "Embedding_1", "Nuclei"],
)  # fmt: skip
def test_what_has_no_words_has_none(feature: str) -> None:
    assert words(feature) is None


def test_means_are_over_all_wells_of_a_treatment_and_one_of_each_kind_is_told(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    commits = []
    for name, area, light in (("P1", 2.0, -9.0), ("P2", 4.0, None)):
        rows = pl.DataFrame({
            "Metadata_Plate": [name, name], "Metadata_Well": ["A01", "A02"], "Metadata_Perturbation": ["X", None],
            "Nuclei_AreaShape_Area": [area, 1.0], "Nuclei_AreaShape_Eccentricity": [0.5, 0.0],
            "Cells_Intensity_MeanIntensity_ER": [light, 0.0], "Cells_Intensity_MaxIntensity_ER": [light, 0.0],
        }, schema_overrides={"Cells_Intensity_MeanIntensity_ER": pl.Float32,
                             "Cells_Intensity_MaxIntensity_ER": pl.Float32})  # fmt: skip
        commits.append(commit_tables(lake, "well_profiles", plate(name), {"normalized_profiles": rows}))
    found = moved(lake.snapshot(commits), ["P1", "P2"], ["X", "absent"])
    assert found.wells.tolist() == [2, 0]
    told = {name: mean for name, mean, _ in found.most("X")}
    assert told == {"Cells_Intensity_MeanIntensity_ER": -9.0, "Nuclei_AreaShape_Area": 3.0}
    assert found.most("absent") == found.most("nobody") == []
