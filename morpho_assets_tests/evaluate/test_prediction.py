"""Wells and images to treatments: what is there is found, under a split that asks, and what is not is not."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut

from morpho_assets.errors import InputError
from morpho_assets.evaluate.evaluators import evaluate
from morpho_assets.evaluate.prediction import PredictionConfig, permuted_classes, prediction
from morpho_assets.evaluate.sites import SPLIT, evaluate_sites
from morpho_assets.predict.classifiers.linear import ElasticNetConfig, LogisticConfig
from morpho_assets.predict.classifiers.trees import ForestConfig
from morpho_assets.predict.splits import SplitConfig, split_rows
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value

FEATURES = [f"Cells_{i}" for i in range(20)]
PLAIN = LogisticConfig(C=(1.0,), standardize=False, class_weight=None)
QUICK = PredictionConfig(among="treated", model=PLAIN, shuffles=1)


def test_treatments_are_told_on_plates_that_the_model_did_not_see():
    found = prediction(screen(effect=2.0, controls=4), FEATURES)
    assert value(found.metrics, "balanced_accuracy") > 0.6
    assert value(found.metrics, "balanced_accuracy_shuffled") < 0.3
    assert value(found.metrics, "balanced_accuracy_shuffled", "chance") == pytest.approx(1 / 13)
    assert value(found.metrics, "balanced_accuracy", "chance") == pytest.approx(
        max(1 / 13, value(found.metrics, "balanced_accuracy_shuffled"))
    )
    assert value(found.metrics, "top_5") > value(found.metrics, "accuracy")
    n = dict(found.metrics.select("metric", "n").iter_rows())
    assert (n["balanced_accuracy"], n["accuracy"]) == (13, 4)  # classes, of a mean over them, and plates
    assert found.scores.height == 2 * 13


def test_by_hand():
    """Two plates, three classes on both: `b` of plate Q lies where `a` is, all others where they were."""
    frame = pl.DataFrame({
        "Metadata_Plate": ["P"] * 3 + ["Q"] * 3, "Metadata_Perturbation": ["a", "b", "c"] * 2,
        "Cells_0": [1.0, 0, 0, 1, 1, 0], "Cells_1": [0.0, 1, 0, 0, 0, 0], "Cells_2": [0.0, 0, 1, 0, 0, 1],
    })  # fmt: skip
    config = PredictionConfig(model=LogisticConfig(C=(100.0,), standardize=False, class_weight=None))
    found = prediction(frame, feature_columns(frame), config)
    called = found.details["predictions"]
    assert called.filter(Metadata_Plate="Q")["predicted"].to_list() == ["a", "a", "c"]
    right = (called["predicted"] == called["Metadata_Perturbation"]).to_numpy().reshape(2, 3)
    assert value(found.metrics, "balanced_accuracy") == pytest.approx(right.mean(axis=0).mean())
    assert value(found.metrics, "accuracy") == pytest.approx(right.mean())


def test_it_is_scikit_learn_on_whole_plates():
    frame = screen(0.6, treatments=15)
    config = QUICK.model_copy(update={"model": PLAIN.model_copy(update={"C": (3.0,)})})
    found = prediction(frame, FEATURES, config)
    treated = frame.filter(pl.col("Metadata_control_type").is_null())
    labels, plates = treated["Metadata_Perturbation"].to_numpy(), treated["Metadata_Plate"].to_numpy()
    matrix = treated.select(FEATURES).to_numpy()
    right = []
    for train, test in LeaveOneGroupOut().split(matrix, labels, plates):
        centre = matrix[train].mean(axis=0)
        length = np.sqrt(((matrix[train] - centre) ** 2).sum(axis=1).mean())
        model = LogisticRegression(C=3, max_iter=2000).fit((matrix[train] - centre) / length, labels[train])
        right += list(zip(labels[test], model.predict((matrix[test] - centre) / length), strict=True))
    expected = balanced_accuracy_score(*zip(*right, strict=True))
    assert 0.2 < expected < 0.95
    assert value(found.metrics, "balanced_accuracy") == pytest.approx(expected, abs=1 / 60)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_any_order_of_rows_and_any_scale_gives_the_same(seed):
    frame = screen(1, treatments=5, plates=3, features=6).with_columns(
        pl.format("{}{}", pl.lit("A"), pl.int_range(pl.len()).over("Metadata_Plate")).alias("Metadata_Well")
    )
    names = feature_columns(frame)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=seed).with_columns(pl.col(names) * 7)
    both = [prediction(each, names, QUICK).metrics for each in (frame, shuffled)]
    np.testing.assert_allclose(both[0]["value"], both[1]["value"])
    np.testing.assert_allclose(both[0]["chance"], both[1]["chance"])


def test_classes_are_permuted_as_they_could_have_come_about():
    table = pl.DataFrame({
        "Metadata_Plate": ["P"] * 4 + ["Q"] * 4, "Metadata_Well": ["A1", "A1", "A2", "A2"] * 2,
        "Metadata_Perturbation": ["a", "a", "b", "b", "c", "c", "a", "a"],
    })  # fmt: skip
    truth = np.array(["a", "a", "b", "b", "b", "b", "a", "a"])
    rng = np.random.default_rng(0)
    wells = split_rows(table, list(truth), SplitConfig(by="well"))
    drawn = np.array([permuted_classes(truth, wells, table["Metadata_Plate"].to_numpy(), rng) for _ in range(20)])
    assert (drawn[:, ::2] == drawn[:, 1::2]).all()  # images of a well go together
    assert (np.sort(drawn[:, :4]) == ["a", "a", "b", "b"]).all()  # and stay on their plate
    assert len(np.unique(drawn, axis=0)) == 4
    plates = split_rows(table, list(truth), SplitConfig(by="plate"))
    drawn = permuted_classes(truth, plates, table["Metadata_Plate"].to_numpy(), rng)
    assert sorted(drawn[:4]) == ["a", "a", "b", "b"]


def test_fits_that_did_not_converge_are_told():
    short = ElasticNetConfig(C=(100.0,), l1_ratio=(0.5,), most=2)
    found = prediction(screen(treatments=4), FEATURES, QUICK.model_copy(update={"model": short}))
    assert found.note.startswith("4 of 4 models stopped before the optimum, with a duality gap of up to")
    assert prediction(screen(treatments=4), FEATURES, QUICK).note == ""


def test_classes_of_one_plate_are_not_scored():
    frame = screen(2, treatments=6)
    alone = frame.filter((pl.col("Metadata_Perturbation") != "t00") | (pl.col("Metadata_Plate") == "P0"))
    found = prediction(alone, FEATURES, QUICK)
    assert set(found.scores["treatment"]) == {f"t{i:02d}" for i in range(1, 6)}
    assert found.details["predictions"].height == 20


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
    assert found.note.startswith("within well: a split by well is impossible")


def test_a_split_that_is_impossible_scores_nothing_and_says_why():
    found, _ = evaluate_sites(images(), FEATURES, PredictionConfig(split=SplitConfig(by="well")))
    assert found.metrics["n"].sum() == 0
    assert found.note == "a split by well is impossible: 0 of 4 classes in at least 2 units of well"
    with pytest.raises(InputError, match="no column Metadata_scaffold"):
        prediction(screen(), FEATURES, PredictionConfig(split=SplitConfig(by="scaffold")))


def test_the_same_images_by_plate_are_at_chance():
    config = PredictionConfig(split=SplitConfig(by="plate"))
    found, _ = evaluate_sites(images(plates=4), FEATURES, config)
    assert value(found.metrics, "accuracy") < 0.6


def test_one_class_is_nothing_to_ask():
    one = screen().with_columns(Metadata_Perturbation=pl.lit("same"))
    found = prediction(one, FEATURES)
    assert found.metrics["n"].sum() == 0
    assert found.metrics["value"].null_count() == found.metrics.height
    assert found.note == "fewer than two values of Metadata_Perturbation"
    empty = prediction(one.clear(), FEATURES)
    assert empty.metrics["n"].sum() == 0


def test_a_constant_feature_is_at_chance():
    frame = screen(2, treatments=6).with_columns(Cells_0=pl.lit(1.0))
    assert value(prediction(frame, ["Cells_0"], QUICK).metrics, "balanced_accuracy") <= 1 / 6 + 1e-9
