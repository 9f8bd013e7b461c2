"""A study's wells as exported, ranked by copairs: the same average precisions as from the lake's own table."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
from copairs.map import average_precision

from morpho_assets.profiles.features import FEATURES, feature_columns
from morpho_assets_tests.project import Project

KEYS = ["Metadata_Plate", "Metadata_Well"]


def ranked(annotation: pd.DataFrame, features: np.ndarray) -> pd.DataFrame:
    """copairs' average precision of every treated well: replicates against the controls of their plate."""
    annotation = annotation.assign(control=(annotation["Metadata_control_type"] == "negcon").astype(int))
    found = average_precision(
        annotation, features, pos_sameby=["Metadata_Perturbation"], pos_diffby=[], neg_sameby=["Metadata_Plate"],
        neg_diffby=["control"], batch_size=1_000,
    )  # fmt: skip
    return found.set_index(KEYS)["average_precision"].sort_index()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a library that is compared with
def test_copairs_ranks_an_exported_study_as_it_ranks_the_lake_s(demo: tuple[Project, str], tmp_path: Path) -> None:
    project = demo[0]
    project.run("export", "anndata", "--study", "demo", "--level", "wells", "--out", str(tmp_path))
    exported = anndata.read_h5ad(tmp_path / "demo.wells.h5ad")
    annotation = exported.obs.astype(dict.fromkeys((*KEYS, "Metadata_Perturbation", "Metadata_control_type"), str))
    profiles = project.read("profiles", "demo").filter(space="cellprofiler", step="sphering").sort(KEYS)
    names = [name for name in feature_columns(profiles, FEATURES) if profiles[name].count()]
    space = exported.obsm["cellprofiler"]  # after its last step
    assert list(space.columns) == names
    from_lake = ranked(profiles.select(pl.col("^Metadata_.*$")).to_pandas(), profiles.select(names).to_numpy())
    from_export = ranked(annotation.reset_index(drop=True), space.to_numpy())
    assert from_lake.notna().sum() > 10
    pd.testing.assert_series_equal(from_export, from_lake, rtol=1e-5)
