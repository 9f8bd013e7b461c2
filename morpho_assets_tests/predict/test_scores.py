"""Scores: against scikit-learn, by hand, and exactly the published tables of phenotype models."""

from itertools import product

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from morpho_assets.predict.scores import (
    average_precision,
    confusion_counts,
    f1_scores,
    image_ranks,
    overall_scores,
    rank_chance,
    rank_shares,
    resampled,
    scores_of,
    trivial_scores,
    true_class_ranks,
    weighted_f1,
)

NAMES = ["a", "b", "c", "d", "e", "f"]


def drawn(n=300, k=6, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice(k, n, p=np.r_[0.5, np.full(k - 1, 0.5 / (k - 1))])
    probability = rng.dirichlet(np.ones(k), n)
    probability[np.arange(n), truth] += 0.3
    return truth, probability / probability.sum(axis=1, keepdims=True)


def test_scores_are_scikit_learn_s():
    truth, probability = drawn()
    guess = probability.argmax(axis=1)
    found = scores_of(truth, probability, NAMES)
    assert found.overall["weighted_F1"] == pytest.approx(metrics.f1_score(truth, guess, average="weighted"))
    assert found.overall["macro_F1"] == pytest.approx(metrics.f1_score(truth, guess, average="macro"))
    assert found.overall["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, guess))
    assert found.overall["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))
    assert found.overall["top_5"] == pytest.approx(metrics.top_k_accuracy_score(truth, probability, k=5))
    np.testing.assert_allclose(found.classes["F1"], metrics.f1_score(truth, guess, average=None))
    np.testing.assert_array_equal(found.counts, metrics.confusion_matrix(truth, guess))
    for code in range(6):
        expected = metrics.average_precision_score(truth == code, probability[:, code])
        assert found.classes["average_precision"][code] == pytest.approx(expected)


def test_a_row_that_was_called_nothing_is_an_error():
    truth = np.array([0, 0, 1, 1])
    probability = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8], [0.1, 0.9]])
    found = scores_of(truth, probability, ["a", "b"])
    assert found.overall["accuracy"] == 0.75
    assert found.overall["balanced_accuracy"] == 0.75
    np.testing.assert_allclose(found.classes["F1"], [2 / 3, 1])
    assert found.counts.sum() == 3


def test_no_rows_score_nothing():
    found = scores_of(np.empty(0, np.int64), np.empty((0, 6)), NAMES)
    assert all(np.isnan(value) for value in found.overall.values())
    assert np.isnan(average_precision(np.zeros(3, bool), np.arange(3.0)))


def test_ties_of_average_precision_are_taken_together():
    positive, score = np.array([True, False, True, False]), np.array([0.5, 0.5, 0.5, 0.1])
    assert average_precision(positive, score) == pytest.approx(2 / 3)


def test_what_knows_nothing_by_hand():
    truth, train = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 1])
    found = trivial_scores(truth, train, 2)
    # always the first: F1 2*3/(3+4) = 6/7 of weight 3/4
    assert found["majority"]["weighted_F1"] == pytest.approx(6 / 7 * 0.75)
    assert found["majority"]["balanced_accuracy"] == 0.5
    # drawn by share: expected right 0.75 of 3 and 0.25 of 1
    assert found["stratified"]["accuracy"] == pytest.approx((0.75 * 3 + 0.25) / 4)
    assert found["stratified"]["balanced_accuracy"] == 0.5


def test_ranks_and_ties_by_hand():
    probability = np.array([[0.6, 0.3, 0.1], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7], [np.nan] * 3])
    np.testing.assert_array_equal(true_class_ranks(np.array([1, 0, 0, 0]), probability), [2, 1.5, 3, np.nan])
    of_images = image_ranks(["i", "i", "j"], ["a", "a", "a"], np.array([1.0, 2.0, 1.0]))
    assert of_images.rows() == [("i", "a", 1.5, 2), ("j", "a", 1.0, 1)]
    assert rank_shares(of_images) == {"rank_1": 0.5, "rank_2": 1.0}


@pytest.mark.parametrize(("n", "classes", "most"), [(1, 15, 1), (2, 3, 2), (3, 4, 2), (2, 2, 2)])
def test_chance_of_mean_ranks_by_listing_them_all(n, classes, most):
    every = [np.mean(ranks) <= most for ranks in product(range(1, classes + 1), repeat=n)]
    assert rank_chance(n, classes, most) == pytest.approx(np.mean(every))


def test_intervals_resample_whole_units():
    truth, probability = drawn()
    units = (np.arange(300) % 10).astype(str)
    probability[::40] = np.nan  # called nothing
    found = resampled(truth, probability, units, NAMES, draws=50, top=2)
    rng = np.random.default_rng(0)
    rows = [np.concatenate([np.flatnonzero(units == str(i)) for i in rng.integers(10, size=10)]) for _ in range(50)]
    naive = [overall_scores(truth[each], probability[each], len(NAMES), 2) for each in rows]
    for name, value in scores_of(truth, probability, NAMES, 2).overall.items():
        low, high = np.percentile([each[name] for each in naive], [2.5, 97.5])
        assert found[name] == (pytest.approx(low), pytest.approx(high))
        assert low < value < high
    assert resampled(truth, probability, np.full(300, "one"), NAMES) is None


# The published tables (Tomkinson 2024)


@pytest.fixture(scope="module")
def published(reference_data):
    def read(name):
        return pl.read_csv(reference_data / f"phenotypic_profiling/{name}.tsv.gz", separator="\t")

    return read


KEY = ["data_split", "shuffled", "feature_type", "balance_type", "dataset_type"]


def test_every_published_f1_follows_from_its_confusion_counts(published):
    given, counted = published("F1_scores"), 0
    for key, rows in published("confusion_counts").group_by(KEY, maintain_order=True):
        names = sorted(set(rows["True_Label"]))
        place = {name: number for number, name in enumerate(names)}
        counts = np.zeros((len(names), len(names)), np.int64)
        for true, called, number in rows.select("True_Label", "Predicted_Label", "Count").iter_rows():
            counts[place[true], place[called]] = number
        f1 = dict(zip(names, f1_scores(counts), strict=True)) | {"Weighted": weighted_f1(counts)}
        here = given.filter(**dict(zip(KEY, key, strict=True)))
        for name, value in here.select("Phenotypic_Class", "F1_Score").iter_rows():
            assert f1[name] == pytest.approx(value, abs=1e-12), (key, name)
            counted += 1
    assert counted == given.height == 1280


def test_published_shares_of_left_out_images(published):
    ranks = published("LOIO_ranks").filter(
        Model_type="final", Dataset_type="ic", Model_Feature_Type="CP_and_DP", Balance_type="balanced"
    )
    shares = rank_shares(ranks.rename({"Average_Rank": "rank"}))
    assert round(100 * shares["rank_1"], 1) == 12.3
    assert round(100 * shares["rank_2"], 1) == 31.6
    shuffled = published("LOIO_ranks").filter(
        Model_type="shuffled_baseline", Dataset_type="ic", Model_Feature_Type="CP_and_DP", Balance_type="balanced"
    )
    shares = rank_shares(shuffled.rename({"Average_Rank": "rank"}))
    assert [round(100 * value) for value in shares.values()] == [2, 6]


def test_confusion_counts_leave_out_what_is_called_nothing():
    np.testing.assert_array_equal(confusion_counts(np.array([0, 1, 1]), np.array([0, -1, 0]), 2), [[1, 0], [1, 0]])
