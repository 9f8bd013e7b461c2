"""AnnData of cells, wells and treatments, read back by anndata and by the reader of published profiles."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import LakeError
from morpho_assets.export.about import About
from morpho_assets.export.ann_data import export_cells, export_study, export_wells
from morpho_assets.export.plate import Plate
from morpho_assets.export.written import Written
from morpho_assets.gallery.cellprofiler import read_wells
from morpho_assets.gallery.source import AboutConfig
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.export.conftest import fill, opened
from morpho_assets_tests.factories import commit_tables, plate, study


def read(path: Path) -> anndata.AnnData:
    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_cells_come_back_with_values_annotation_embeddings_and_places(p1: Plate, tmp_path: Path, kind: str) -> None:
    with Written.opened(tmp_path) as out:
        name = export_cells(p1, out, kind)  # type: ignore[arg-type]
    found = read(tmp_path / name)
    cells = p1.tables.read("single_cells", "P1")
    assert list(found.obs_names) == ["P1_A01_1_1", "P1_A01_1_2", "P1_A01_2_1", "P1_A01_2_2"]
    np.testing.assert_array_equal(found.X, cells.select(p1.features).fill_null(float("nan")).to_numpy())
    assert list(found.var_names) == p1.features
    assert list(found.var["compartment"]) == ["Nuclei", "Cells", "Cells", "Cytoplasm"]
    assert set(found.obs["Metadata_Perturbation"]) == {"DMSO"}
    assert found.obs["Metadata_moa"].isna().all()
    assert list(found.obs["Metadata_Row"]) == [1] * 4
    np.testing.assert_array_equal(found.obsm["spatial"][1], [59.5, 59.5])
    np.testing.assert_array_equal(found.obsm["X_vae"][:3], [[1, 2, 3]] * 3)
    assert np.isnan(found.obsm["X_vae"][3]).all()  # it was not embedded
    about = json.loads(found.uns["about"])
    assert (about["pixel_size_um"], about["objective"], about["licence"]) == (0.5, "20x/1.0", "CC0-1.0")
    assert about["stains"] == {"DNA": "Hoechst 33342"}
    assert about["made_from"]["single_cells of plate P1"]["commit"] == 1
    assert found.uns["pixel_size_um"] == 0.5


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_wells_come_back_in_both_units(p1: Plate, tmp_path: Path, kind: str) -> None:
    with Written.opened(tmp_path) as out:
        name = export_wells(p1, out, kind)  # type: ignore[arg-type]
    found = read(tmp_path / name)
    np.testing.assert_array_equal(found.X, [[0, 1.5], [np.nan, np.nan]])
    np.testing.assert_array_equal(found.layers["measured"], [[100, 576.5], [np.nan, np.nan]])
    assert list(found.obs["Metadata_Perturbation"]) == ["DMSO", "BRD/1 at 3"]
    assert found.obs["Metadata_Count_Cells"].tolist() == [4, 0]


def test_wells_are_read_back_as_published_profiles(p1: Plate, tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        export_wells(p1, out)
    found = read_wells(tmp_path / "P1.wells.h5ad")
    assert found["Metadata_Well"].to_list() == ["A01", "B03"]
    assert found["Cells_AreaShape_Area"].to_list() == [1.5, None]
    assert found["Metadata_moa"].to_list() == [None, "tubulin | inhibitor"]


def filled_study(folder: Path) -> Lake:
    """Two spaces: one of three features in two steps, one of two in one step that lacks the second well."""
    lake = Lake(str(folder / "lake"))
    keys = pl.DataFrame({"study": "s", "Metadata_Plate": "P1", "Metadata_Well": ["A01", "A02"],
                         "Metadata_Perturbation": ["DMSO", "drug"]})  # fmt: skip
    named = {"space": pl.lit("cellprofiler"), "step": pl.lit("selected")}
    areas = {"Nuclei_AreaShape_Area": pl.Series([1.0, 2]), "Cells_AreaShape_Area": pl.Series([3.0, 4])}
    cells = keys.with_columns(**named, **areas)
    sphered = cells.with_columns(step=pl.lit("sphering"), Nuclei_AreaShape_Area=pl.Series([-1.0, 1]))
    named["space"] = pl.lit("vae")
    vae = keys[:1].with_columns(**named, Embedding_0=pl.lit(7.0), Embedding_1=pl.lit(8.0))
    rows = pl.concat([cells, vae], how="diagonal")
    commit_tables(lake, "feature_space", study("s"), {"profiles": rows})
    commit_tables(lake, "corrected_profiles", study("s"), {"profiles": sphered})
    consensus = rows.drop("Metadata_Plate", "Metadata_Well").rename({"Metadata_Perturbation": "treatment"})
    commit_tables(lake, "treatment_profiles", study("s"), {"treatment_profiles": consensus})
    places = sphered.select("study", "space", "step", "Metadata_Plate", "Metadata_Well", method=pl.lit("umap"),
                            x=pl.Series([0.5, 1]), y=pl.Series([2.0, 3]))  # fmt: skip
    commit_tables(lake, "projections", study("s"), {"projections": places})
    return lake


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_a_study_has_steps_as_layers_and_spaces_beside(tmp_path: Path, kind: str) -> None:
    lake = filled_study(tmp_path)
    tables = lake.snapshot(lake.ledger.state().commits.values())
    about = About.of("study s", AboutConfig(), None, False, tables.commits.values())
    with Written.opened(tmp_path / "out") as out:
        names = export_study(tables, "s", ["cellprofiler", "vae"], about, out, kind)  # type: ignore[arg-type]
    assert names == [f"s.wells.{kind}", f"s.treatments.{kind}"]
    wells, treatments = (read(tmp_path / "out" / name) for name in names)
    np.testing.assert_array_equal(wells.X, [[-1, 3], [1, 4]])  # after its last step
    np.testing.assert_array_equal(wells.layers["selected"], [[1, 3], [2, 4]])
    assert list(wells.var_names) == ["Nuclei_AreaShape_Area", "Cells_AreaShape_Area"]
    assert list(wells.obsm["vae"].columns) == ["Embedding_0", "Embedding_1"]
    np.testing.assert_array_equal(wells.obsm["vae"], [[7, 8], [np.nan, np.nan]])
    np.testing.assert_array_equal(wells.obsm["X_umap.cellprofiler"], [[0.5, 2], [1, 3]])
    assert list(wells.obs["Metadata_Perturbation"]) == ["DMSO", "drug"]
    assert list(treatments.obs_names) == ["DMSO", "drug"]
    np.testing.assert_array_equal(treatments.X, [[1, 3], [2, 4]])


def test_what_is_whole_is_kept_and_what_changed_is_written_again(tmp_path: Path) -> None:
    lake = fill(tmp_path)
    for made, kept in ((1, 0), (0, 1)):
        with Written.opened(tmp_path / "out") as out:
            export_wells(opened(lake), out)
            assert (out.made, out.kept) == (made, kept)
    before = opened(lake).tables.read("normalized_profiles", "P1")
    changed = before.with_columns(Cells_AreaShape_Area=pl.lit(9.0))
    commit_tables(lake, "well_profiles", plate("P1"), {"normalized_profiles": changed})
    with Written.opened(tmp_path / "out") as out:
        export_wells(opened(lake), out)
        assert out.made == 1
    np.testing.assert_array_equal(read(tmp_path / "out/P1.wells.h5ad").X[:, 1], [9, 9])


def test_a_plate_without_cells_says_so(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    commit_tables(lake, "plate_manifest", plate("P1"), {})
    with (
        Written.opened(tmp_path / "out") as out,
        pytest.raises(LakeError, match="single_cells of plate P1 is not there"),
    ):
        export_cells(opened(lake), out)
    assert not list((tmp_path / "out").glob("*.h5ad"))
