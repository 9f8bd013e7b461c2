import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression

from morpho_assets.predict.activity.modalities import Modality, joined
from morpho_assets.predict.activity.models import (
    BoostedModel,
    ForestModel,
    LogisticModel,
    NetworkModel,
    predict_held_out,
)
from morpho_assets.predict.activity.scores import score_assays

N, FOLDS = 150, 3


def drawn(seed=0, d=8, n=N):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    labels = (x[:, :2] + rng.normal(size=(n, 2)) * 0.7 > 0.6).astype(float)
    labels[rng.random((n, 2)) < 0.2] = np.nan
    return x, labels, np.arange(n) % FOLDS


MODELS = [
    LogisticModel(), LogisticModel(C=(0.1, 10.0)), BoostedModel(kind="boosting", rounds=20),
    ForestModel(kind="forest", trees=20), NetworkModel(kind="network", hidden=16, epochs=30, ensemble=2),
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)
def test_every_kind_finds_what_is_there_and_sees_no_label_of_the_fold(model):
    x, labels, fold = drawn(n=2 * N)  # trees split leaves of twenty and more: they need rows
    modality = Modality("x", x)
    found = predict_held_out(model, modality.prepared(), modality.known, labels, fold)
    assert (score_assays(labels, found.score, fold).auroc > 0.65).all()
    assert np.isfinite(found.score).all()
    other = labels.copy()
    other[fold == 1] = 1 - other[fold == 1]
    after = predict_held_out(model, modality.prepared(), modality.known, other, fold)
    # problems that are solved together stop together: what is not looked at may move the last digits
    np.testing.assert_allclose(found.score[fold == 1], after.score[fold == 1], atol=2e-3)
    if not (isinstance(model, LogisticModel) and len(model.C) > 1):
        np.testing.assert_allclose(found.nested[1], after.nested[1], atol=2e-3)


def test_nested_predictions_are_of_models_without_both_folds():
    x, labels, fold = drawn()
    modality = Modality("x", x)
    rows = modality.prepared()
    found = predict_held_out(LogisticModel(C=(1.0,)), rows, modality.known, labels, fold)
    trains = (fold == 2) & np.isfinite(labels[:, 0])
    model = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8).fit(rows[trains], labels[trains, 0])
    tested = (fold == 1) & np.isfinite(labels[:, 0])
    expected = model.predict_proba(rows[tested])[:, 1]
    np.testing.assert_allclose(found.nested[0][tested, 0], expected, atol=3e-3)
    assert np.isnan(found.nested[0][(fold == 1) & np.isnan(labels[:, 0]), 0]).all()


def test_compounds_without_the_modality_have_no_prediction():
    x, labels, fold = drawn()
    x[5] = np.nan
    modality = Modality("x", x)
    found = predict_held_out(LogisticModel(), modality.prepared(), modality.known, labels, fold)
    assert np.isnan(found.score[5]).all()
    assert np.isfinite(np.delete(found.score, 5, axis=0)).all()


def test_an_assay_of_one_class_is_not_learned():
    x, labels, fold = drawn()
    labels[:, 1] = 0
    modality = Modality("x", x)
    for model in (LogisticModel(), ForestModel(kind="forest", trees=5), MODELS[-1]):
        found = predict_held_out(model, modality.prepared(), modality.known, labels, fold)
        assert np.isnan(found.score[:, 1]).all()
        assert np.isfinite(found.score[:, 0]).all()


def test_modalities_have_rows_of_length_one_and_axes_turned():
    x, _, _ = drawn()
    x = np.column_stack([x, np.ones(N)])
    x[3] = np.nan
    x[4, 0] = np.nan
    rows = Modality("x", x).prepared()
    assert rows.shape == (N, 8)
    assert not rows[3].any()
    np.testing.assert_allclose(np.square(rows).sum() / (N - 1), 1, rtol=1e-5)
    covariance = rows.T @ rows
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-4)


def test_bits_stay_sparse_and_blocks_are_joined_at_one_scale():
    rng = np.random.default_rng(0)
    bits = (rng.random((N, 200)) < 0.03).astype(float)
    sparse = Modality("bits", bits, bits=True).prepared()
    assert scipy.sparse.issparse(sparse)
    dense = Modality("x", rng.normal(size=(N, 5))).prepared()
    both = joined([sparse, dense])
    assert both.shape == (N, sparse.shape[1] + 5)
    np.testing.assert_allclose(np.square(both[:, -5:]).sum() / N, 0.5, rtol=1e-5)
    assert scipy.sparse.issparse(joined([sparse, sparse]))
