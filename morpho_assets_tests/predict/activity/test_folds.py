import numpy as np

from morpho_assets.predict.activity.folds import cluster_folds, random_folds, same_fold_together, whole_folds


def test_units_stay_whole_the_largest_first():
    units = ["a"] * 2 + ["b"] * 5 + ["c"] * 3 + ["d"]
    folds = whole_folds(units, 2)
    # b to fold 0; c to 1; a (2) to 1, which is smaller; both hold 5, so d to the first
    assert folds.tolist() == [1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0]
    assert same_fold_together(folds, units)
    assert not same_fold_together(np.arange(11) % 2, units)
    assert whole_folds([]).size == 0


def test_random_folds_are_of_one_size():
    folds = random_folds(23, 5, seed=1)
    assert sorted(np.bincount(folds)) == [4, 4, 5, 5, 5]
    assert (folds != random_folds(23, 5, seed=2)).any()


def test_clusters_are_of_one_size_and_keep_what_is_alike():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 4)) * 20
    x = np.repeat(centres, 20, axis=0) + rng.normal(size=(100, 4))
    folds = cluster_folds(x, 5)
    assert (np.bincount(folds) == 20).all()
    assert same_fold_together(folds, np.repeat(np.arange(5), 20).astype(str))
    x[3] = np.nan
    assert sorted(np.bincount(cluster_folds(x, 5))) == [20] * 5
    assert (np.bincount(cluster_folds(np.zeros((7, 2)), 3)) >= 2).all()
