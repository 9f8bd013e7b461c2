"""The stage activity: the shipped study on its screen, and a study of the compounds of plates."""

import polars as pl
import pytest
import yaml

pytest.importorskip("rdkit")

from morpho_assets.errors import InputError
from morpho_assets.lake.ledger import Partition
from morpho_assets.predict.activity.study import predict_activity
from morpho_assets.runs import Run
from morpho_assets.stages import STAGES
from morpho_assets.studies.model import SHIPPED, Study, load_study
from morpho_assets_tests.factories import commit_work, study_work
from morpho_assets_tests.project import make_project

NAME = "activity_demo"


def made(project, study):
    """The tables of the stage, and its function alone: plates are not asked for."""
    asked = Study.model_validate(study)
    (project.folder / f"studies/{asked.name}.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    work = study_work(project.workspace.lake, "activity", load_study(asked.name, project.folder / "studies",
                                                                    project.folder), {})  # fmt: skip
    predict_activity(work)
    commit_work(work)
    return project.tables(asked.name)


def shipped(**activity):
    """The shipped study, made smaller."""
    study = yaml.safe_load((SHIPPED / f"{NAME}.yaml").read_text())
    study["activity"] |= {"splits": [{"by": "scaffold"}], "draws": 20,
                          "fusion": {"late": ["noisy_or"], "early": False}} | activity  # fmt: skip
    return study


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_gallery):
    return make_project(tmp_path_factory.mktemp("activity"), tiny_gallery)


@pytest.fixture(scope="module")
def tables(project):
    screen = project.folder / "data/gallery/cpg9999-synthetic/source_0/workspace/screen"
    compounds = pl.read_csv(screen / "compounds.csv")
    wrong = compounds.with_columns(
        smiles=pl.when(pl.col("compound") == compounds["compound"][7]).then(pl.lit("c1cc(")).otherwise("smiles")
    )
    (project.folder / "compounds.csv").write_text(wrong.write_csv())
    outcomes = pl.read_csv(screen / "assays.csv", infer_schema=False)
    strange = pl.DataFrame({"compound": ["BRD-K99999999"], "assay": ["count_30"], "active": ["1"]})
    rare = outcomes.filter(pl.col("assay") == "count_30").with_columns(
        assay=pl.lit("rare"), active=pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("1")).otherwise(pl.lit("0"))
    )
    kept = [name for name in outcomes["assay"].unique() if int(name[-2:]) % 5 == 0]
    few = outcomes.filter(pl.col("assay").is_in(kept))
    (project.folder / "assays.csv").write_text(pl.concat([few, strange, rare]).write_csv())
    return made(project, shipped(assays={"file": "assays.csv"}, compounds={"file": "compounds.csv"}))


def test_what_was_matched_and_what_was_not_is_a_table(tables):
    matches = tables.read("assay_matches", NAME)
    assert matches.filter(pl.col("compound").is_null())["given"].to_list() == ["BRD-K99999999"]
    assert matches["matched_by"].drop_nulls().unique().to_list() == ["id"]
    outcomes = tables.read("assays", NAME)
    rare = outcomes.filter(assay="rare")["note"].unique().to_list()
    assert rare == [f"too few: 3 active, {outcomes.filter(assay='rare').height - 3} inactive"]


def test_a_wrong_smiles_is_listed_and_its_compound_kept(tables):
    compounds = tables.read("assay_compounds", NAME)
    assert compounds.height == 400
    wrong = compounds.filter(pl.col("problem").is_not_null())
    assert wrong["problem"].to_list() == ["unreadable SMILES"]
    rows = tables.read("assay_predictions", NAME).filter(compound=wrong["compound"][0])
    assert rows["Probability_structure"].null_count() == rows.height
    assert rows["Probability_morphology"].null_count() == 0


def test_scores_stand_beside_baselines_and_flags(tables):
    scores = tables.read("assay_scores", NAME)
    names = {"structure", "morphology", "expression", "cell count alone", "plate position alone", "batch alone",
             "nearest active by Tanimoto", "majority", "shuffled labels: structure",
             "merger: structure + similarity", "noisy_or: structure + morphology + expression"}  # fmt: skip
    assert names <= set(scores["predictor"])
    assert "rare" not in set(scores["assay"])
    of_all = scores.filter(predictor="noisy_or: structure + morphology + expression")
    flagged = of_all.filter(pl.col("reached_by").str.contains("cell count"))["assay"]
    assert flagged.str.starts_with("count").any()
    assert of_all["ci_low"].null_count() == 0


def test_untested_compounds_are_ranked_by_a_calibrated_chance(tables):
    rows = tables.read("assay_predictions", NAME).filter(assay="structure_00")
    open_ones = rows.filter(~pl.col("tested")).sort("rank")
    assert open_ones["rank"].to_list() == list(range(1, open_ones.height + 1))
    assert open_ones["probability"].is_sorted(descending=True)
    assert rows.filter("tested")["rank"].null_count() == rows["tested"].sum()
    tested = rows.filter("tested")
    assert tested["probability"].mean() == pytest.approx(tested["active"].mean(), abs=0.05)
    actives = tables.read("assays", NAME).filter(pl.col("active"), assay="structure_00")["compound"]
    assert set(rows["similar_to"].drop_nulls()) <= set(actives)
    folds = tables.read("assay_compounds", NAME).select("compound", "fold")
    other = rows.join(folds.rename({"compound": "similar_to", "fold": "of"}), on="similar_to")
    assert (other["fold"] != other["of"]).all()


