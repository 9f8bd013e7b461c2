"""The main job, whole: a synthetic gallery through every asset to a report and a database."""

import shutil
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from morpho_assets.lake.catalog import query_catalog
from morpho_assets.lake.tables import TABLES
from morpho_assets.measure.config import MeasurementConfig
from morpho_assets_tests.factories import changed
from morpho_assets_tests.project import Project

pytestmark = pytest.mark.slow


def test_it_prints_where_the_results_are_and_answers_three_questions(demo):
    project, output = demo
    assert f"Report:   {project.folder}/data/reports/demo/report.html" in output
    assert f"Database: {project.folder}/data/morpho.duckdb" in output
    assert output.count('morpho sql "SELECT') == 3
    assert output.count("┌") == 3
    assert "SYN00000001" in output


def test_every_table_of_the_lake_is_in_the_catalog_with_rows(demo):
    catalog = demo[0].workspace.settings.catalog
    rows = {name: query_catalog(catalog, f'SELECT count(*) AS n FROM "{name}"')["n"][0] for name in TABLES}
    # A good gallery has no failures and measures nothing elsewhere; nobody rejected a site; the study asks for
    # retrieval, not for phenotypes or assays
    empty = {"site_failures", "measured_sites", "site_profiles", "potencies", "dose_responses", "clusters",
             "treatment_scores", "tile_embeddings", "labels", "models", "predictions", "phenotype_profiles",
             "enrichments", "phenotype_calls", "feature_shifts", "cluster_descriptions", "rejected_sites", "assays",
             "assay_matches", "assay_compounds", "assay_scores", "assay_overlaps", "assay_predictions",
                 "set_profiles", "attributions"}  # fmt: skip
    assert {name for name, count in rows.items() if not count} == empty


def test_every_plate_goes_from_images_to_profiles(demo):
    project = demo[0]
    for plate in project.workspace.plates():
        tables = project.tables(plate)
        cells = tables.read("single_cells", plate)
        objects = tables.read("objects", plate)
        profiles = tables.read("normalized_profiles", plate)
        wells = tables.read("sites", plate)["Metadata_Well"].unique()
        assert cells.height == objects.height
        assert sorted(profiles["Metadata_Well"]) == sorted(wells)
        assert profiles["Metadata_Count_Cells"].sum() == cells.height
        assert set(profiles["Metadata_normalized_on"]) == {"negcon"}


def test_label_images_are_where_the_masks_table_says(demo):
    from morpho_assets.imaging.images import read_labels

    project = demo[0]
    plate = project.workspace.plates()[0]
    row = project.read("masks", plate).row(0, named=True)
    nuclei, cells = (read_labels(project.workspace.lake.read_bytes(row[name])) for name in ("nuclei", "cells"))
    assert nuclei.max() == cells.max() == row["Count_Cells"]


def test_scores_stand_beside_chance_and_shuffled_treatments(demo):
    catalog = demo[0].workspace.settings.catalog
    overall = query_catalog(catalog, "SELECT * FROM metrics WHERE scope = 'overall'")
    assert overall["chance"].null_count() == 0
    variants = set(overall["variant"])
    assert {"cellprofiler", "cellprofiler, sphering", "vae", "cell_count"} <= variants
    assert {f"{name}, shuffled treatments" for name in ("cellprofiler", "vae", "cell_count")} <= variants


def test_masks_are_scored_against_the_simulator_s_own_nuclei(demo):
    catalog = demo[0].workspace.settings.catalog
    scores = query_catalog(catalog, "SELECT * FROM metrics WHERE evaluator = 'masks' AND metric = 'F1_50'")
    assert scores["variant"].unique().to_list() == ["plates"]
    assert "SYN00000001, nuclei" in scores["scope"].to_list()
    assert (scores["value"] > 0.9).all()
    assert scores["chance"].null_count() == 0  # not always less: one threshold suits well-spread simulated nuclei


