"""Rows put aside and taken up again: every value, type and column as it was."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morpho_assets.errors import LakeError
from morpho_assets.lake.packing import join, pack, unpack

KEYS = {"Metadata_Well": pl.String, "Metadata_Site": pl.Int32}
MEASURED = {"Nuclei_AreaShape_Area": pl.Float32, "Location_X": pl.Float64, "Cells_Texture_Entropy": pl.Float32}


def site(well: str, *cells: tuple[float | None, ...]) -> pl.DataFrame:
    return pl.DataFrame([(well, 1, *cell) for cell in cells], schema=KEYS | MEASURED, orient="row")


def test_sites_come_back_in_order_with_their_columns_and_types() -> None:
    sites = [site("A01", (1.5, 0.1, -2.0), (2.5, 0.2, 1e30)), site("A02"), site("A03", (float("inf"), -0.0, 7.0))]
    found = join([unpack(pack(each)) for each in sites])
    assert found.equals(pl.concat(sites))
    assert found.schema == sites[0].schema


def test_what_is_null_in_a_measurement_comes_back_as_nan_and_elsewhere_as_null() -> None:
    found = join([unpack(pack(site("A01", (None, None, float("nan")))))])
    assert found["Nuclei_AreaShape_Area"].is_nan().all()
    assert found["Cells_Texture_Entropy"].is_nan().all()
    assert found["Location_X"].null_count() == 1


@given(columns=st.integers(0, 3), heights=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_sites_of_any_number_of_rows_and_measurements_come_back(columns: int, heights: list[int]) -> None:
    sites = [
        pl.DataFrame({"Metadata_Well": [f"A{number:02d}"] * height, "nuclei": [None] * height,
                      **{f"Nuclei_{column}": pl.Series(range(height), dtype=pl.Float32) for column in range(columns)}},
                     schema_overrides={"Metadata_Well": pl.String, "nuclei": pl.String})
        for number, height in enumerate(heights)
    ]  # fmt: skip
    assert join([unpack(pack(each)) for each in sites]).equals(pl.concat(sites))


def test_sites_of_other_columns_are_not_joined() -> None:
    other = site("A02", (1.0, 2.0, 3.0)).rename({"Cells_Texture_Entropy": "Cells_Texture_Contrast"})
    with pytest.raises(LakeError, match="not all the same columns"):
        join([unpack(pack(each)) for each in (site("A01"), other)])


@given(st.data())
def test_a_file_of_which_a_byte_or_the_end_is_lost_is_none(data: st.DataObject) -> None:
    whole = pack(site("A01", (1.0, 2.0, 3.0)))
    at, wrong = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    for spoilt in (whole[:at], whole[:at] + bytes([whole[at] ^ wrong]) + whole[at + 1 :], bytes(len(whole))):
        with pytest.raises(LakeError, match="damaged"):
            unpack(spoilt)
