"""Models: every kind learns, is kept without code, and gives elsewhere what scikit-learn gives."""

import json

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from morpho_assets.errors import InputError
from morpho_assets.predict.classifiers.common import row_weights
from morpho_assets.predict.classifiers.kinds import KINDS, ModelConfig
from morpho_assets.predict.classifiers.linear import ElasticNetConfig, LogisticConfig, RidgeConfig, leave_each_out
from morpho_assets.predict.classifiers.nearest import NeighboursConfig
from morpho_assets.predict.classifiers.trees import BoostingConfig, ForestConfig
from morpho_assets.predict.models import fit_model, fit_temperature, load_model, predict_held_out
from morpho_assets.predict.splits import SplitConfig, split_rows

NAMES = ["a", "b", "c"]
QUICK = {"forest": {"trees": 20}, "boosting": {"rounds": 20}, "ridge": {"alpha": [1.0, 100.0]}}


def config_of(kind, **settings):
    return TypeAdapter(ModelConfig).validate_python({"kind": kind, **QUICK.get(kind, {}), **settings})


def clouds(n=150, d=6, seed=0, apart=2.0):
    """Three clouds, the middle one larger; two features are noise, one is constant."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(3, n, p=[0.25, 0.5, 0.25])
    x = rng.normal(size=(n, d))
    x[:, 0] += apart * codes
    x[:, 1] += apart * (codes == 1)
    x[:, 2] = 7.0
    return x, np.array(NAMES)[codes], [f"Nuclei_AreaShape_{number}" for number in range(d)]


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_learns_and_is_kept_without_code(kind):
    x, truth, features = clouds()
    model = fit_model(config_of(kind), x, truth, features)
    new, classes, _ = clouds(seed=1)
    probability = model.predict(new)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    assert np.mean(np.array(NAMES)[probability.argmax(axis=1)] == classes) > 0.75
    card, weights = model.save()
    again = load_model(card, weights)
    np.testing.assert_array_equal(again.predict(new), probability)
    assert json.loads(card)["of_class"] == {name: int((truth == name).sum()) for name in NAMES}
    assert model.predict(np.empty((0, x.shape[1]))).shape == (0, 3)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_class_that_a_fold_lacks_is_never_called(kind):
    """Codes 0 and 2 of three: what a fold without the class in the middle gives."""
    x, truth, _ = clouds()
    codes = np.searchsorted(NAMES, truth)
    rows = codes != 1
    arrays = KINDS[kind].fit(config_of(kind).candidates[0], x[rows], codes[rows], 3)
    found = np.exp(KINDS[kind].log_probabilities({k: np.asarray(v) for k, v in arrays.items()}, x))
    assert found.shape == (len(x), 3)
    assert np.isfinite(found).all()
    assert (found[rows].argmax(axis=1) != 1).mean() > 0.95


def prepared(x):
    return (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)


def test_a_forest_is_scikit_learn_s():
    x, truth, features = clouds()
    model = fit_model(ForestConfig(trees=30, seed=3), x, truth, features)
    codes = np.searchsorted(NAMES, truth)
    theirs = RandomForestClassifier(30, random_state=3)
    theirs.fit(prepared(x), codes, sample_weight=row_weights(codes, 3, ForestConfig()))
    np.testing.assert_allclose(model.predict(x), theirs.predict_proba(prepared(x)), atol=1e-9)


@pytest.mark.parametrize("names", [NAMES, NAMES[:2]])
def test_boosting_is_scikit_learn_s(names):
    x, truth, features = clouds()
    rows = np.isin(truth, names)
    x, codes = x[rows], np.searchsorted(names, truth[rows])
    model = fit_model(BoostingConfig(rounds=10), x, truth[rows], features)
    theirs = HistGradientBoostingClassifier(
        max_iter=10, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False, random_state=0
    )
    theirs.fit(prepared(x), codes, sample_weight=row_weights(codes, len(names), BoostingConfig()))
    np.testing.assert_allclose(model.predict(x), theirs.predict_proba(prepared(x)), atol=1e-9)


def test_ridge_is_scikit_learn_s_with_few_and_with_many_features():
    for d in (6, 300):
        x, truth, features = clouds(d=d)
        config = RidgeConfig(alpha=(5.0,), calibrate=None)
        model = fit_model(config, x, truth, features)
        codes = np.searchsorted(NAMES, truth)
        theirs = RidgeClassifier(alpha=5.0).fit(prepared(x), codes, sample_weight=row_weights(codes, 3, config))
        logits = np.log(model.predict(x))
        expected = theirs.decision_function(prepared(x))
        np.testing.assert_allclose(logits - logits[:, :1], expected - expected[:, :1], atol=1e-6)


def test_neighbours_are_scikit_learn_s():
    x, truth, features = clouds()
    model = fit_model(NeighboursConfig(class_weight=None), x, truth, features)
    theirs = KNeighborsClassifier(5).fit(prepared(x), truth)
    new = clouds(seed=4)[0]
    scaled = (new - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    np.testing.assert_allclose(model.predict(new), theirs.predict_proba(scaled), atol=1e-6)


def test_components_keep_the_variance_that_is_asked_for():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 10))
    truth = np.where(x[:, 0] > 0, "a", "b")
    model = fit_model(LogisticConfig(pca=0.95, C=(1.0,)), x, truth, [f"Cells_{i}" for i in range(10)])
    assert model.arrays["pca.directions"].shape[0] <= 2
    assert np.mean(np.array(["a", "b"])[model.predict(x).argmax(1)] == truth) > 0.9


def test_settings_are_chosen_inside_the_training_rows():
    x, truth, features = clouds()
    noisy = np.concatenate([x, np.random.default_rng(5).normal(size=(150, 200))], axis=1)
    names = features + [f"Nuclei_Texture_{i}" for i in range(200)]
    config = ElasticNetConfig(C=(0.001, 0.1, 1000.0), l1_ratio=(0.0, 1.0))
    chosen = fit_model(config, noisy, truth, names).card.config
    assert (chosen["C"], chosen["l1_ratio"]) == ([0.1], [1.0])


def test_blocks_of_features_have_one_length():
    x, truth, _ = clouds(d=6)
    names = ["Nuclei_A", "Nuclei_B", "Nuclei_C"] + [f"Embedding_{i}" for i in range(3)]
    wide = np.concatenate([x, np.random.default_rng(1).normal(size=(150, 97))], axis=1)
    model = fit_model(RidgeConfig(alpha=(1.0,)), wide, truth, names + [f"Embedding_{i}" for i in range(3, 100)])
    weight = model.arrays["weight"] ** 2
    assert weight[:3].sum() == pytest.approx(weight[3:].sum())
    assert weight[2] == 0  # the constant feature


def test_missing_values_and_features_are_filled_by_rule_and_named():
    x, truth, features = clouds()
    x[:20, 3] = np.nan
    model = fit_model(LogisticConfig(C=(1.0,)), x, truth, features)
    centre = model.arrays["centre"]
    gone = x.copy()
    gone[:, 0] = np.nan
    mean = x.copy()
    mean[:, 0] = centre[0]
    np.testing.assert_allclose(model.predict(gone), model.predict(mean))
    assert np.isnan(model.predict(np.full((1, 6), np.nan))).all()
    with pytest.raises(InputError, match=r"no Nuclei_AreaShape_0 \(1 of 6\)"):
        model.predict_named(x[:, 1:], features[1:])
    filling = fit_model(LogisticConfig(C=(1.0,), missing="mean"), x, truth, features)
    order = [5, 4, 3, 2, 1]
    found, absent = filling.predict_named(x[:, order], [features[i] for i in order])
    assert absent == ("Nuclei_AreaShape_0",)
    np.testing.assert_allclose(found, filling.predict(gone))


def test_calibration_makes_probabilities_honest():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    codes = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    assert fit_temperature(3 * logits, codes) == pytest.approx(3, rel=0.1)


def test_two_files_that_do_not_belong_together_are_told():
    x, truth, features = clouds()
    card, _ = fit_model(config_of("logistic"), x, truth, features).save()
    _, other = fit_model(config_of("ridge"), x, truth, features).save()
    with pytest.raises(InputError, match="weights of another model"):
        load_model(card, other)
    with pytest.raises(InputError, match="a model of this platform"):
        load_model(b"{}", other)
    with pytest.raises(InputError, match="a model of this platform"):
        load_model(card, b"nothing")


def test_one_class_is_nothing_to_learn():
    x, _, features = clouds()
    with pytest.raises(InputError, match="1 classes"):
        fit_model(config_of("ridge"), x, ["a"] * len(x), features)


def wells_table(n):
    return pl.DataFrame({"Metadata_Plate": ["P"] * n, "Metadata_Well": [f"A{1 + i % 10:02d}" for i in range(n)]})


def test_held_out_rows_are_predicted_by_models_that_did_not_see_their_wells():
    """Features that only know the well: by row they tell all, by well nothing."""
    n = 200
    rng = np.random.default_rng(0)
    well = np.arange(n) % 10
    x = np.eye(10)[well] + 0.05 * rng.normal(size=(n, 10))
    truth = np.array(["a", "b"])[well % 2]
    features = [f"Cells_{i}" for i in range(10)]
    config = LogisticConfig(C=(1.0,))
    right = {}
    for by in ("random", "well"):
        splits = split_rows(wells_table(n), truth, SplitConfig(by=by, folds=5))
        found = predict_held_out(config, x, truth, features, splits)
        assert (found.fold >= 0).all()
        right[by] = np.mean(np.array(found.classes)[found.probability.argmax(1)] == truth)
    assert right["random"] > 0.95
    assert right["well"] < 0.7


def test_shuffled_features_are_chance():
    x, truth, features = clouds(n=300)
    splits = split_rows(wells_table(300), truth, SplitConfig(by="random", folds=3))
    config = LogisticConfig(C=(1.0,), class_weight=None)
    found = predict_held_out(config, x, truth, features, splits, shuffled=1)
    true = predict_held_out(config, x, truth, features, splits)
    right = [np.mean(np.array(each.classes)[each.probability.argmax(1)] == truth) for each in (found, true)]
    assert right[0] < 0.65 < 0.8 < right[1]


def test_leaving_each_image_out_at_once_is_leaving_them_out_one_by_one():
    x, truth, _ = clouds(n=90)
    codes, images = np.searchsorted(NAMES, truth), np.arange(90) % 6
    config = ElasticNetConfig(C=(0.1,), l1_ratio=(0.5,), tolerance=1e-6)
    together = np.exp(leave_each_out(config, prepared(x), codes, 3, images))
    kind = KINDS["elastic_net"]
    for image in range(6):
        rows = images != image
        arrays = kind.fit(config, prepared(x)[rows], codes[rows], 3)
        alone = np.exp(kind.log_probabilities(arrays, prepared(x)[~rows]))
        np.testing.assert_allclose(together[~rows], alone, atol=2e-3)
