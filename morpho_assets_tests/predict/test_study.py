"""The phenotype stages on two small synthetic plates: labels from the truth, models, predictions, calls, a space."""

import numpy as np
import polars as pl
import pytest
import yaml

from morpho_assets.errors import InputError
from morpho_assets.judging import judge
from morpho_assets.lake.ledger import Partition
from morpho_assets.predict.labels import CELL
from morpho_assets.predict.models import load_model
from morpho_assets.predict.predictions import FINAL, SHUFFLED, held_out_by
from morpho_assets.predict.tested import ELSEWHERE
from morpho_assets.profiles.study import SELECTED, read_space, space_features
from morpho_assets.runs import Run
from morpho_assets_tests.project import make_project

PLATES = ("SYN00000001", "SYN00000002")
MERGED = {"changed": ["large", "binucleate", "mitotic", "apoptotic", "elongated"]}
STUDY = {
    "name": "states",
    "title": "Cell states",
    "phenotypes": {
        "state": {
            "labels": {"of": "truth", "merge": MERGED},
            "plates": [PLATES[0]],
            "features": {"prefixes": ["Nuclei_", "Cells_"], "shift": {"at_most": 0.5, "resamples": 5}},
            "model": {"kind": "elastic_net", "C": [0.1], "l1_ratio": [0.0, 0.5]},
            "each_image": True,
            "calls": {"cells": 3},
        },
    },
    "spaces": {"state": {"of": "phenotypes"}},
    "evaluators": {"replicates": {"evaluator": "retrieval", "null_size": 100}},
}
STAGES = ("models", "predictions", "phenotypes", "feature_space")


def made(project, study=STUDY, stages=STAGES):
    (project.folder / f"studies/{study['name']}.yaml").write_text(yaml.safe_dump(study))
    workspace = project.workspace
    run = Run(workspace)
    for stage in stages:
        run.make(stage, Partition("study", study["name"]))
    return project.tables(study["name"])


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_gallery):
    project = make_project(tmp_path_factory.mktemp("phenotypes"), tiny_gallery)
    workspace = project.workspace
    while tasks := [task for task in workspace.plan(PLATES) if not task.waits]:
        run = Run(workspace)
        for task in tasks:
            run.make(task.stage, task.partition)
    return project


@pytest.fixture(scope="module")
def tables(project):
    return made(project)


def test_labels_say_which_cell_each_true_cell_is_or_why_none(tables):
    labels = tables.read("labels", "states")
    given = labels.filter(status="given")
    assert set(given["class"]) == {"interphase", "changed"}
    assert given["trains"].to_list() == (given["Metadata_Plate"] == PLATES[0]).to_list()
    assert given.select(CELL).is_unique().all()
    assert labels.filter(pl.col("ObjectNumber").is_null())["status"].str.contains("have no mask within").all()


def test_models_are_kept_with_what_they_saw(project, tables):
    rows = tables.read("models", "states")
    assert rows["predicted_by"].to_list() == [FINAL, SHUFFLED]
    row = rows.row(0, named=True)
    assert row["classes"] == ["changed", "interphase"]
    assert all(unit.startswith(PLATES[0]) for unit in row["units"])
    lake = project.workspace.lake
    model = load_model(lake.read_bytes(row["path"]), lake.read_bytes(row["weights"]))
    assert sum(model.card.of_class.values()) == sum(row["cells"])
    assert not any("Location" in name for name in model.card.features)
    kept = tables.read("feature_shifts", "states").filter("kept")["feature"]
    assert set(model.card.features) == set(kept)


def test_every_cell_is_predicted_once_and_training_cells_are_marked(project, tables):
    rows = tables.read("predictions", "states")
    final = rows.filter(predicted_by=FINAL)
    cells = pl.concat([project.tables(plate).read("single_cells", plate).select(CELL) for plate in PLATES])
    assert final.height == cells.height == final.join(cells, on=CELL, how="semi").height
    probability = final.select(pl.col("^Probability_.*$")).to_numpy()
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-5)
    trained = tables.read("labels", "states").filter("trains").select(CELL)
    marked = final.filter("in_training").select(CELL)
    assert marked.sort(CELL).equals(trained.sort(CELL))
    for by in ("well", "random"):
        held = rows.filter(predicted_by=held_out_by(by))
        assert not held["in_training"].any()
        assert held["Metadata_Plate"].unique().to_list() == [PLATES[0]]
        assert held["label"].null_count() == 0