def test_what_was_planted_is_compared_with_what_was_found(demo):
    """Two plates of one batch are too few for every check; those that they allow are there, with their bounds."""
    catalog = demo[0].workspace.settings.catalog
    checks = query_catalog(catalog, "SELECT * FROM metrics WHERE evaluator = 'truth'")
    assert checks["variant"].unique().to_list() == ["truth"]
    assert {"nuclei_f1", "cells_f1", "count_error", "nuclear_area", "map_rises"} <= set(checks["metric"])
    assert not {"nscb_drop", "batch_removed"} & set(checks["metric"])
    beside = checks["scope"] == "counterpart"  # what a check must fail on has no verdict of its own
    assert checks["holds"].is_null().to_list() == beside.to_list()
    held = dict(checks.filter(~beside).select("metric", "holds").iter_rows())
    assert held["nuclei_f1"]
    assert held["count_error"]
    points = query_catalog(catalog, "SELECT * FROM planted_and_found WHERE \"check\" = 'nuclei_f1'")
    assert points.height == 2 * 18


def test_the_report_is_one_page_without_the_network(demo):
    page = (demo[0].folder / "data/reports/demo/report.html").read_text()
    assert "Quick study" in page
    assert "normalized on" in page
    assert "Before and after each correction" in page
    assert page.count("Learning added") == 1
    assert "in the space vae (replicates)" in page
    assert "with drawn weights (vae_untrained)" in page
    assert "No encoder was told a treatment." in page
    assert page.count("<img") >= 6
    assert page.count('class="answer"') >= 8  # a chapter begins with its answer
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_the_ui_would_show_every_asset_of_every_partition(demo, monkeypatch):
    project, _ = demo
    monkeypatch.setenv("MORPHO_STATE_DIR", str(project.folder / "data/dagster"))
    with dg.DagsterInstance.from_config(str(project.folder)) as instance:
        assert instance.get_dynamic_partitions("plate") == ["SYN00000001", "SYN00000002"]
        assert instance.get_dynamic_partitions("study") == ["demo"]
        for name in ("plate_manifest", "masks", "single_cells", "well_profiles"):
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == {"SYN00000001", "SYN00000002"}
        for name in ("encoder", "feature_space", "evaluation", "report"):
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == {"demo"}
        event = instance.get_latest_materialization_event(dg.AssetKey("masks"))
        metadata = event.asset_materialization.metadata
        assert "data:image/webp;base64," in metadata["cells per well"].value
        commit = project.commit("masks", event.asset_materialization.partition)
        tables = {name: output.rows for name, output in commit.outputs.items()}
        assert tables["masks"] == metadata["sites"].value == 18
        assert metadata["dagster/row_count"].value == sum(tables.values())


def test_a_second_demo_finds_everything_up_to_date(demo, monkeypatch):
    project, _ = demo
    monkeypatch.setenv("MORPHO_STATE_DIR", str(project.folder / "data/dagster"))
    with dg.DagsterInstance.from_config(str(project.folder)) as instance:
        runs = instance.get_runs_count()
    again = project.run("run", "--plate", "SYN00000001", "--plate", "SYN00000002")
    assert again.splitlines() == [
        "plate SYN00000001: up to date", "plate SYN00000002: up to date", "catalog: up to date",
    ]  # fmt: skip
    with dg.DagsterInstance.from_config(str(project.folder)) as instance:
        assert instance.get_runs_count() == runs


def test_morpho_sql_answers_from_any_directory(demo, tmp_path):
    project, _ = demo
    moved = Project(tmp_path)
    output = moved.start(
        "--settings",
        str(project.folder / "morpho.yaml"),
        "sql",
        "SELECT count(*) AS plates FROM (SELECT DISTINCT Metadata_Plate FROM wells)",
    ).communicate()[0]
    assert "plates" in output
    assert "2" in output


def test_a_setting_that_changes_makes_stale_what_depends_on_it_and_nothing_else(demo):
    workspace = demo[0].workspace
    tasks = changed(workspace, measurement=MeasurementConfig(texture=None)).plan(["SYN00000001"])
    assert [task.stage for task in tasks] == ["single_cells", "well_profiles"]
    assert all(reason.startswith("`measurement.") for reason in tasks[0].reasons)


def test_the_database_opens_with_duckdb_alone(demo, tmp_path):
    copy = shutil.copy(demo[0].workspace.settings.catalog, tmp_path / "copy.duckdb")
    with duckdb.connect(str(Path(copy)), read_only=True) as connection:
        columns = [row[0] for row in connection.execute("DESCRIBE single_cells").fetchall()]
    assert "Nuclei_AreaShape_Area" in columns
    assert "Cells_Intensity_MeanIntensity_ER" in columns
