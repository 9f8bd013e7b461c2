"""Wells of a new plate in a reference: replicates find their treatment, strangers are like nothing known."""

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.predict.place import place_wells

FEATURES = [f"Cells_{i}" for i in range(30)]


def plate(name, directions, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    values = 3 * np.stack(list(directions.values())) + noise * rng.normal(size=(len(directions), 30))
    frame = pl.DataFrame(values, FEATURES)
    wells = [f"A{i + 1:02d}" for i in range(len(directions))]
    return frame.with_columns(
        Metadata_Plate=pl.lit(name), Metadata_Well=pl.Series(wells), Metadata_Perturbation=pl.Series(list(directions))
    )


@pytest.fixture(scope="module")
def directions():
    rng = np.random.default_rng(1)
    return {f"drug {i}": rng.normal(size=30) for i in range(8)}


@pytest.fixture(scope="module")
def reference(directions):
    return pl.concat([plate(f"R{i}", directions, seed=i) for i in range(4)])


def test_replicates_find_their_treatment_and_are_known(reference, directions):
    found = place_wells(plate("N", directions, seed=9), reference, FEATURES)
    assert found.height == 8 * 3
    first = found.filter(rank=1)
    assert first["treatment"].to_list() == list(directions)
    assert first["known"].all()
    assert 0.1 < first["replicates_as_far"].mean() < 0.9


def test_strangers_are_like_nothing_known(reference):
    rng = np.random.default_rng(5)
    strangers = {f"new {i}": rng.normal(size=30) for i in range(8)}
    found = place_wells(plate("N", strangers, seed=9), reference, FEATURES, nearest=1)
    assert not found["known"].any()


def test_a_well_without_values_has_no_place_and_a_missing_value_is_the_controls(reference, directions):
    new = plate("N", directions, seed=9)
    new = new.with_columns(pl.when(pl.col("Metadata_Well") != "A01").then(pl.col(FEATURES)).name.keep()).with_columns(
        pl.when(pl.col("Metadata_Well") != "A02").then(pl.col("Cells_0")).alias("Cells_0")
    )
    found = place_wells(new, reference, FEATURES, nearest=1)
    assert found["Metadata_Well"].to_list() == [f"A{i:02d}" for i in range(2, 9)]
    assert found["treatment"][0] == "drug 1"


def test_a_reference_without_replicates_says_so(reference):
    one = reference.filter(Metadata_Plate="R0")
    with pytest.raises(InputError, match="no treatment of two wells"):
        place_wells(one, one, FEATURES)