def test_metrics_say_what_each_adds_and_what_may_be_corrected(tables):
    metrics = tables.read("metrics", NAME)
    assert set(metrics["evaluator"]) == {"activity"}
    against = metrics.filter(pl.col("scope").str.contains("against structure"))
    assert against.filter(variant="noisy_or: structure + morphology + expression").height == 1
    frame = metrics.filter(pl.col("scope").str.starts_with("causal frame"))
    notes = dict(frame.select("variant", "note").iter_rows())
    assert "removes effects" in notes["cell count alone"]
    assert "cannot be told apart" in notes["batch alone"]
    overlaps = tables.read("assay_overlaps", NAME)
    assert overlaps.filter(threshold=0.7, number=3)["union"][0] >= overlaps.filter(threshold=0.7)["alone"].sum() / 2


def test_checks_name_what_offends(tables):
    from morpho_assets.predict.activity import checks

    names = checks.names_of_compounds_are_known(tables, NAME, None)
    assert not names.passed
    assert names.text == "1 of 401 names: no compound of the study (BRD-K99999999)"
    assert "unreadable SMILES: BRD-K" in checks.structures_are_readable(tables, NAME, None).text
    nuisance = checks.no_nuisance_reaches_the_score(tables, NAME, None).text
    assert "count_30: cell count alone" in nuisance
    assert "structure_00" not in nuisance


def test_the_chapter_says_what_was_found_flagged_and_lost(project, tables):
    from morpho_assets.report.activity import activity_sections

    (section,) = activity_sections(tables, load_study(NAME, project.folder / "studies", project.folder))
    assert "the study: 1 of 401." in section.caption
    assert "1 unreadable SMILES" in section.caption
    assert "left out: 1." in section.caption
    assert "above an AUROC of 0.7" in section.answer
    assert len(section.pictures) == 3
    captions = [table.caption for table in section.tables]
    assert any("Untested compounds" in caption for caption in captions)
    listed = next(table for table in section.tables if "Untested" in table.caption)
    assert listed.total == 3 * tables.read("assay_scores", NAME)["assay"].n_unique()


def test_what_is_wrong_names_the_study_and_the_file(project):
    (project.folder / "none.csv").write_text("compound,assay,active\nwater,one,1\n")
    study = shipped(assays={"file": "none.csv"}) | {"name": "nothing"}
    with pytest.raises(InputError, match=r"study nothing, activity: .*none.csv.*'water'"):
        made(project, study)
    with pytest.raises(InputError, match=r"lost\.csv: found does not exist"):
        made(project, shipped(assays={"file": "lost.csv"}) | {"name": "lost"})
    with pytest.raises(ValueError, match="no modality 'sound'"):
        made(project, shipped(splits=[{"by": "cluster", "of": "sound"}]) | {"name": "sound"})


def test_a_study_without_activity_has_its_tables_without_rows(project):
    study = {"name": "plain", "title": "Plain", "spaces": {"cell_count": {"of": "cell_count"}},
             "evaluators": {"replicates": {"evaluator": "retrieval"}}}  # fmt: skip
    tables = made(project, study)
    assert tables.read("assay_scores", "plain").height == 0
    assert all(check.function(tables, "plain", None).passed for check in STAGES["activity"].checks)


@pytest.mark.slow
def test_compounds_and_a_space_of_the_studys_own_plates(project):
    """Eleven compounds of two plates: few, and enough to go all the way from wells to a list."""
    workspace = project.workspace
    plates = ["SYN00000001", "SYN00000002"]
    while tasks := [task for task in workspace.plan(plates) if not task.waits]:
        run = Run(workspace)
        for task in tasks:
            run.make(task.stage, task.partition)
    place = "data/gallery/cpg9999-synthetic/source_0/workspace/truth/assays.parquet"
    truth = pl.read_parquet(project.folder / place)
    (project.folder / "own.csv").write_text(
        truth.filter(assay="structure_only").select(compound="broad_sample", assay="assay",
                                                    active=pl.col("hit").cast(int)).write_csv()
    )  # fmt: skip
    study = {
        "name": "own", "title": "Own",
        "activity": {
            "assays": {"file": "own.csv"}, "least": 2, "draws": 20,
            "modalities": {"structure": {"of": "structure", "fingerprint": "maccs"},
                           "morphology": {"of": "space", "space": "cellprofiler"},
                           "descriptors": {"of": "structure", "fingerprint": "descriptors"}},
            "splits": [{"by": "random", "folds": 2}, {"by": "cluster", "of": "morphology", "folds": 2}],
        },
        "spaces": {"cellprofiler": {"of": "cells"}},
        "evaluators": {"replicates": {"evaluator": "retrieval"}},
    }  # fmt: skip
    (project.folder / "studies/own.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    run = Run(workspace)
    for stage in ("feature_space", "corrected_profiles", "activity"):
        run.make(stage, Partition("study", "own"))
    tables = project.tables("own")
    compounds = tables.read("assay_compounds", "own")
    assert compounds["cell_count"].null_count() == 0
    assert compounds["problem"].null_count() == compounds.height
    assert set(tables.read("assay_scores", "own")["split"]) == {"by random", "by cluster of morphology"}
    rows = tables.read("assay_predictions", "own")
    called = rows["Probability_morphology"].drop_nulls()
    assert len(called)
    assert called.is_finite().all()
