"""Plates that were measured elsewhere: what their source reads, and what it says of files that do not fit."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml
from pydantic import ValidationError

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.manifest import manifest_files
from morpho_assets.gallery.measured import MeasuredSource
from morpho_assets_tests.gallery.exports import site
from morpho_assets_tests.object_store import ObjectStore


def source(folder: Path, content: str = "profiles", files: str = "{batch}/{plate}/{plate}.csv", **more: object):
    more = {"negative_controls": ("empty",), **more}
    return MeasuredSource(kind="measured", name="lab", content=content, files=f"{folder}/{files}", **more)  # type: ignore[arg-type]


def published(folder: Path, plate: str = "P1", batch: str = "B1", rows: str | None = None) -> None:
    path = folder / batch / plate / f"{plate}.csv"
    path.parent.mkdir(parents=True)
    header = "Metadata_Plate,Metadata_Well,Metadata_broad_sample,Metadata_control_type,Metadata_Count_Cells,Cells_A"
    usual = f"{plate},A1,,negcon,7,1.5\n{plate},A2,BRD-1,,5,-2\n"
    path.write_text(f"{header}\n" + (usual if rows is None else rows))


def platemap(folder: Path, plate: str = "P1") -> str:
    (folder / "maps/platemap").mkdir(parents=True)
    (folder / "maps/barcode_platemap.csv").write_text(f"Assay_Plate_Barcode,Plate_Map_Name\n{plate},map\n")
    (folder / "maps/platemap/map.txt").write_text("well_position\tbroad_sample\nA01\t\nA02\tBRD-1\nB03\tBRD-2\n")
    return str(folder / "maps")


def test_published_profiles_describe_their_own_wells(tmp_path: Path) -> None:
    published(tmp_path)
    published(tmp_path, "P2")
    found = source(tmp_path)
    assert found.plates() == ["P1", "P2"]
    manifest = found.manifest("P1")
    assert manifest.sites.height == 0
    wells = manifest.wells.select("Metadata_Well", "Metadata_Batch", "Metadata_Perturbation", "Metadata_control_type")
    assert wells.rows() == [("A01", "B1", "empty", "negcon"), ("A02", "B1", "BRD-1", None)]
    assert found.profiles("P1").rows() == [("P1", "A01", 7, 1.5), ("P1", "A02", 5, -2.0)]
    assert found.cells("P1") is None


def test_one_table_of_many_plates_under_its_own_names(tmp_path: Path) -> None:
    rows = ["Metadata_Plate\ttreatment\tMetadata_Well\tcell_count\tLarge\tNote", "P2\tx\tB1\t9\t0.5\ta"]
    rows += [f"P1\t{name}\t{well}\t{count}\t0.25\tb" for name, well, count in (("x", "A1", 7), ("y", "A2", 8))]
    (tmp_path / "all.tsv").write_text("\n".join(rows) + "\n")
    rename = {"treatment": "Metadata_treatment", "cell_count": "Metadata_Count_Cells", "Large": "Phenotype_Large"}
    told: dict[str, object] = {"rename": rename, "perturbation": ("treatment",), "negative_controls": ()}
    found = source(tmp_path, files="all.tsv", **told)
    assert found.plates() == ["P1", "P2"]
    assert found.has("P2")
    assert not found.has("P3")
    wells = found.manifest("P1").wells
    assert wells.select("Metadata_Well", "Metadata_Perturbation").rows() == [("A01", "x"), ("A02", "y")]
    profiles = found.profiles("P1")
    assert profiles is not None
    assert profiles.columns[2:] == ["Metadata_Count_Cells", "Phenotype_Large"]
    assert profiles.rows() == [("P1", "A01", 7, 0.25), ("P1", "A02", 8, 0.25)]
    assert found.measurements("P2") == (str(tmp_path / "all.tsv"),)
    with pytest.raises(InputError, match=r"all.tsv, header: found no colour; expected the columns of `rename`"):
        source(tmp_path, files="all.tsv", rename={"colour": "Metadata_colour"}).plates()
    with pytest.raises(InputError, match="no Barcode; expected the plate of each well"):
        source(tmp_path, files="all.tsv", cellprofiler={"plate": "Barcode"}).plates()


def test_a_changed_file_is_another_content(tmp_path: Path) -> None:
    published(tmp_path)
    found = source(tmp_path)
    watched = (found.manifest("P1").watched, found.measurements("P1"), found.watched("P1"))
    before = [manifest_files(found, patterns) for patterns in watched]
    with (tmp_path / "B1/P1/P1.csv").open("a") as file:
        file.write("P1,A3,BRD-2,,4,3\n")
    after = [manifest_files(found, patterns) for patterns in watched]
    assert all(one.keys() == two.keys() != set() and one != two for one, two in zip(before, after, strict=True))


def test_platemap_and_metadata_tell_what_profiles_do_not(tmp_path: Path) -> None:
    published(tmp_path)
    (tmp_path / "compounds.tsv").write_text("broad_sample\ttarget\nBRD-1\tAURKA\n")
    found = source(tmp_path, platemaps=platemap(tmp_path), metadata=f"{tmp_path}/*.tsv")
    wells = found.manifest("P1").wells
    assert wells["Metadata_target"].to_list() == [None, "AURKA", None]
    with pytest.raises(InputError, match="found no table that knows the treatments"):
        source(tmp_path, metadata=f"{tmp_path}/*.txt").manifest("P1")


def test_cells_of_site_folders(tmp_path: Path) -> None:
    for name, cells in (("P1-A01-1", 2), ("P1-A02-1", 3)):
        site(tmp_path / "P1/analysis" / name, cells)
    found = source(tmp_path, "analysis", "{plate}/analysis", platemaps=platemap(tmp_path))
    assert found.plates() == ["P1"]
    cells = pl.concat(found.cells("P1") or ())
    assert cells.group_by("Metadata_Well", "Metadata_Site").len().sort("Metadata_Well").rows() == [
        ("A01", 1, 2), ("A02", 1, 3),
    ]  # fmt: skip
    assert found.profiles("P1") is None


def test_cells_of_one_parquet_file(tmp_path: Path) -> None:
    frame = {"Image_Metadata_Plate": "P1", "Image_Metadata_Well": ["A1", "A2"], "Cells_Number_Object_Number": [1, 2]}
    pl.DataFrame({**frame, "Cells_AreaShape_Area": [1.0, 2.0]}).write_parquet(tmp_path / "P1.parquet")
    found = source(tmp_path, "cytotable", "{plate}.parquet", platemaps=platemap(tmp_path))
    [cells] = found.cells("P1") or ()
    assert cells["Metadata_Site"].to_list() == [1, 1]
    assert cells["ObjectNumber"].to_list() == [1, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("P9,A01,,negcon,7,1\n", "found wells of P9; expected P1"),
        ("", "found a header without wells; expected P1"),
        ("P1,A01,,negcon,7,1\nP1,A1,,negcon,7,1\n", "come twice"),
        ("P1,ZZ99,,negcon,7,1\n", "row 2, column Metadata_Well"),
    ],
)
def test_profiles_that_do_not_fit_are_named(tmp_path: Path, rows: str, message: str) -> None:
    published(tmp_path, rows=rows)
    with pytest.raises(InputError, match=message):
        source(tmp_path).manifest("P1")


FIELD_CASES = ("barcode-leading-zeros-csv", "cellprofiler-prefix-silent", "cytotable-no-site",
               "sqlite-nan-text-drops-feature", "sqlite-tablenumber-text", "well-without-cells-vanishes")  # fmt: skip


@pytest.mark.parametrize("case", FIELD_CASES)
def test_what_people_have_on_disk(reference_data: Path, case: str) -> None:
    """Exports after public reports: 20 cells in each of six wells, of which one lost them in the last case."""
    folder = reference_data / "field_cases" / case
    [settings] = yaml.safe_load((folder / "morpho.yaml").read_text())["sources"]
    places = {name: f"{folder}/{settings[name]}" for name in ("files", "platemaps")}
    found = MeasuredSource.model_validate({**settings, **places})
    plate = "0042" if case.startswith("barcode") else "P1"
    assert found.plates() == [plate]
    assert found.manifest(plate).wells.height == 6
    account = Account()
    cells = pl.concat(found.cells(plate, account) or ())
    assert set(cells["Metadata_Plate"]) == {plate}
    assert not cells.select("Metadata_Well", "Metadata_Site", "ObjectNumber").is_duplicated().any()
    wells = pl.DataFrame(
        [(*place, number) for place, number in account.sites.items()], ["well", "site", "n"], orient="row"
    )
    dead = {"B03": 0} if case.startswith("well-without") else {}
    expected = {well: dead.get(well, 20) for well in ("A01", "A02", "A03", "B01", "B02", "B03")}
    assert dict(wells.group_by("well").agg(pl.col("n").sum()).rows()) == expected
    assert cells.height == sum(expected.values())
    assert wells.height == (12 if case.startswith("cytotable") else 6)
    assert dict(account.blank) == ({"Cells_Intensity_MeanIntensity_RNA": 18} if case.startswith("sqlite-nan") else {})
    assert cells.width == 4 + (2 if case.startswith("cytotable") else 18)


def test_a_source_that_gives_no_cell_is_an_error(tmp_path: Path) -> None:
    site(tmp_path / "P1/analysis/P1-A01-1", 0)
    found = source(tmp_path, "analysis", "{plate}/analysis", platemaps=platemap(tmp_path))
    with pytest.raises(InputError, match="found no cell in 1 tables or images; expected cells of P1"):
        list(found.cells("P1") or ())


def test_published_embeddings_are_features(tmp_path: Path) -> None:
    header = "Metadata_Plate,Metadata_Well,Metadata_broad_sample,net_0,net_1,net_2"
    (tmp_path / "P1.csv").write_text(f"{header}\nP1,A1,,1,2,3\nP1,A2,BRD-1,4,5,6\n")
    found = source(tmp_path, files="{plate}.csv").profiles("P1")
    assert found is not None
    assert found.drop("Metadata_Plate", "Metadata_Count_Cells").rows(named=True) == [
        {"Metadata_Well": well, **{f"Embedding_net_{k}": first + k for k in range(3)}}
        for well, first in (("A01", 1), ("A02", 4))
    ]
    some = source(tmp_path, files="{plate}.csv", features=["net_1"]).profiles("P1")
    assert some is not None
    assert some.columns[3:] == ["Embedding_net_1"]


def test_settings_that_read_cells_otherwise_are_part_of_what_they_are_made_from(tmp_path: Path) -> None:
    maps = platemap(tmp_path)
    plain = source(tmp_path, "sqlite", "{plate}.sqlite", platemaps=maps)
    other = source(tmp_path, "sqlite", "{plate}.sqlite", platemaps=maps, cellprofiler={"compartments": {"A": "Cells"}})
    assert plain.reading() != other.reading()
    same = source(tmp_path, "sqlite", "{plate}.sqlite", platemaps=maps, negative_controls=["water"])
    assert plain.reading() == same.reading()


def test_a_plate_in_two_places_or_none_is_named(tmp_path: Path) -> None:
    published(tmp_path)
    published(tmp_path, batch="B2")
    with pytest.raises(InputError, match=r"plate P1: found 2 of them; expected one file"):
        source(tmp_path).manifest("P1")
    with pytest.raises(InputError, match="plate P3: found none"):
        source(tmp_path).manifest("P3")


def test_cells_of_another_plate_are_refused(tmp_path: Path) -> None:
    frame = {"Metadata_Plate": ["P2"], "Metadata_Well": ["A1"], "Cells_AreaShape_Area": [1.0]}
    pl.DataFrame(frame).write_parquet(tmp_path / "P1.parquet")
    found = source(tmp_path, "cytotable", "{plate}.parquet", platemaps=platemap(tmp_path))
    with pytest.raises(InputError, match="found cells of P2; expected P1"):
        list(found.cells("P1") or ())


@pytest.mark.parametrize(
    ("files", "content", "message"),
    [("cells.sqlite", "sqlite", "needs {plate}"), ("{plate}.sqlite", "sqlite", "set `platemaps`")],
)
def test_settings_that_cannot_work(tmp_path: Path, files: str, content: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        source(tmp_path, content, files)


def test_the_same_files_from_an_object_store(tmp_path: Path, object_store: ObjectStore) -> None:
    published(tmp_path / "store")
    site(tmp_path / "store/sites/P1/analysis/P1-A01-1")
    frame = {"Metadata_Plate": ["P1"], "Metadata_Well": ["A1"], "Cells_AreaShape_Area": [1.0]}
    pl.DataFrame(frame).write_parquet(tmp_path / "store/P1.parquet")
    platemap(tmp_path / "store")
    object_store.create("measured")
    object_store.put_folder("measured", tmp_path / "store")
    there = {"endpoint_url": object_store.url, "platemaps": "s3://measured/maps"}
    profiles = source(Path("measured"), files="{batch}/{plate}/{plate}.csv", **there)
    profiles = profiles.model_copy(update={"files": f"s3://{profiles.files}"})
    assert profiles.manifest("P1").wells.height == 3
    assert (profiles.profiles("P1")).height == 2  # type: ignore[union-attr]
    sites = profiles.model_copy(update={"files": "s3://measured/sites/{plate}/analysis", "content": "analysis"})
    assert sites.plates() == ["P1"]
    assert pl.concat(sites.cells("P1") or ()).height == 2
    assert len(manifest_files(sites, sites.measurements("P1"))) == 4
    assert len(manifest_files(sites, sites.manifest("P1").watched)) == 2  # the barcodes and the map
    table = profiles.model_copy(update={"files": "s3://measured/{plate}.parquet", "content": "cytotable"})
    assert pl.concat(table.cells("P1") or ()).height == 1


def test_a_count_of_cells_that_is_no_number_is_null_and_told(tmp_path: Path) -> None:
    published(tmp_path, rows="P1,A1,,negcon,7.0,1\nP1,A2,BRD-1,,many,2\nP1,A3,BRD-1,,,2\n")
    account = Account()
    found = source(tmp_path).profiles("P1", account)
    assert found is not None
    assert found["Metadata_Count_Cells"].to_list() == [7, None, None]
    assert account.text["Metadata_Count_Cells"] == "many"