def test_scores_stand_beside_what_knows_nothing(tables):
    metrics = tables.read("metrics", "states")
    overall = metrics.filter(scope="by well", metric="balanced_accuracy")
    value = dict(overall.select("variant", "value").iter_rows())
    assert set(value) == {
        "state", "state, shuffled features", "state, labelled cells in the image", "state, always the commonest class",
        "state, classes drawn by their shares",
    }  # fmt: skip
    assert value["state, always the commonest class"] == 0.5
    assert value["state, shuffled features"] < value["state"]
    row = overall.row(by_predicate=pl.col("variant") == "state", named=True)
    assert 0.6 < row["value"] < row["ci_high"]
    elsewhere = metrics.filter(variant="state", metric="balanced_accuracy", scope=ELSEWHERE)
    assert elsewhere["value"][0] > 0.6
    ranks = metrics.filter(variant="state", scope="each image left out")
    assert ranks["metric"].to_list() == ["rank_1", "rank_2"]
    assert ranks["value"][0] > ranks["chance"][0]
    assert ranks.select("value", "chance").row(1) == (1, 1)  # of two classes the mean rank is never above 2
    missed = metrics.filter(variant="state", scope=f"{ELSEWHERE}, cells without a mask as errors")
    assert (missed.filter(metric="balanced_accuracy")["value"] <= elsewhere["value"]).all()


def test_wells_have_phenotypes_that_are_a_space(tables):
    profiles = tables.read("phenotype_profiles", "states")
    final = tables.read("predictions", "states").filter(predicted_by=FINAL, Metadata_Plate=PLATES[0])
    well = profiles.filter(Metadata_Plate=PLATES[0]).row(0, named=True)
    cells = final.filter(Metadata_Well=well["Metadata_Well"])
    assert well["cells"] == cells.height
    assert well["Phenotype_changed"] == pytest.approx(cells["Probability_changed"].median())
    space = read_space(tables, "states", "state", SELECTED)
    assert space_features(space) == ["Phenotype_changed", "Phenotype_interphase"]
    assert space.height == profiles.height


def test_enrichment_is_of_wells_against_controls(tables):
    rows = tables.read("enrichments", "states")
    controls = rows.filter("control")
    assert controls["treatment"].null_count() == controls.height > 0
    assert set(rows["predicted_by"]) == {FINAL, SHUFFLED}
    calls = tables.read("phenotype_calls", "states")
    assert calls.filter(predicted_by=FINAL)["plates"].max() == 2
    assert (calls.filter(called="more")["effect"] > 0).all()


def test_a_study_without_phenotypes_has_empty_tables(project):
    study = {**STUDY, "name": "none", "phenotypes": {}, "spaces": {"cells": {"of": "cells"}}}
    tables = made(project, study, STAGES[:3])
    assert tables.read("models", "none").is_empty()
    assert tables.read("phenotype_calls", "none").is_empty()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plates": ["SYN9"]}, "found the plate SYN9"),
        ({"features": {"prefixes": ["Nucleus_"]}}, "no feature of these names"),
        ({"labels": {"of": "truth", "column": "colour"}}, "colour"),
        ({"splits": [{"by": "scaffold"}]}, "no column Metadata_scaffold"),
        ({"labels": {"of": "metadata", "column": "Metadata_none"}}, "no such column of the wells"),
    ],
)
def test_what_cannot_be_learned_is_said_with_its_place(project, change, message):
    study = {**STUDY, "name": "wrong", "phenotypes": {"state": {**STUDY["phenotypes"]["state"], **change}}}
    with pytest.raises(InputError, match=rf"study wrong, phenotypes\.state.*{message}"):
        made(project, study, ["models"])


