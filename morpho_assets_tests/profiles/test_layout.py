"""A platemap that is shifted, turned or mirrored is noticed where replicates tell, and nowhere else."""

import numpy as np
import polars as pl
import pytest

from morpho_assets.profiles.layout import MapFit, map_fit


def plate(rows: int = 8, columns: int = 12, effect: float = 3.0, seed: int = 0) -> pl.DataFrame:
    """Wells of which a third are alike controls and the others have treatments in pairs, at random places."""
    rng = np.random.default_rng(seed)
    number = rows * columns
    labels = ["DMSO"] * (number // 3) + [f"T{i // 2}" for i in range(number - number // 3)]
    centres = {label: np.zeros(20) if label == "DMSO" else rng.normal(0, effect, 20) for label in labels}
    held = [labels[i] for i in rng.permutation(number)]
    values = np.array([centres[label] + rng.normal(size=20) for label in held])
    frame = pl.DataFrame(
        {
            "Metadata_Row": [i // columns + 1 for i in range(number)],
            "Metadata_Col": [i % columns + 1 for i in range(number)],
            "Metadata_Perturbation": held,
            "Metadata_Count_Cells": [50] * number,
        }
    )
    return frame.hstack(pl.DataFrame(values, schema=[f"Cells_F{i}" for i in range(20)]))


def misread(wells: pl.DataFrame, mishap: str) -> pl.DataFrame:
    """The same wells under a map that went wrong."""
    wells = wells.sort("Metadata_Row", "Metadata_Col")
    labels = wells["Metadata_Perturbation"].to_list()
    if mishap == "list":
        labels = [labels[-1], *labels[:-1]]
    elif mishap == "turned":
        labels = labels[::-1]
    return wells.with_columns(Metadata_Perturbation=pl.Series(labels))


def test_a_map_that_fits_is_silent_and_one_that_does_not_is_named():
    wells = plate()
    assert map_fit(wells).fault is None
    assert "fits the wells better one well back in its list" in map_fit(misread(wells, "list")).fault
    assert "fits the wells better turned by 180 degrees" in map_fit(misread(wells, "turned")).fault


def test_a_plate_on_which_no_treatment_does_anything_is_silent():
    faults = [map_fit(plate(effect=0, seed=seed)).fault for seed in range(12)]
    assert faults == [None] * 12


def test_nothing_is_said_of_few_wells_or_without_replicates():
    wells = plate()
    assert map_fit(wells.head(8)) is None
    assert map_fit(wells.with_columns(Metadata_Perturbation=pl.int_range(pl.len()).cast(pl.String))) is None
    assert map_fit(wells.select(pl.col("^Metadata_.*$"))) is None


def test_a_map_that_fits_at_all_is_not_doubted():
    assert MapFit(2.1, "turned by 180 degrees", 6.0).fault is None
    assert MapFit(0.9, "turned by 180 degrees", 3.1).fault is None
    assert MapFit(0.1, "turned by 180 degrees", 4.0).fault is not None


@pytest.mark.parametrize("barcode", ["BR00117024", "BR00117025", "BR00117026"])
def test_three_real_plates_fit_their_map_and_no_misread_one(barcode, reference_data):
    file = next((reference_data / "cpjump1_profiles/profiles").rglob(f"{barcode}*.csv.gz"))
    frame = pl.read_csv(file, infer_schema_length=None)
    wells = frame.with_columns(
        Metadata_Row=pl.Series([ord(name[0]) - 64 for name in frame["Metadata_Well"]]),
        Metadata_Col=pl.Series([int(name[1:]) for name in frame["Metadata_Well"]]),
        Metadata_Perturbation=pl.col("Metadata_broad_sample").fill_null("DMSO"),
        Metadata_Count_Cells=pl.lit(1),
    )
    assert map_fit(wells).z > 6
    assert map_fit(wells).fault is None
    assert "one column to the left" in map_fit(misread(wells, "list")).fault
    assert "turned by 180 degrees" in map_fit(misread(wells, "turned")).fault
