"""The profile stage over a lake filled by hand: which cells are implausible, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.imaging.cell_quality import CellQualityConfig, CellRule
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.profiles.normalize import NormalizeConfig
from morpho_assets.profiles.plate import ProfilesConfig, profile_plate

MADE = Provenance("test", "1", "settings", {})
WELLS = ["A01", "A02", "A03", "B01"]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A plate of four wells in two rows with thirty cells each; those of row B are twice as large, one is huge."""
    lake = Lake(str(tmp_path))
    rng = np.random.default_rng(0)
    wells = pl.DataFrame(
        {
            "Metadata_Plate": "P1",
            "Metadata_Well": WELLS,
            "Metadata_Row": [1, 1, 1, 2],
            "Metadata_control_type": ["negcon", "negcon", None, None],
        }
    )
    sites = wells.select("Metadata_Plate", "Metadata_Well", Metadata_Site=1, channel=pl.lit("DNA"))
    cells = sites.drop("channel").join(pl.DataFrame({"ObjectNumber": range(1, 31)}), how="cross")
    area = rng.normal(100, 2, cells.height) * np.where(cells["Metadata_Well"] == "B01", 2, 1)
    area[4] = 900
    cells = cells.with_columns(Cells_AreaShape_Area=area, Nuclei_Intensity_MeanIntensity_DNA=rng.random(cells.height))
    quality = sites.with_columns(flag_empty=False)
    masks = sites.drop("channel").with_columns(Count_Cells=30)
    for name, frame in (("wells", wells), ("sites", sites), ("single_cells", cells), ("image_quality", quality),
                        ("masks", masks)):  # fmt: skip
        lake.write(name, "P1", frame, MADE)
    return lake


def profiled(lake: Lake, *rules: CellRule, **settings: object) -> pl.DataFrame:
    quality = CellQualityConfig(rules=rules, least_cells=20, **settings)
    profile_plate(lake, "P1", MADE, ProfilesConfig(cell_quality=quality, normalize=NormalizeConfig(too_few="all")))
    return lake.read("well_profiles", "P1")


AREA = CellRule(feature="Cells_AreaShape_Area", low=-20, high=20)


def test_implausible_cells_are_listed_counted_and_left_out_by_choice(lake: Lake) -> None:
    kept = profiled(lake, AREA, within=("Metadata_Row",))
    listed = lake.read("implausible_cells", "P1")
    assert listed.rows() == [("P1", "A01", 1, 5, "Cells_AreaShape_Area")]
    assert kept["Metadata_Count_Implausible_Cells"].to_list() == [1, 0, 0, 0]
    assert kept["Metadata_Count_Cells"].to_list() == [30] * 4
    left = profiled(lake, AREA, within=("Metadata_Row",), exclude=True)
    assert left["Metadata_Count_Cells"].to_list() == [29, 30, 30, 30]
    assert left["Metadata_Count_Implausible_Cells"].to_list() == [1, 0, 0, 0]


def test_wells_may_be_judged_in_groups_of_their_annotation(lake: Lake) -> None:
    profiled(lake, AREA)
    assert lake.read("implausible_cells", "P1")["Metadata_Well"].unique().sort().to_list() == ["A01", "B01"]
    with pytest.raises(InputError, match="no column 'Metadata_Rwo'"):
        profiled(lake, AREA, within=("Metadata_Rwo",))


def test_a_misspelt_rule_is_refused_and_one_on_what_was_not_measured_passed_over(lake: Lake) -> None:
    with pytest.raises(InputError, match=r"Cells_AreaShape_Aera: found .* no module gives; .* Cells_AreaShape_Area"):
        profiled(lake, CellRule(feature="Cells_AreaShape_Aera", high=5))
    profiled(lake, CellRule(feature="Cells_Texture_Contrast_RNA_3_00_256", high=5),
             CellRule(feature="Nuclei_Correlation_Costes_DNA_Mito", high=5))  # fmt: skip
    assert lake.read("implausible_cells", "P1").is_empty()
