"""A simulated experiment without its images: the truth tables are the simulator's, the profiles a plain reading of
them, so that every check can be asked in a second, and one thing broken at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.truth.treatments import TREATMENT, planted_lengths
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.truth import Truth, TruthFolder, read_truth
from morpho_assets.simulator import GalleryDesign, write_gallery
from morpho_assets.simulator.design import CHANNELS

SMALL = GalleryDesign(pixels=64, scale=0.3, cells_per_site=2, illumination=False)
OTHERS = 24  # features that read no parameter alone


@dataclass(frozen=True)
class Screen:
    """`measured` are well profiles, `profiles` the same in units of their plate's controls, `counts` the count space;
    `features` are those of `profiles`."""

    truth: Truth
    planted: pl.DataFrame
    measured: pl.DataFrame
    profiles: pl.DataFrame
    counts: pl.DataFrame
    features: list[str]


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Truth of an experiment as large as `demo`, with images too small to be looked at."""
    root = tmp_path_factory.mktemp("truth")
    plates = write_gallery(root, SMALL, seed=0)
    base = f"{root}/{SMALL.project}/{SMALL.source}"
    read = read_truth({p: TruthFolder(Store(), base, SMALL.batch(i), p) for i, p in enumerate(plates)})
    assert read is not None
    return read


@pytest.fixture(scope="session")
def screen(truth: Truth) -> Screen:
    return read_screen(truth)


def read_screen(truth: Truth, effect: float = 1.0, batch: float = 2.0) -> Screen:
    """Profiles of the wells of `truth`; `effect` multiplies what treatments do to them, `batch` is the size of what
    the batch adds to features, in units of noise."""
    rng = np.random.default_rng(0)
    wells = truth.wells
    names = [name for name in wells.columns if name.startswith("effect_")]
    planted = wells.select(names).to_numpy() * effect
    seen = planted * np.array([name != "effect_viability" for name in names])
    loadings = rng.normal(size=(len(names), OTHERS)) / 2
    values = {f"Cells_Other_{i}": column for i, column in enumerate((seen @ loadings).T)}
    for parameter, column in (("nuclear_area", "Nuclei_AreaShape_Area"), ("cell_area", "Cells_AreaShape_Area"),
                              ("nucleoli", "Nuclei_Intensity_StdIntensity_RNA")):  # fmt: skip
        values[column] = planted[:, names.index(f"effect_{parameter}")]
    batches = wells["Metadata_Batch"].rank("dense").to_numpy() - 1
    light = wells["position_effect"].to_numpy()
    for name, column in values.items():
        values[name] = column + rng.normal(size=wells.height) + batch * rng.normal() * batches
    for channel in CHANNELS:
        log = 0.15 * planted[:, names.index("effect_er_intensity")] if channel == "ER" else 0.0
        log = log + light + np.log(wells[f"gain_{channel}"].to_numpy()) + 0.03 * rng.normal(size=wells.height)
        values[f"Nuclei_Intensity_MeanIntensity_{channel}"] = 0.1 * np.exp(log)
    role = pl.when(pl.col("role") == "negcon").then(pl.lit("negcon"))
    place = wells.select(
        "Metadata_Plate", "Metadata_Batch", "Metadata_Well", "Metadata_Row", "Metadata_Col",
        pl.col("treatment").alias(TREATMENT), role.alias("Metadata_control_type"),
    )  # fmt: skip
    expected = wells["expected_cells"].to_numpy() * np.exp((effect - 1) * wells["effect_viability"].to_numpy())
    place = place.with_columns(pl.Series("Metadata_Count_Cells", rng.poisson(expected * SITES)))
    measured = place.with_columns(pl.Series(name, column) for name, column in values.items())
    features = list(values)
    profiles = normalised(measured, features)
    count = normalised(measured.with_columns(pl.col("Metadata_Count_Cells").cast(pl.Float64).alias("Count_Cells")),
                       ["Count_Cells"])  # fmt: skip
    counts = count.select(*place.columns, "Count_Cells", pl.lit(1.0).alias("Count_Unit"))
    return Screen(truth, planted_lengths(truth.treatments), measured, profiles, counts, features)


SITES = 13  # of 2 cells: the demo's 26


def normalised(profiles: pl.DataFrame, features: list[str]) -> pl.DataFrame:
    """Each feature in standard deviations of the controls of its plate."""
    control = pl.col("Metadata_control_type") == "negcon"
    return profiles.with_columns(
        (pl.col(name) - pl.col(name).filter(control).mean().over("Metadata_Plate"))
        / pl.col(name).filter(control).std().over("Metadata_Plate")
        for name in features
    )
