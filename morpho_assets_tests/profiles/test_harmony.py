"""Harmony against harmonypy 0.0.10 (GPL-3, so its values are kept here as facts, not its code).

They were made by `run_harmony(values, frame, ["batch"], theta=theta, nclust=round(n / 30), max_iter_harmony=20,
random_state=seed)` on the three sets below: `residual` of its result, mean over seeds 0 to 4.
"""

import time

import numpy as np
import pytest

from morpho_assets.profiles.harmony import HarmonyConfig, harmonise, without_shifts


def shifted():
    """A shift per batch; four kinds in three balanced batches."""
    rng = np.random.default_rng(1)
    label, batch = rng.integers(4, size=600), rng.integers(3, size=600)
    kinds, shifts = rng.normal(0, 4, (4, 20)), rng.normal(0, 1.5, (3, 20))
    return kinds[label] + shifts[batch] + rng.normal(size=(600, 20)), label, batch


def interacting():
    """A shift per batch and kind; six kinds in four batches of unequal size and mix."""
    rng = np.random.default_rng(2)
    batch = rng.choice(4, 900, p=[0.4, 0.3, 0.2, 0.1])
    mix = rng.dirichlet(np.full(6, 3.0), 4)
    label = np.array([rng.choice(6, p=mix[own]) for own in batch])
    shifts = rng.normal(0, 1, (4, 30))[None] + rng.normal(0, 0.7, (6, 4, 30))
    return rng.normal(0, 3, (6, 30))[label] + shifts[label, batch] + rng.normal(size=(900, 30)), label, batch


def plates():
    """Eight plates of 48 controls and 12 treatments, whose effects are weak beside correlated noise."""
    rng = np.random.default_rng(3)
    label = np.tile(np.r_[np.zeros(48, int), np.repeat(np.arange(1, 13), 4)], 8)
    batch = np.repeat(np.arange(8), 96)
    mix = rng.normal(size=(8, 60))
    effects = np.vstack([np.zeros(60), rng.normal(0, 0.6, (12, 60))])
    shifts = rng.normal(0, 0.8, (8, 60))
    noise = rng.normal(size=(768, 8)) @ mix * 0.4 + rng.normal(size=(768, 60))
    return effects[label] + shifts[batch] + noise, label, batch


SETS = {"shifted": shifted, "interacting": interacting, "plates": plates}
HARMONYPY = {  # set, theta: share of the variance within kinds that lies between batches, before and after
    ("shifted", 1): (0.678, 0.0175),
    ("shifted", 2): (0.678, 0.0175),
    ("interacting", 1): (0.459, 0.0195),
    ("interacting", 2): (0.459, 0.0195),
    ("plates", 1): (0.284, 0.1243),
    ("plates", 2): (0.284, 0.1227),
}


def residual(values, label, batch):
    """Share of the variance within labels that lies between the batches of a label."""
    total = between = 0.0
    for kind in np.unique(label):
        own = values[label == kind] - values[label == kind].mean(axis=0)
        total += (own**2).sum()
        for part in (own[batch[label == kind] == b] for b in np.unique(batch[label == kind])):
            between += len(part) * (part.mean(axis=0) ** 2).sum()
    return between / total


@pytest.mark.parametrize(("name", "theta"), HARMONYPY)
def test_as_much_of_the_batch_stays_as_with_harmonypy(name, theta):
    values, label, batch = SETS[name]()
    before, theirs = HARMONYPY[name, theta]
    assert residual(values, label, batch) == pytest.approx(before, abs=5e-4)
    config = HarmonyConfig(diversity=theta)
    left = [
        residual(harmonise(values, np.eye(batch.max() + 1)[batch], config, seed), label, batch) for seed in (0, 1, 2)
    ]
    assert np.mean(left) == pytest.approx(theirs, rel=0.1)


@pytest.mark.parametrize(
    ("setting", "less", "more_left"),
    [({}, {"iterations": 1}, 0.1), ({"iterations": 2}, {"cluster_rounds": 1}, 0.005), ({}, {"tolerance": 0.5}, 0.1)],
)
def test_each_round_counts(setting, less, more_left):
    values, label, batch = plates()
    batches = np.eye(8)[batch]
    whole, cut = (
        residual(harmonise(values, batches, HarmonyConfig(**settings)), label, batch)
        for settings in (setting, setting | less)
    )
    assert cut > (1 + more_left) * whole


@pytest.mark.parametrize("ridge", [1e-6, 1.0, 20.0])
def test_shifts_are_those_of_a_ridge_regression_in_every_cluster(ridge):
    rng = np.random.default_rng(0)
    batches = np.eye(3)[rng.integers(3, size=50)]
    values, assigned = rng.normal(size=(50, 4)), rng.dirichlet(np.ones(5), 50)
    design = np.column_stack([np.ones(50), batches])
    expected = values.copy()
    for weight in assigned.T:
        weighted = design * weight[:, None]
        shifts = np.linalg.solve(weighted.T @ design + np.diag([0, ridge, ridge, ridge]), weighted.T @ values)
        expected -= weighted[:, 1:] @ shifts[1:]
    np.testing.assert_allclose(without_shifts(values, assigned, batches, ridge), expected, atol=1e-9)


def test_without_shrinkage_every_batch_of_a_cluster_comes_to_the_mean_of_their_means():
    values, batches = np.array([[0.0], [2.0], [10.0]]), np.eye(2)[[0, 0, 1]]
    found = without_shifts(values, np.ones((3, 1)), batches, 0.0)
    np.testing.assert_allclose(found[:, 0], [4.5, 6.5, 5.5])  # means 1 and 10; their mean 5.5


def test_the_shifts_of_twenty_plates_take_under_a_second():
    rng = np.random.default_rng(0)
    values, batches = rng.normal(size=(7680, 300)), np.eye(20)[np.repeat(np.arange(20), 384)]
    assigned = rng.dirichlet(np.ones(256), 7680)
    start = time.process_time()  # of the processor: what else runs here does not count
    without_shifts(values, assigned, batches, 1.0)
    assert time.process_time() - start <= 1