def test_labels_of_wells_learn_treatments(project):
    phenotype = {
        "labels": {"of": "metadata", "column": "Metadata_control_type", "cells": 5},
        "model": {"kind": "ridge"}, "splits": [{"by": "well"}],
    }  # fmt: skip
    study = {**STUDY, "name": "wells", "phenotypes": {"state": phenotype}, "spaces": {"cells": {"of": "cells"}}}
    with pytest.raises(InputError, match="1 classes"):  # negative controls alone have a type on these plates
        made(project, study, ["models"])
    phenotype["labels"]["column"] = "Metadata_moa"
    tables = made(project, study, ["models"])
    labels = tables.read("labels", "wells")
    assert labels.group_by("Metadata_Plate", "Metadata_Well").len()["len"].max() <= 5
    assert tables.read("models", "wells").height == 2


def test_sites_that_a_person_rejected_teach_nothing_and_are_in_no_well(project, tables):
    workspace, key = project.workspace, PLATES[0]
    site = project.tables(key).read("sites", key).row(0, named=True)
    where = {"Metadata_Well": site["Metadata_Well"], "Metadata_Site": site["Metadata_Site"]}
    judge(workspace, "rejected", key, *where.values(), "dust", "Ann")
    try:
        Run(workspace).make("well_profiles", Partition("plate", key))
        without = made(project, {**STUDY, "name": "judged"}, STAGES[:3])
    finally:
        judge(workspace, "withdrawn", key, *where.values(), "clean after all", "Ann")
        Run(workspace).make("well_profiles", Partition("plate", key))
    labels = without.read("labels", "judged").filter(Metadata_Plate=key, **where)
    assert labels.height > 0
    assert not (labels["status"] == "given").any()
    assert "are of a site that a person rejected" in set(labels["status"])
    assert "of a site that a person rejected" in without.read("models", "judged")["notes"][0]
    cells = {
        study: found.read("phenotype_profiles", study).filter(
            Metadata_Plate=key, Metadata_Well=where["Metadata_Well"]
        )["cells"].sum()
        for study, found in (("states", tables), ("judged", without))
    }  # fmt: skip
    predicted = tables.read("predictions", "states").filter(predicted_by=FINAL, Metadata_Plate=key, **where).height
    assert cells["judged"] == cells["states"] - predicted


@pytest.mark.slow
def test_the_report_has_a_chapter_on_them(project):
    rest = ("corrected_profiles", "treatment_profiles", "projections", "evaluation", "montages", "report")
    made(project, stages=(*STAGES, *rest))
    page = (project.folder / "data/reports/states/report.html").read_text()
    assert "Phenotypes: state" in page
    assert "plates without training labels" in page
    assert "state, shuffled features" in page
    assert page.count("data:image/webp") >= 6


@pytest.mark.slow
def test_the_shipped_studies_of_synthetic_plates_are_made(project):
    workspace = project.workspace
    for study, stages in (
        ("phenotypes_demo", STAGES), ("treatments_demo", ("feature_space", "corrected_profiles", "evaluation")),
    ):  # fmt: skip
        run = Run(workspace)
        for stage in (*STAGES[:3], *stages):
            run.make(stage, Partition("study", study))
    metrics = project.tables("treatments_demo").read("metrics", "treatments_demo")
    within = metrics.filter(evaluator="within_well", metric="accuracy")
    assert set(within["scope"]) == {"within well", "within Perturbation"}
    by_plate = metrics.filter(evaluator="by_plate", metric="balanced_accuracy", scope="overall", variant="cellprofiler")
    # Better than the commonest class. Chance is the greatest of that and of models of permuted classes, which so small
    # plates need not pass.
    wells = pl.concat(project.tables(plate).read("wells", plate) for plate in workspace.plates())
    treated = wells.filter(pl.col("Metadata_control_type").ne_missing("negcon"))
    assert by_plate["value"][0] > 1 / treated["Metadata_Perturbation"].n_unique()
    assert by_plate["chance"][0] >= 1 / treated["Metadata_Perturbation"].n_unique() - 1e-9
    assert project.tables("phenotypes_demo").read("phenotype_profiles", "phenotypes_demo").height
