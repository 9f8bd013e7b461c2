"""Plates that were measured elsewhere, through the same graph: to profiles, and real ones to a report."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
import yaml

from morpho_assets.gallery.cellprofiler import read_analysis
from morpho_assets.lake.catalog import query_catalog
from morpho_assets_tests.gallery.exports import site
from morpho_assets_tests.gallery.test_measured import platemap
from morpho_assets_tests.project import Project, make_project

pytestmark = pytest.mark.slow
JUMP = ("BR00117024", "BR00117025", "BR00117026")


def _project(folder: Path, source: dict[str, object]) -> Project:
    project = make_project(folder)
    file = folder / "morpho.yaml"
    settings = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**settings, "sources": [{"kind": "measured", "name": "lab", **source}]}))
    return project


def as_sqlite(analysis: Path, file: Path) -> None:
    """The cells of the site folders as the Gallery's backend holds them: a table per compartment, images numbered."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for number, folder in enumerate(sorted(analysis.iterdir()), start=1):
            plate, well, place = folder.name.split("-")
            image = pl.DataFrame({"ImageNumber": [number], "Image_Metadata_Plate": plate, "Image_Metadata_Well": well,
                                  "Image_Metadata_Site": int(place)})  # fmt: skip
            tables = {"Image": image}
            for kind in ("Cells", "Cytoplasm", "Nuclei"):
                objects = pl.read_csv(folder / f"{kind}.csv").with_columns(ImageNumber=pl.lit(number))
                features = [name for name in objects.columns if name not in ("ImageNumber", "ObjectNumber")]
                tables[kind] = objects.rename({name: f"{kind}_{name}" for name in features})
            for kind, frame in tables.items():
                connection.execute(f"CREATE TABLE IF NOT EXISTS {kind} ({', '.join(frame.columns)})")
                connection.executemany(f"INSERT INTO {kind} VALUES ({', '.join('?' * frame.width)})", frame.rows())


def as_cytotable(analysis: Path, file: Path) -> None:
    """The cells of the site folders as CytoTable writes them."""
    cells = pl.concat([frame for _, frame in read_analysis(analysis) if frame.height])
    names = {name: f"Image_{name}" for name in ("Metadata_Plate", "Metadata_Well", "Metadata_Site")}
    cells.rename({**names, "ObjectNumber": "Metadata_ObjectNumber"}).write_parquet(file)


@pytest.mark.parametrize(("content", "write", "sites"), [("sqlite", as_sqlite, 2), ("cytotable", as_cytotable, 1)])
def test_cells_of_other_forms_become_the_same_profiles(
    tmp_path: Path, content: str, write: Callable[[Path, Path], None], sites: int
) -> None:
    """A database knows the image without cells; CytoTable's presets of today leave it out."""
    for name, cells in (("P1-A01-1", 2), ("P1-A01-2", 1), ("P1-A02-1", 3), ("P1-A02-2", 0)):
        site(tmp_path / "P1/analysis" / name, cells)
    write(tmp_path / "P1/analysis", tmp_path / "P1.cells")
    place = {"files": f"{tmp_path}/{{plate}}.cells", "platemaps": platemap(tmp_path), "negative_controls": ["empty"]}
    project = _project(tmp_path / "project", {"content": content, **place})
    with (project.folder / "morpho.yaml").open("a") as file:
        file.write("profiles: {normalize: {too_few: all}}\n")
    project.run("run", "--plate", "P1")
    wells = project.read("well_profiles", "P1").sort("Metadata_Well")
    columns = ["Metadata_Well", "Metadata_Count_Cells", "Metadata_Count_Sites", "Cells_AreaShape_Area"]
    assert wells.select(columns).rows() == [("A01", 3, 2, 10.0), ("A02", 3, sites, 20.0)]


def test_cells_of_cellprofiler_become_profiles(tmp_path: Path) -> None:
    """The well B03 was imaged and has no cell."""
    for name, cells in (("P1-A01-1", 2), ("P1-A01-2", 1), ("P1-A02-1", 3), ("P1-A02-2", 0), ("P1-B03-1", 0)):
        site(tmp_path / "P1/analysis" / name, cells)
    maps = platemap(tmp_path)
    project = _project(
        tmp_path / "project",
        {"content": "analysis", "files": f"{tmp_path}/{{plate}}/analysis", "platemaps": maps,
         "negative_controls": ["empty"]},
    )  # fmt: skip
    with (project.folder / "morpho.yaml").open("a") as file:
        file.write("profiles: {normalize: {too_few: all}}\n")
    project.run("run", "--plate", "P1")
    assert project.read("single_cells", "P1").height == 6
    assert project.read("image_files", "P1").is_empty()
    wells = project.read("well_profiles", "P1").sort("Metadata_Well")
    columns = ["Metadata_Well", "Metadata_Count_Cells", "Metadata_Count_Sites", "Cells_AreaShape_Area"]
    assert wells.select(columns).rows() == [("A01", 3, 2, 10.0), ("A02", 3, 2, 20.0), ("B03", 0, 1, None)]
    told = project.commit("single_cells", "P1").notes["beside the cells"]
    assert [(row["what"], row["of"], row["number"]) for row in told] == [
        ("sites without cells", "", 2), ("cells without a number", "Nuclei_Texture_X", 6),
    ]  # fmt: skip
    assert "up to date" in project.run("run", "--plate", "P1")
    cells = project.commit("single_cells", "P1")
    settings = yaml.safe_load((project.folder / "morpho.yaml").read_text())
    settings["sources"][0]["negative_controls"] = ["BRD-1"]
    (project.folder / "morpho.yaml").write_text(yaml.safe_dump(settings))
    project.run("run", "--plate", "P1")
    profiles = project.read("normalized_profiles", "P1")
    assert profiles.filter(Metadata_control_type="negcon")["Metadata_Well"].to_list() == ["A02"]
    assert project.commit("single_cells", "P1") == cells  # other controls, the same cells
    settings["sources"][0]["cellprofiler"] = {"compartments": {"Nuclei": None}}
    (project.folder / "morpho.yaml").write_text(yaml.safe_dump(settings))
    project.run("run", "--plate", "P1")
    assert "Nuclei_AreaShape_Area" not in project.read("single_cells", "P1").columns  # read otherwise, other cells


