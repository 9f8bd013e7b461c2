"""The same graph on a real plate: four wells of CPJUMP1 in the Gallery's layout, as a mirror and over S3."""

import gzip

import polars as pl
import pytest

from morpho_assets.lake.catalog import query_catalog
from morpho_assets_tests.project import make_project

pytestmark = pytest.mark.slow
PLATE = "BR00117010"
# The fragment has one negative control well: nothing can be scaled to it alone, so all its wells are the reference.
PROFILES = {"normalize": {"too_few": "all"}}


def source(root, **options):
    place = {"root": str(root), "project": "cpg0000-jump-pilot", "source": "source_4"}
    return [{"name": "cpjump1", "kind": "gallery", **place, **options}]


def check(project):
    profiles = project.read("normalized_profiles", PLATE)
    assert sorted(profiles["Metadata_Well"]) == ["A21", "D08", "D14", "N09"]
    names = dict(profiles.select("Metadata_Well", "Metadata_pert_iname").iter_rows())
    assert names == {"A21": "dexamethasone", "D08": "FK-866", "D14": "DMSO", "N09": "AMG900"}
    counts = dict(profiles.select("Metadata_Well", "Metadata_Count_Cells").iter_rows())
    assert 85 <= counts["D14"] <= 115  # CellProfiler finds 98 nuclei here, and 43 in N09
    assert 30 <= counts["N09"] <= 60
    assert project.read("site_failures", PLATE).height == 0
    cells = query_catalog(
        project.workspace.settings.catalog, f"SELECT count(*) AS n FROM single_cells WHERE Metadata_Plate = '{PLATE}'"
    )
    assert cells["n"][0] == sum(counts.values())


def test_as_a_local_mirror(tmp_path, reference_data):
    project = make_project(
        tmp_path / "mirror", sources=source(reference_data / "gallery"), measurement="jump", profiles=PROFILES
    )
    project.run("run", "--plate", PLATE)
    check(project)
    measured = set(project.read("single_cells", PLATE).columns)
    for compartment in ("Nuclei", "Cells", "Cytoplasm"):
        with gzip.open(reference_data / f"cellprofiler_reference/D14/{compartment}.csv.gz") as file:
            expected = set(pl.read_csv(file.read(), n_rows=1).columns) - {"ObjectNumber"}
        assert {name for name in measured if name.startswith(f"{compartment}_")} == expected


@pytest.mark.parametrize("policy", ["keep", "stream"])
def test_from_an_object_store_anonymously(tmp_path, reference_data, object_store, policy):
    bucket = f"cellpainting-gallery-{policy}"
    object_store.create(bucket)
    object_store.put_folder(bucket, reference_data / "gallery")
    project = make_project(
        tmp_path / "remote",
        sources=source(f"s3://{bucket}", endpoint_url=object_store.url),
        profiles=PROFILES,
        images={"policy": policy},
    )
    project.run("run", "--plate", PLATE)
    check(project)
    fetched = list((project.folder / f"data/images/{PLATE}").glob("*.tiff"))
    assert len(fetched) == (20 if policy == "keep" else 0)
