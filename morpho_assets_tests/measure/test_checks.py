"""The check of a plate's single cells over a lake filled by hand."""

import polars as pl

from morpho_assets_tests.factories import BRIGHTNESS, commit_tables, last, plate, verdict


def test_an_exchanged_nuclear_stain_is_named(plate_lake):
    p1 = plate("P1")
    assert verdict(plate_lake, "single_cells", "nuclear_stain_in_nuclei").passed
    exchanged = {name: name.replace("DNA", "x").replace("Mito", "DNA").replace("x", "Mito") for name in BRIGHTNESS}
    cells = last(plate_lake, "single_cells", "single_cells").rename(exchanged)
    commit_tables(plate_lake, "single_cells", p1, {"single_cells": cells})
    quality = last(plate_lake, "image_quality", "image_quality")
    both = pl.concat([quality, quality.with_columns(channel=pl.lit("Mito"))])
    commit_tables(plate_lake, "image_quality", p1, {"image_quality": both})
    found = verdict(plate_lake, "single_cells", "nuclear_stain_in_nuclei")
    assert not found.passed
    assert "may be exchanged with Mito" in found.text
