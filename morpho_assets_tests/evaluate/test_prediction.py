"""Wells and images to treatments: what is there is found, under a split that asks, and what is not is not."""

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.evaluators import evaluate
from morpho_assets.evaluate.prediction import PredictionConfig, prediction
from morpho_assets.evaluate.sites import SPLIT, evaluate_sites
from morpho_assets.predict.classifiers.trees import ForestConfig
from morpho_assets.predict.splits import SplitConfig
from morpho_assets_tests.evaluate.conftest import screen, value

FEATURES = [f"Cells_{i}" for i in range(20)]


def test_treatments_are_told_on_plates_that_the_model_did_not_see():
    found = prediction(screen(effect=2.0, controls=4), FEATURES)
    assert value(found.metrics, "balanced_accuracy") > 0.6
    assert value(found.metrics, "balanced_accuracy_shuffled") < 0.3
    assert value(found.metrics, "balanced_accuracy", "chance") == pytest.approx(1 / 13)
    assert value(found.metrics, "top_5") > value(found.metrics, "accuracy")
    assert found.metrics["n"].unique().to_list() == [4]
    assert found.scores.height == 13


def test_nothing_is_told_where_there_is_nothing():
    found = prediction(screen(effect=0.0, controls=4), FEATURES)
    assert value(found.metrics, "balanced_accuracy") < 0.25


def test_another_column_and_model():
    config = PredictionConfig(label="Metadata_moa", among="treated", model=ForestConfig(trees=50))
    found = evaluate(screen(effect=2.0), FEATURES, config)
    assert value(found.metrics, "accuracy") > 0.7


def images(sites=4, plates=1, seed=0):
    """Four treatments, one well each on every plate; images of a well are alike, whatever was done to it."""
    rng = np.random.default_rng(seed)
    rows = [(f"P{p}", f"A0{w + 1}", s) for p in range(plates) for w in range(4) for s in range(sites)]
    well = np.array([4 * int(p[1:]) + int(w[2]) - 1 for p, w, _ in rows])
    values = rng.normal(size=(4 * plates, 20))[well] * 3 + rng.normal(size=(len(rows), 20))
    frame = pl.DataFrame(rows, ["Metadata_Plate", "Metadata_Well", "Metadata_Site"], orient="row")
    treatment = pl.concat_str(pl.lit("drug "), "Metadata_Well").alias("Metadata_Perturbation")
    return frame.with_columns(treatment).hstack(pl.DataFrame(values, FEATURES))


def test_one_well_per_treatment_is_within_well_and_says_so():
    config = PredictionConfig(split=SplitConfig(by="well", fall_back=True))
    found, note = evaluate_sites(images(), FEATURES, config)
    assert found.metrics["scope"].unique().to_list() == ["within well"]
    assert found.metrics.filter(metric="accuracy")["value"][0] > 0.9  # the well is told, not the treatment
    assert note == SPLIT
    with pytest.raises(InputError, match="within well"):
        evaluate_sites(images(), FEATURES, PredictionConfig(split=SplitConfig(by="well")))


def test_the_same_images_by_plate_are_at_chance():
    config = PredictionConfig(split=SplitConfig(by="plate"))
    found, _ = evaluate_sites(images(plates=4), FEATURES, config)
    assert value(found.metrics, "accuracy") < 0.6


def test_one_class_is_nothing_to_ask():
    one = screen().with_columns(Metadata_Perturbation=pl.lit("same"))
    found = prediction(one, FEATURES)
    assert found.metrics["n"].sum() == 0
    assert found.metrics["value"].null_count() == found.metrics.height
