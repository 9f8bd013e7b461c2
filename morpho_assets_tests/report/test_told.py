"""Chapters on treatments: what is recognised within a well is said first, and clusters stand with what is known."""

import polars as pl

from morpho_assets.evaluate.clusters import ClustersConfig, clusters
from morpho_assets.evaluate.prediction import prediction
from morpho_assets.predict.splits import SplitConfig
from morpho_assets.report.told import cluster_sections, prediction_sections
from morpho_assets.studies.model import Study
from morpho_assets_tests.evaluate.conftest import screen
from morpho_assets_tests.evaluate.test_prediction import FEATURES, QUICK, images

SPLIT = {"by": "well", "fall_back": True}
STUDY = Study.model_validate({
    "name": "s", "title": "S", "spaces": {"cells": {"of": "cells"}},
    "evaluators": {"wells": {"evaluator": "prediction", "split": SPLIT}, "groups": {"evaluator": "clusters"}},
})  # fmt: skip


def rows(found, evaluator, note=None):
    place = {"variant": pl.lit("cells"), "evaluator": pl.lit(evaluator), "note": pl.lit(note, pl.String)}
    return found.metrics.with_columns(**place)


def test_wells_that_are_recognised_are_a_warning():
    found = prediction(images(), FEATURES, QUICK.model_copy(update={"split": SplitConfig(**SPLIT), "among": "all"}))
    (section,) = prediction_sections(STUDY, rows(found, "wells", found.note))
    assert section.title == "Told apart: wells"
    assert section.caption.startswith("WARNING: within well. A well that no model has seen could not be held out")
    assert section.answer.endswith("; but images of one well were in training and in test.")
    assert section.tables[0].rows
    found = prediction(screen(), FEATURES, QUICK)
    (section,) = prediction_sections(STUDY, rows(found, "wells"))
    assert "WARNING" not in section.caption
    assert section.answer.startswith("Perturbation can be told: best in the space cells with a balanced accuracy of ")
    assert " where chance gives " in section.answer
    assert prediction_sections(STUDY, rows(found, "others")) == []


def test_clusters_stand_with_what_they_have_more_of():
    frame = screen(3, treatments=24)
    found = clusters(frame, FEATURES, ClustersConfig(shuffles=2))
    place = {"study": pl.lit("s"), "variant": pl.lit("cells"), "evaluator": pl.lit("groups")}
    members = found.details["clusters"].rename({"Metadata_Perturbation": "treatment"}).with_columns(**place)
    tables = {
        "clusters": members,
        "cluster_descriptions": found.details["cluster_descriptions"].with_columns(**place),
    }

    class Inputs:
        def read(self, name, key):
            return tables[name]

    (section,) = cluster_sections(Inputs(), STUDY, rows(found, "groups"), "cells")
    assert section.answer.startswith("leiden makes 4 clusters of 24 treatments")
    assert "adjusted Rand index of 1 " in section.answer
    assert "of the same values in disorder" in section.caption
    assert [table.caption.split(",")[0] for table in section.tables] == [
        "What clusters have more of", "Features that tell each cluster: clusters were made from them",
        "Treatments",
    ]  # fmt: skip
    assert cluster_sections(Inputs(), STUDY, rows(found, "groups"), "another") == []
