"""Every feature of every object of the reference fields, against CellProfiler 4.2.8.1's own values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import ndimage
from skimage import io

from morpho_assets.measure import PROFILES, MeasurementConfig, measure_site
from morpho_assets.measure.oracles import CELLPROFILER, CHECKS, FIELDS, Check
from morpho_assets_tests.measure.agreement import disagreeing
from morpho_assets_tests.measure.fields import CHANNELS, COMPARTMENTS, real_image, real_labels

CHECKED = [check for check in CHECKS if check.oracle == CELLPROFILER]


@pytest.fixture(scope="module", params=FIELDS)
def both(request: pytest.FixtureRequest, reference_data: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One field's values: ours as production data has its ties, and CellProfiler's."""
    folder = reference_data / "cellprofiler_reference" / request.param
    ours = measure_site(
        real_image(reference_data, request.param), real_labels(folder), CHANNELS, PROFILES["jump_production"]
    )
    tables = [pl.read_csv(folder / f"{name}.csv.gz", infer_schema_length=None) for name in COMPARTMENTS]
    assert all(table["ObjectNumber"].to_list() == ours["ObjectNumber"].to_list() for table in tables)
    return ours, pl.concat([table.drop("ObjectNumber") for table in tables], how="horizontal").cast(pl.Float64)


def wrong_objects(ours: pl.DataFrame, theirs: pl.DataFrame, check: Check) -> dict[str, int]:
    """Columns of the check's family with objects that disagree, and how many."""
    wrong = {}
    for name in filter(check.covers, theirs.columns):
        expected = theirs[name].fill_null(np.nan).to_numpy()
        bad = disagreeing(ours[name].to_numpy(), expected, check.relative, check.absolute)
        wrong[name] = int(bad.sum())
    assert wrong
    return {name: number for name, number in wrong.items() if number}


def test_columns_are_those_of_cellprofiler(both: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    ours, theirs = both
    assert theirs.columns == ours.columns[1:]


@pytest.mark.parametrize("check", CHECKED, ids=lambda check: check.family)
def test_values_are_those_of_cellprofiler(both: tuple[pl.DataFrame, pl.DataFrame], check: Check) -> None:
    wrong = wrong_objects(*both, check)
    assert {name: number for name, number in wrong.items() if number > check.but.get(name, 0)} == {}


def test_exceptions_are_those_that_are_listed(reference_data: Path) -> None:
    """On the odd field, which has them all: none is listed that is none, and orientations differ in sign alone."""
    folder = reference_data / "cellprofiler_reference" / "odd"
    ours = measure_site(real_image(reference_data, "odd"), real_labels(folder), CHANNELS, PROFILES["jump_production"])
    for check in CHECKED:
        for name, number in check.but.items():
            theirs = pl.read_csv(folder / f"{name.split('_')[0]}.csv.gz")[name].to_numpy()
            bad = disagreeing(ours[name].to_numpy(), theirs, check.relative, check.absolute)
            assert bad.sum() == number, name
            if name.endswith("Orientation"):
                np.testing.assert_allclose(np.abs(ours[name].to_numpy()[bad]), np.abs(theirs[bad]))
            else:  # percent of the object's intensity
                np.testing.assert_allclose(ours[name].to_numpy()[bad], theirs[bad], atol=1e-5)


def test_nuclei_of_a_production_run_to_four_decimals(reference_data: Path) -> None:
    """Masks are the filled outlines that CellProfiler 4.0.6 drew; that version gave Orientation in radians."""
    folder = reference_data / "jump_BR00117006_A01"
    outlines = io.imread(folder / "images/outlines/r01c01f01p01-ch5sk1fk1fl1_nuclei_outlines.png") > 0
    labels, _ = ndimage.label(ndimage.binary_fill_holes(outlines))
    shape_only = MeasurementConfig(
        correlation=None, granularity=None, intensity=None, neighbors=None, radial_distribution=None, texture=None
    )
    ours = measure_site(np.zeros((1, *labels.shape), np.float32), {"Nuclei": labels}, ["DNA"], shape_only)
    theirs = pl.read_parquet(folder / "BR00117006_shrunken.parquet")
    theirs = theirs.select(name for name in ours.columns if name in theirs.columns)
    assert theirs.width == 54
    for row in theirs.iter_rows(named=True):
        here = (pl.col("Nuclei_AreaShape_Center_X") - row["Nuclei_AreaShape_Center_X"]).abs() + (
            pl.col("Nuclei_AreaShape_Center_Y") - row["Nuclei_AreaShape_Center_Y"]
        ).abs()
        (mine,) = ours.filter(here < 1).iter_rows(named=True)
        orientation = np.degrees(row.pop("Nuclei_AreaShape_Orientation"))
        assert mine["Nuclei_AreaShape_Orientation"] == pytest.approx(orientation, abs=5e-4)
        # The scikit-image of that version left the pixels on the hull's border out of the convex area.
        assert mine["Nuclei_AreaShape_Solidity"] == pytest.approx(row.pop("Nuclei_AreaShape_Solidity"), abs=0.011)
        for name, value in row.items():
            assert mine[name] == pytest.approx(value, abs=5e-5), name
