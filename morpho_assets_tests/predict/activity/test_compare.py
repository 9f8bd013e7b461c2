"""Every way to predict and to join, on a question small enough to ask them all."""

import numpy as np
import polars as pl
import pytest

from morpho_assets.predict.activity.baselines import BATCH, COUNT, nuisances
from morpho_assets.predict.activity.compare import Question, answer, folds_of
from morpho_assets.predict.activity.config import ActivityConfig, CompoundSplit
from morpho_assets.predict.activity.modalities import Modality
from morpho_assets.predict.activity.rows import metric_rows, overlap_rows, prediction_rows, score_rows

N = 120
CONFIG = ActivityConfig.model_validate({
    "assays": {"file": "a.csv"},
    "modalities": {"bits": {"of": "structure"}, "x": {"of": "structure"}},
    "also": [{"kind": "forest", "trees": 10}],
    "fusion": {"late": ["stacked", "max"]}, "draws": 20,
})  # fmt: skip


@pytest.fixture(scope="module")
def question():
    rng = np.random.default_rng(0)
    bits, x = (rng.random((N, 40)) < 0.2).astype(float), rng.normal(size=(N, 4))
    pull = np.stack([3 * bits[:, 0] + 2 * bits[:, 1], 2 * x[:, 0], 2 * bits[:, 0] + x[:, 0]], axis=1)
    labels = (pull + rng.normal(size=(N, 3)) * 0.5 > 1).astype(float)
    labels[rng.random((N, 3)) < 0.1] = np.nan
    bits[3], x[4] = np.nan, np.nan
    given = np.where(np.isfinite(labels), np.clip(np.nan_to_num(labels) * 0.4 + rng.random((N, 3)) * 0.6, 0, 1), np.nan)
    compounds = pl.DataFrame({"cell_count": rng.uniform(50, 100, N), "batch": (np.arange(N) // 30).astype(str)})
    modalities = {"bits": Modality("bits", bits, bits=True), "x": Modality("x", x)}
    units = {"scaffold": (np.arange(N) // 3).astype(str), "batch": compounds["batch"].to_numpy().astype(str)}
    return Question(["one", "two", "both"], labels, modalities, {"elsewhere": given}, nuisances(compounds), units, bits)


@pytest.fixture(scope="module")
def found(question):
    return answer(question, CONFIG, CompoundSplit(folds=3))


def test_all_are_asked(found):
    kinds = {}
    for predictor in found.predictors.values():
        kinds.setdefault(predictor.kind, []).append(predictor.name)
    assert kinds["modality"] == ["bits", "x", "elsewhere"]
    assert kinds["model"] == ["bits, forest", "x, forest"]
    assert len(kinds["late"]) == 2 * 4
    assert kinds["early"] == ["early: bits + x"]  # what was predicted elsewhere has no features
    assert kinds["merger"] == ["merger: bits + similarity"]
    assert {COUNT, BATCH} <= set(kinds["baseline"])
    assert len(kinds["shuffled"]) == 3
    assert found.ranked_by == "stacked: bits + x + elsewhere"


def test_a_compound_without_a_modality_is_predicted_by_the_others(found):
    score = {name: each.held.score for name, each in found.predictors.items()}
    assert np.isnan(score["bits"][3]).all()
    assert np.isfinite(score["x"][3]).all()
    assert np.isfinite(score["max: bits + x"][[3, 4]]).all()
    assert np.isfinite(score["early: bits + x"][[3, 4]]).all()


def test_tables_hold_every_assay_and_predictor(question, found):
    scores = score_rows(question, found, "by scaffold")
    assert scores.height == 3 * len(found.predictors)
    assert not scores.select("predictor", "assay").is_duplicated().any()
    metrics = metric_rows(question, found, "by scaffold", [0.7], 0)
    assert not metrics.select("variant", "scope", "metric").is_duplicated().any()
    error = metrics.filter(metric="calibration_error").row(0, named=True)
    assert error["value"] < 0.25
    assert overlap_rows(found, scores, [0.7]).height == 7
    rows = pl.concat(prediction_rows(question, found, [f"C{number}" for number in range(N)]))
    assert rows.height == 3 * N
    assert rows.filter(pl.col("rank") == 1).height == 3


def test_splits_keep_whole_what_they_say(question):
    for split in (CompoundSplit(by="batch", folds=3), CompoundSplit(by="cluster", of="x", folds=3)):
        fold, _ = folds_of(question, split)
        assert set(fold) == {0, 1, 2}
        if split.by == "batch":
            assert all(len(set(fold[question.units["batch"] == name])) == 1 for name in "0123")
        else:
            assert np.bincount(fold).tolist() == [40, 40, 40]
    once = answer(question, CONFIG, CompoundSplit(by="random", folds=3), whole=False)
    assert [name for name, each in once.predictors.items() if each.kind == "late"] == ["stacked: bits + x + elsewhere"]
