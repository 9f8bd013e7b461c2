"""Screens with a known answer, and real plates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.profiles.annotate import AnnotateConfig
from morpho_assets.profiles.published import read_profiles


@pytest.fixture(scope="session")
def jump_plates(reference_data: Path) -> pl.DataFrame:
    """Three real U2OS plates: treatments and negative controls, without the positive controls."""
    folder = reference_data / "cpjump1_profiles"
    files = sorted((folder / "profiles").glob("*/*.csv.gz"))
    frame = read_profiles(files, AnnotateConfig(treatment="Metadata_broad_sample", negcon_name="DMSO"))
    return frame.filter(pl.col("Metadata_control_type").is_null() | (pl.col("Metadata_control_type") == "negcon"))


def screen(effect: float = 2.0, seed: int = 0, treatments: int = 12, plates: int = 4, controls: int = 16,
           features: int = 20, mechanisms: int = 4, own: float = 0.3, batch: float = 0.0) -> pl.DataFrame:  # fmt: skip
    """`plates` plates with one well per treatment each, at a random place, and `controls` negative controls. Treatments
    of one mechanism share a direction of size `effect`, plus a part of their own."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(mechanisms, features))
    profile = effect * (shared[np.arange(treatments) % mechanisms] + own * rng.normal(size=(treatments, features)))
    frames = []
    for number in range(plates):
        labels = np.concatenate([np.arange(treatments), np.full(controls, -1)])
        place = rng.permutation(len(labels))
        values = rng.normal(size=(len(labels), features)) + batch * rng.normal(size=features)
        values += np.where(labels[:, None] >= 0, profile[labels], 0)
        frames.append(
            pl.DataFrame(values, schema=[f"Cells_{i}" for i in range(features)]).with_columns(
                pl.lit(f"P{number}").alias("Metadata_Plate"),
                pl.Series("Metadata_Row", place // 8 + 1),
                pl.Series("Metadata_Col", place % 8 + 1),
                pl.Series("Metadata_Perturbation", [f"t{i:02d}" if i >= 0 else "DMSO" for i in labels]),
                pl.Series("Metadata_moa", [f"m{i % mechanisms}" if i >= 0 else None for i in labels], dtype=pl.String),
                pl.Series("Metadata_control_type", [None if i >= 0 else "negcon" for i in labels], dtype=pl.String),
            )
        )
    return pl.concat(frames)


def value(metrics: pl.DataFrame, metric: str, column: str = "value") -> float:
    """One number of the rows about the whole."""
    return float(metrics.filter(scope="overall", metric=metric)[column][0])
