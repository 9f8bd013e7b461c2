"""The profile stage over a lake filled by hand: which cells are implausible, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.imaging.cell_quality import CellQualityConfig, CellRule
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import table
from morpho_assets.profiles.aggregate import AggregateConfig
from morpho_assets.profiles.normalize import NormalizeConfig
from morpho_assets.profiles.plate import JudgedProfilesConfig, ProfilesConfig, profile_plate
from morpho_assets_tests.factories import commit_tables, commit_work, last, make_work, plate, samplesheet

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
    none = table("site_failures").empty()
    stages: dict[str, dict[str, pl.DataFrame]] = {
        "plate_manifest": {"wells": wells, "sites": sites},
        "raw_images": {},
        "image_quality": {"image_quality": quality},
        "masks": {"masks": masks},
        "single_cells": {"single_cells": cells},
    }
    for stage, tables in stages.items():
        failures = {} if stage == "plate_manifest" else {"site_failures": none}
        commit_tables(lake, stage, plate("P1"), {**tables, **failures})
    return lake


@pytest.fixture
def elsewhere(lake: Lake) -> Lake:
    """The plate as if it had been measured elsewhere: no images; A03 was imaged in two sites and has no cell in either,
    B01 was not imaged."""
    commit_tables(lake, "plate_manifest", plate("P1"), {"sites": table("sites").empty()})
    commit_tables(lake, "masks", plate("P1"), {"masks": table("masks").empty()})
    commit_tables(lake, "image_quality", plate("P1"), {"image_quality": table("image_quality").empty()})
    counts = [("A01", 1, 30), ("A02", 1, 30), ("A03", 1, 0), ("A03", 2, 0)]
    sites = pl.DataFrame(counts, schema=["Metadata_Well", "Metadata_Site", "Count_Cells"], orient="row")
    cells = last(lake, "single_cells", "single_cells").filter(pl.col("Metadata_Well").is_in(["A01", "A02"]))
    tables = {"measured_sites": sites.with_columns(Metadata_Plate=pl.lit("P1")), "single_cells": cells}
    commit_tables(lake, "single_cells", plate("P1"), tables)
    return lake


def profiled(lake: Lake, *rules: CellRule, **settings: object) -> pl.DataFrame:
    quality = CellQualityConfig(rules=rules, least_cells=20, **settings)
    config = ProfilesConfig(cell_quality=quality, normalize=NormalizeConfig(too_few="all"))
    work = make_work(lake, "well_profiles", plate("P1"), config, source=samplesheet(Path("none.csv")))
    profile_plate(work)
    commit_work(work)
    return last(lake, "well_profiles", "well_profiles")


def implausible(lake: Lake) -> pl.DataFrame:
    return last(lake, "well_profiles", "implausible_cells")


AREA = CellRule(feature="Cells_AreaShape_Area", low=-20, high=20)


def test_implausible_cells_are_listed_counted_and_left_out_by_choice(lake: Lake) -> None:
    kept = profiled(lake, AREA, within=("Metadata_Row",))
    listed = implausible(lake)
    assert listed.rows() == [("P1", "A01", 1, 5, "Cells_AreaShape_Area")]
    assert kept["Metadata_Count_Implausible_Cells"].to_list() == [1, 0, 0, 0]
    assert kept["Metadata_Count_Cells"].to_list() == [30] * 4
    left = profiled(lake, AREA, within=("Metadata_Row",), exclude=True)
    assert left["Metadata_Count_Cells"].to_list() == [29, 30, 30, 30]
    assert left["Metadata_Count_Implausible_Cells"].to_list() == [1, 0, 0, 0]


def test_a_well_that_was_imaged_elsewhere_and_has_no_cell_stays_with_count_0(elsewhere: Lake) -> None:
    wells = profiled(elsewhere)
    columns = ["Metadata_Well", "Metadata_Count_Cells", "Metadata_Count_Sites", "Cells_AreaShape_Area"]
    assert wells.select(columns[:3]).rows() == [("A01", 30, 1), ("A02", 30, 1), ("A03", 0, 2)]
    assert wells["Cells_AreaShape_Area"].is_null().to_list() == [False, False, True]


def test_a_measured_well_that_the_platemap_lacks_is_refused(elsewhere: Lake) -> None:
    wells = last(elsewhere, "plate_manifest", "wells")
    commit_tables(elsewhere, "plate_manifest", plate("P1"), {"wells": wells.filter(pl.col("Metadata_Well") != "A03")})
    with pytest.raises(InputError, match="plate P1: found well A03, which the platemap lacks"):
        profiled(elsewhere)


def test_a_spread_beside_the_median_is_normalised_too(lake: Lake) -> None:
    config = ProfilesConfig(aggregate=AggregateConfig(spread="mad"), normalize=NormalizeConfig(method="standardize"))
    work = make_work(lake, "well_profiles", plate("P1"), config, source=samplesheet(Path("none.csv")))
    profile_plate(work)
    commit_work(work)
    wells = last(lake, "well_profiles", "well_profiles", "P1")
    cells = last(lake, "single_cells", "single_cells", "P1").filter(Metadata_Well="A02")["Cells_AreaShape_Area"]
    spread = wells.filter(Metadata_Well="A02")["Cells_AreaShape_Area_MAD"][0]
    assert spread == pytest.approx(np.median(np.abs(cells - cells.median())), rel=1e-5)
    scaled = last(lake, "well_profiles", "normalized_profiles", "P1").filter(Metadata_control_type="negcon")
    assert scaled["Cells_AreaShape_Area_MAD"].mean() == pytest.approx(0, abs=1e-6)


def test_wells_may_be_judged_in_groups_of_their_annotation(lake: Lake) -> None:
    profiled(lake, AREA)
    assert implausible(lake)["Metadata_Well"].unique().sort().to_list() == ["A01", "B01"]
    with pytest.raises(InputError, match="no column 'Metadata_Rwo'"):
        profiled(lake, AREA, within=("Metadata_Rwo",))


def test_a_misspelt_rule_is_refused_and_one_on_what_was_not_measured_passed_over(lake: Lake) -> None:
    with pytest.raises(InputError, match=r"Cells_AreaShape_Aera: found .* no module gives; .* Cells_AreaShape_Area"):
        profiled(lake, CellRule(feature="Cells_AreaShape_Aera", high=5))
    profiled(lake, CellRule(feature="Cells_Texture_Contrast_RNA_3_00_256", high=5),
             CellRule(feature="Nuclei_Correlation_Costes_DNA_Mito", high=5))  # fmt: skip
    assert implausible(lake).is_empty()


# What a person rejected


def judged(lake: Lake, **said: dict[str, str]) -> pl.DataFrame:
    """The profiles that are made while people say this, on the scale of all wells."""
    work = make_work(lake, "well_profiles", plate("P1"), JudgedProfilesConfig(**{**SCALE, **said}),
                     source=samplesheet(Path("none")))  # fmt: skip
    profile_plate(work)
    commit_work(work)
    return last(lake, "well_profiles", "well_profiles")


SCALE = {"normalize": NormalizeConfig(reference="all", min_reference=1)}


def two_sites(lake: Lake) -> None:
    """A01 has a second site, whose cells are ten times as large."""
    before = {stage: last(lake, stage, name) for stage, name in
              (("plate_manifest", "sites"), ("masks", "masks"), ("single_cells", "single_cells"))}  # fmt: skip
    more = {stage: rows.filter(Metadata_Well="A01").with_columns(Metadata_Site=pl.lit(2, pl.Int32))
            for stage, rows in before.items()}  # fmt: skip
    more["single_cells"] = more["single_cells"].with_columns(pl.col("Cells_AreaShape_Area") * 10)
    for (stage, rows), name in zip(before.items(), ("sites", "masks", "single_cells"), strict=True):
        commit_tables(lake, stage, plate("P1"), {name: pl.concat([rows, more[stage]])})


def test_a_rejected_site_gives_no_cells_and_stands_in_a_table(lake: Lake) -> None:
    two_sites(lake)
    everything = judged(lake, rejected={})
    without = judged(lake, rejected={"A01-2": "Ann: bubbles"})
    row = without.filter(Metadata_Well="A01")
    assert everything.filter(Metadata_Well="A01")["Metadata_Count_Cells"].item() == 60
    assert (row["Metadata_Count_Cells"].item(), row["Metadata_Count_Sites"].item()) == (30, 1)
    assert row["Cells_AreaShape_Area"].item() < 110
    assert last(lake, "well_profiles", "rejected_sites").rows() == [("P1", "A01", 2, "Ann: bubbles")]
    others = pl.col("Metadata_Well") != "A01"
    assert without.filter(others).equals(everything.filter(others))


def test_a_rejected_well_has_no_row_but_where_one_of_its_sites_is_kept(lake: Lake) -> None:
    two_sites(lake)
    assert judged(lake, rejected={"A01": "Ann: bubbles"})["Metadata_Well"].to_list() == ["A02", "A03", "B01"]
    assert last(lake, "well_profiles", "rejected_sites")["Metadata_Site"].to_list() == [1, 2]
    kept = judged(lake, rejected={"A01": "Ann: bubbles"}, kept={"A01-1": "Ben: fine"})
    assert kept.filter(Metadata_Well="A01")["Metadata_Count_Cells"].item() == 30


def test_a_rejected_control_is_no_reference_and_what_the_plate_lacks_is_noted(lake: Lake) -> None:
    said = {"A01": "Ann: bubbles", "H12": "Ben: dust"}
    settings = JudgedProfilesConfig(normalize=NormalizeConfig(min_reference=2), rejected=said)
    work = make_work(lake, "well_profiles", plate("P1"), settings, source=samplesheet(Path("none")))
    with pytest.raises(InputError, match="found 1 rows where negcon"):
        profile_plate(work)
    assert work.notes["rejected, and not there"] == "H12"
