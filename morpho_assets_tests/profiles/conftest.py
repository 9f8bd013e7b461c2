"""Profiles that several test modules share: real plates and a seeded plate with traps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

STAGES = ("bulk", "bulk_annotated", "bulk_normalized", "bulk_feature_selected")


@pytest.fixture(scope="session")
def pediatric(reference_data: Path) -> dict[str, pl.DataFrame]:
    """The four stages of one real plate, by name."""
    folder = reference_data / "pediatric_bulk_profiles"
    return {stage: pl.read_parquet(folder / f"BR00148751_{stage}.parquet") for stage in STAGES}


@pytest.fixture(scope="session")
def jump_plates(reference_data: Path) -> pl.DataFrame:
    """Three real plates, feature-selected, controls recognised."""
    from morpho_assets.profiles.annotate import AnnotateConfig
    from morpho_assets.profiles.published import read_profiles

    files = sorted((reference_data / "cpjump1_profiles" / "profiles").glob("*/*.csv.gz"))
    return read_profiles(files, AnnotateConfig(treatment="Metadata_broad_sample", negcon_name="DMSO"))


def plate(seed: int = 0, wells: int = 48, features: int = 12, controls: int = 16, plates: int = 2) -> pl.DataFrame:
    """Normal features on `plates` plates; the first `controls` wells of each are negative controls."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(plates):
        values = rng.normal(number, 1 + number, (wells, features))
        frames.append(
            pl.DataFrame(values, schema=[f"Cells_F_{i}" for i in range(features)]).with_columns(
                pl.lit(f"P{number}").alias("Metadata_Plate"),
                pl.Series("Metadata_Well", [f"{'ABCDEFGH'[i // 12]}{i % 12 + 1:02d}" for i in range(wells)]),
                pl.Series("Metadata_control_type", ["negcon"] * controls + [None] * (wells - controls)),
                pl.Series(
                    "Metadata_Perturbation",
                    ["DMSO"] * controls + [f"t{i % ((wells - controls) // 2)}" for i in range(wells - controls)],
                ),
            )
        )
    return pl.concat(frames)