def test_three_real_plates_from_published_profiles_to_a_report(tmp_path: Path, reference_data: Path) -> None:
    folder = reference_data / "cpjump1_profiles"
    project = _project(
        tmp_path / "project",
        {
            "content": "profiles",
            "files": f"{folder}/profiles/{{plate}}/{{plate}}_normalized_feature_select_negcon_batch.csv.gz",
            "normalized": True,
            "platemaps": f"{folder}/metadata/platemaps/2020_11_04_CPJUMP1",
            "metadata": f"{folder}/metadata/*annotations.tsv",
            "batch": "2020_11_04_CPJUMP1",
        },
    )
    plates = [word for plate in JUMP for word in ("--plate", plate)]
    project.run("run", *plates, "--study", "cpjump1_compounds")
    scores = query_catalog(
        project.workspace.settings.catalog,
        "SELECT variant, evaluator, metric, value, chance, n FROM metrics WHERE scope = 'overall'",
    )

    def score(evaluator: str, metric: str, variant: str = "cellprofiler") -> float:
        return scores.filter(evaluator=evaluator, metric=metric, variant=variant)["value"].item()

    # Without the quarter that was tuned on; all 306 have a mAP of 0.665 (copairs agrees, test_retrieval).
    assert scores.filter(evaluator="activity")["n"].unique().to_list() == [230]
    for evaluator in ("activity", "distinctness"):
        assert score(evaluator, "fraction_retrieved") > 0.5
        assert score(evaluator, "fraction_retrieved", "cellprofiler, shuffled treatments") <= 0.05
    assert score("replicability", "percent_replicating") > 0.5
    assert score("replicability", "percent_replicating", "cellprofiler, shuffled treatments") < 0.1
    assert score("target_matching", "percent_matching") > 0.1
    assert score("target_matching", "percent_matching", "cellprofiler, shuffled treatments") < 0.1
    steps = ("cellprofiler", "cellprofiler, sphering")
    assert min(score("targets", "normalised_AP", step) for step in steps) > 0
    before, after = (score("distinctness", "normalised_AP", step) for step in steps)
    assert after > before  # compounds that the strength was not chosen on
    treatments = query_catalog(
        project.workspace.settings.catalog,
        "SELECT count(*) AS n FROM treatments WHERE variant = 'cellprofiler' AND evaluator = 'activity' AND retrieved",
    )
    assert treatments["n"].item() > 115
    report = Path(project.workspace.settings.reports) / "cpjump1_compounds/report.html"
    page = report.read_text()
    assert "CPJUMP1 compounds" in page
    assert "Which treatments act: activity" in page
    assert "treatments act in the space cellprofiler, sphering; with treatments shuffled among the wells" in page
    assert "Before and after each correction" in page
    assert "of 6 values the best on 76 treatments" in page
    curve = query_catalog(
        project.workspace.settings.catalog,
        "SELECT variant, metric, value FROM metrics WHERE evaluator = 'sweep'",
    )
    assert curve.height == 6 * 4
    assert curve.filter(pl.col("variant").str.ends_with("shuffled treatments"))["value"].abs().max() < 0.03


def test_profiles_without_counts_have_no_cell_count_space(tmp_path: Path) -> None:
    rows = "".join(f"P1,{'ABCD'[i // 6]}{i % 6 + 1},{'' if i < 8 else f'BRD-{i % 4}'},{i % 5}\n" for i in range(24))
    (tmp_path / "P1.csv").write_text(f"Metadata_Plate,Metadata_Well,Metadata_broad_sample,Cells_A\n{rows}")
    project = _project(tmp_path / "project", {"content": "profiles", "files": f"{tmp_path}/{{plate}}.csv",
                                              "negative_controls": ["empty"]})  # fmt: skip
    project.run("run", "--plate", "P1")
    profiles = project.read("normalized_profiles", "P1")
    assert profiles.filter(pl.col("Cells_A").is_not_null()).height == 24
    study = {"name": "demo", "title": "Count", "spaces": {"cell_count": {"of": "cell_count"}}, "evaluators": {}}
    (project.folder / "studies/demo.yaml").write_text(yaml.safe_dump(study))
    process = project.start("run", "--study", "demo")
    output, _ = process.communicate()
    assert process.returncode == 1
    assert "plate P1: found profiles that were published without a count" in output
