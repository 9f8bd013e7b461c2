"""Strong treatments: those that were planted, and no more of the weak than the rule's level lets in."""

from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.errors import InputError
from morpho_assets.learn.strong import Strength, strong_treatments


def screen(strong: int, weak: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Windows of 40 control wells and of four wells a treatment: vectors, treatments, wells, controls."""
    rng = np.random.default_rng(seed)
    names = ["DMSO"] * 40 + [f"strong {n}" for n in range(strong)] * 4 + [f"weak {n}" for n in range(weak)] * 4
    shifts = {f"strong {n}": 8 * rng.normal(size=12) / np.sqrt(12) for n in range(strong)}
    vectors, treatments, wells = [], [], []
    for well, name in enumerate(names):
        vectors.append(rng.normal(size=(6, 12)) + rng.normal(size=12) + shifts.get(name, 0))
        treatments += [name] * 6
        wells += [f"P {well}"] * 6
    of = np.array(treatments)
    return np.concatenate(vectors), of, np.array(wells), of == "DMSO"


@pytest.mark.parametrize("rule", ["pca", pytest.param("umap", marks=pytest.mark.slow), "replicates"])
def test_what_was_planted_is_found_and_of_the_others_hardly_more_than_a_twentieth(rule: Strength):
    strong = weak = 0
    for seed in range(4):
        found = strong_treatments(*screen(strong=6, weak=20, seed=seed), rule)
        assert "DMSO" in found
        strong += len([name for name in found if name.startswith("strong")])
        weak += len([name for name in found if name.startswith("weak")])
    assert strong >= 20  # of 24
    assert weak <= 10  # of 80


@pytest.mark.parametrize("rule", ["pca", "replicates"])
def test_order_and_units_do_not_matter(rule: Strength):
    vectors, *rest = screen(strong=3, weak=6)
    order = np.random.default_rng(1).permutation(len(vectors))
    expected = strong_treatments(vectors, *rest, rule)
    shuffled = strong_treatments(1000 * vectors[order] + 5, *(each[order] for each in rest), rule)
    assert shuffled == expected


def test_a_treatment_of_one_well_has_no_replicates():
    vectors, of, wells, control = screen(strong=1, weak=0)
    keep = control | (wells == wells[of == "strong 0"][0])
    assert strong_treatments(vectors[keep], of[keep], wells[keep], control[keep], "replicates") == {"DMSO"}


def test_flat_numbers_are_no_distance():
    vectors, *rest = screen(strong=3, weak=6)
    flat = np.hstack([vectors, np.full((len(vectors), 2), 3.0)])
    assert strong_treatments(flat, *rest, "pca") == strong_treatments(vectors, *rest, "pca")


def test_without_controls_nothing_is_strong_or_weak():
    vectors, of, wells, control = screen(strong=1, weak=1)
    with pytest.raises(InputError, match="0 control wells"):
        strong_treatments(vectors, of, wells, np.zeros_like(control), "pca")
