from __future__ import annotations

import polars as pl

from morpho_assets.profiles.features import feature_columns


def test_published_profiles(jump_plates: pl.DataFrame) -> None:
    assert jump_plates.height == 3 * 384
    assert len(feature_columns(jump_plates)) == 904
    assert jump_plates.filter(Metadata_control_type="negcon")["Metadata_Perturbation"].unique().to_list() == ["DMSO"]
