"""What an asset shows beside its tables."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import yaml

from morpho_assets.assets.pictures import pictures_of
from morpho_assets_tests.factories import make_stages
from morpho_assets_tests.gallery.exports import export, write_csv
from morpho_assets_tests.project import make_project


def test_what_an_import_found_beside_the_cells_is_shown(tmp_path: Path) -> None:
    write_csv(tmp_path / "P1", {**export([2, 0]), "Debris": export()["Nuclei"]})
    maps = tmp_path / "maps/platemap"
    maps.mkdir(parents=True)
    (maps.parent / "barcode_platemap.csv").write_text("Assay_Plate_Barcode,Plate_Map_Name\nP1,m\n")
    (maps / "m.txt").write_text("well_position\tbroad_sample\nA01\tDMSO\nA02\tBRD-1\n")
    project = make_project(tmp_path / "project")
    source = {"kind": "measured", "name": "lab", "content": "analysis", "files": f"{tmp_path}/{{plate}}",
              "platemaps": str(maps.parent)}  # fmt: skip
    settings = yaml.safe_load((project.folder / "morpho.yaml").read_text())
    (project.folder / "morpho.yaml").write_text(yaml.safe_dump({**settings, "sources": [source]}))
    workspace = project.workspace
    stages = ["plate_manifest", "raw_images", "illumination", "image_quality", "masks", "single_cells"]
    commit = make_stages(workspace, "P1", stages)[-1]
    table = pictures_of(workspace, commit)["beside the cells"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data for record in table.records] == [
        {"what": "sites without cells", "of": "", "number": 1, "note": ""},
        {"what": "table or column left out", "of": "Debris", "number": 1,
         "note": "no recorded parent leads from Debris to Cells"},
    ]  # fmt: skip
