"""The Gallery's layout, read back by our own sources and by pycytominer."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from morpho_assets.errors import LakeError
from morpho_assets.export.gallery_layout import export_gallery, platemap
from morpho_assets.export.plate import KEYS, Plate
from morpho_assets.export.written import Written
from morpho_assets.gallery.cellprofiler import read_sqlite, read_wells
from morpho_assets.gallery.measured import MeasuredSource
from morpho_assets.gallery.sources import GallerySource
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import table
from morpho_assets_tests.export.conftest import fill, opened
from morpho_assets_tests.factories import commit_tables, plate

WORKSPACE = "exported/source_1/workspace"


@pytest.fixture(scope="module")
def written(filled: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    with Written.opened(folder) as out:
        assert export_gallery(opened(filled), out) == "exported/source_1"
    return folder


def source(folder: Path, **settings: object) -> GallerySource:
    return GallerySource.model_validate({"name": "g", "kind": "gallery", "root": str(folder), "project": "exported",
                                         "source": "source_1", **settings})  # fmt: skip


def test_our_source_finds_the_plate_with_its_wells_and_images(written: Path, p1: Plate) -> None:
    found = source(written, perturbation=["Perturbation"]).manifest("P1")
    assert source(written).plates() == ["P1"]
    ours = p1.tables.read("sites", "P1").select("Metadata_Well", "Metadata_Site", "channel", "uri")
    assert_frame_equal(found.sites.select(ours.columns), ours, check_row_order=False)
    functions = [Path(path) for path in found.sites["illumination_uri"]]
    assert all(path.is_file() for path in functions)
    names = ["Metadata_Well", "Metadata_Perturbation", "Metadata_pert_type", "Metadata_control_type", "Metadata_moa",
             "Metadata_Batch"]  # fmt: skip
    assert_frame_equal(found.wells.select(names), p1.wells.select(names))


@pytest.mark.parametrize("content", ["analysis", "sqlite"])
def test_our_readers_of_cellprofiler_s_tables_give_the_same_cells(written: Path, p1: Plate, content: str) -> None:
    files = "analysis/{batch}/{plate}/analysis" if content == "analysis" else "backend/{batch}/{plate}/{plate}.sqlite"
    measured = MeasuredSource.model_validate(
        {"name": "m", "kind": "measured", "content": content, "files": f"{written}/{WORKSPACE}/{files}",
         "platemaps": f"{written}/{WORKSPACE}/metadata/platemaps/{{batch}}", "perturbation": ["Perturbation"]}
    )  # fmt: skip
    found = pl.concat(list(measured.cells("P1") or []))
    expected = p1.tables.read("single_cells", "P1")
    assert_frame_equal(found.cast(dict(expected.schema)).select(expected.columns).sort(KEYS), expected.sort(KEYS))


def test_sites_without_cells_are_there(written: Path) -> None:
    folder = written / WORKSPACE / "analysis/batch_1/P1/analysis/P1-B03-1"
    assert pl.read_csv(folder / "Image.csv")["Count_Cells"].to_list() == [0]
    assert pl.read_csv(folder / "Cells.csv").height == 0
    frames = dict(read_sqlite(written / WORKSPACE / "backend/batch_1/P1/P1.sqlite"))
    assert sorted(frame.height for frame in frames.values()) == [0, 2, 2]


def test_profiles_come_back_as_published_ones(written: Path) -> None:
    folder = written / WORKSPACE / "profiles/batch_1/P1"
    measured, units = (read_wells(folder / f"P1_{name}.csv.gz") for name in ("augmented", "normalized"))
    assert measured["Cells_AreaShape_Area"].to_list() == [576.5, None]
    assert units["Cells_AreaShape_Area"].to_list() == [1.5, None]
    assert measured["Metadata_Perturbation"].to_list() == ["DMSO", "BRD/1 at 3"]
    assert read_wells(written / WORKSPACE / "backend/batch_1/P1/P1.csv")["Metadata_Well"].to_list() == ["A01", "B03"]


@pytest.mark.filterwarnings("ignore")  # of pycytominer, which sets options that pandas 3 has no more
def test_pycytominer_reads_backend_and_profiles(written: Path) -> None:
    from pycytominer import normalize
    from pycytominer.cyto_utils.cells import SingleCells

    file = written / WORKSPACE / "backend/batch_1/P1/P1.sqlite"
    cells = SingleCells(f"sqlite:///{file}")
    wells = cells.aggregate_profiles()
    cells.conn.close()  # pycytominer leaves it open
    cells.engine.dispose()
    assert wells["Cells_AreaShape_Area"].tolist() == [576.5]
    assert wells["Metadata_Well"].tolist() == ["A01"]
    profiles = str(written / WORKSPACE / "profiles/batch_1/P1/P1_augmented.csv.gz")
    units = normalize(profiles, features="infer", method="standardize")
    assert [name for name in units.columns if not name.startswith("Metadata_")] == [
        "Nuclei_AreaShape_Area", "Cells_AreaShape_Area",
    ]  # fmt: skip


def test_it_goes_on_and_joins_a_second_plate(tmp_path: Path) -> None:
    lake = fill(tmp_path)
    with Written.opened(tmp_path / "out") as out:
        export_gallery(opened(lake), out)
        first = out.made
    with Written.opened(tmp_path / "out") as out:
        export_gallery(opened(lake), out)
        assert (out.made, out.kept) == (0, first)
    wells = opened(lake).wells.with_columns(Metadata_Plate=pl.lit("P2"))
    commit_tables(lake, "plate_manifest", plate("P2"), {"wells": wells, "sites": table("sites").empty()})
    with Written.opened(tmp_path / "out") as out:
        export_gallery(opened(lake, "P2"), out)
    maps = tmp_path / "out" / WORKSPACE / "metadata/platemaps/batch_1"
    assert pl.read_csv(maps / "barcode_platemap.csv").rows() == [("P1", "P1"), ("P2", "P2")]
    assert {path.name for path in (maps / "platemap").iterdir()} == {"P1.txt", "P2.txt"}


def test_the_platemap_says_treatments_only_where_its_columns_do_not() -> None:
    wells = pl.DataFrame(
        {"Metadata_Plate": "P1", "Metadata_Well": ["A01", "A02", "A03"], "Metadata_broad_sample": ["DMSO", "B", "B"],
         "Metadata_dose_uM": ["", "1", "3"], "Metadata_Perturbation": ["DMSO", "B@1", "B@3"]}
    )  # fmt: skip
    assert platemap(wells).columns == ["well_position", "broad_sample", "dose_uM"]
    other = wells.with_columns(Metadata_Perturbation=pl.Series(["DMSO", "B", "B"]))
    assert platemap(other).columns == ["well_position", "broad_sample", "dose_uM", "Perturbation"]


def test_a_plate_without_wells_says_so(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    commit_tables(lake, "plate_manifest", plate("P1"), {"wells": table("wells").empty()})
    with Written.opened(tmp_path / "out") as out, pytest.raises(LakeError, match="no wells"):
        export_gallery(opened(lake), out)
